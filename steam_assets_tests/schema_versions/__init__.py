"""Small databases that earlier versions of this code made, as SQL: v1.sql, v2.sql, ... Each was written by make.py."""

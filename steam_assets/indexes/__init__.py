"""Indexes on vectors: built when a column is complete, measured against exact search. The SQL is in store/."""

"""The mark on tables that `demo` made, so that it never writes into anybody else's."""

from collections.abc import Sequence

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn

MARK = "Made by `steam-assets demo`."

FOREIGN = """
    SELECT c.oid::regclass::text
    FROM pg_class AS c
    WHERE c.oid = to_regclass(%s)
      AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM %s
"""


def foreign_tables(conn: connection, columns: Sequence[TextColumn]) -> list[str]:
    """The columns' tables that are there without the mark."""
    found = []
    with conn.cursor() as cur:
        for column in columns:
            cur.execute(FOREIGN, (sql.Identifier(column.schema, column.table).as_string(conn), MARK))
            found += [name for (name,) in cur.fetchall()]
    return found


def mark_tables(conn: connection, columns: Sequence[TextColumn]) -> None:
    """Say on each table that a demo made it. Does not commit: the tables and their mark appear together."""
    with conn.cursor() as cur:
        for column in columns:
            table = sql.Identifier(column.schema, column.table)
            cur.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(MARK)))

"""Dropping HNSW indexes of ours beside searches: asked for, replaced, or half built. Building is hnsw_build.py's."""

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import (
    BEING_BUILT,
    REPLACED,
    index_name,
    index_records,
    is_valid,
    qualified,
    schema_of,
)
from steam_assets.store.hnsw_checks import IndexImpossible, check_owner
from steam_assets.store.hnsw_lock import building
from steam_assets.store.hnsw_records import forget_index
from steam_assets.store.interruptible import execute_interruptibly
from steam_assets.store.projected_rows import forget_projection
from steam_assets.store.projections import projection_table
from steam_assets.store.side_tables import drop_table
from steam_assets.store.variants import VARIANTS, Variant

WAITS = "60s"
"""An index goes when the transactions that may use it have ended; with a dump among them that takes hours."""

RENAME = sql.SQL("ALTER INDEX {name} RENAME TO {other}")
DROP = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {name}")

IN_THE_WAY = """
    SELECT i.relname, x.indrelid::regclass::text
    FROM pg_index AS x
    JOIN pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_namespace AS n ON n.oid = i.relnamespace
    WHERE n.nspname = %s
      AND i.relname = ANY (%s)
    ORDER BY i.relname
"""


def drop_index(conn: connection, column: TextColumn, variant: Variant) -> bool:
    """Drop the column's index of this variant and its record; whether there was one. Searches then compare every row.

    A projected one's side table goes with it. In autocommit. Raises IndexBeingBuilt, IndexImpossible, or
    LockNotAvailable where old transactions stay too long: then it goes with the next build.
    """
    check_owner(conn, column)
    name = index_name(column, variant)
    with building(conn, column):
        was_left = make_room(conn, column, variant)
        is_there = is_valid(conn, schema_of(column, variant), name) is not None
        records = [record for record in index_records(conn, column) if record.variant == variant.name]
        projections = [record.projection_id for record in records if record.projection_id is not None]
        with conn, conn.cursor() as cursor:
            was_recorded = forget_index(conn, column, variant)
            if is_there:
                other = sql.Identifier(name + REPLACED)
                cursor.execute(RENAME.format(name=qualified(column, variant), other=other))
            for projection_id in projections:
                forget_projection(conn, projection_id)
        execute_interruptibly(conn, DROP.format(name=qualified(column, variant, REPLACED)))
        for projection_id in projections:
            drop_table(conn, projection_table(projection_id))
    return is_there or was_recorded or bool(was_left)


def make_room(conn: connection, column: TextColumn, variant: Variant) -> list[str]:
    """Drop what killed builds have left, as drop_leftovers; raises IndexImpossible where this variant's stays."""
    dropped = drop_leftovers(conn, column)
    endings = [index_name(column, variant) + ending for ending in (BEING_BUILT, REPLACED)]
    with conn.cursor() as cursor:
        cursor.execute(IN_THE_WAY, (schema_of(column, variant), endings))
        left = cursor.fetchone()
    if left is not None:
        name, table = left
        processes = f"SELECT pid FROM pg_locks WHERE relation = '{table}'::regclass"  # noqa: S608 (for a person)
        raise IndexImpossible(
            f"{name}, which an earlier build has left, cannot be dropped while older transactions use {table}. End "
            f"them ({processes}) and run the command again."
        )
    return dropped


def drop_leftovers(conn: connection, column: TextColumn) -> list[str]:
    """Drop what killed builds have left; the names of those that are gone. Only while ``building``, in autocommit."""
    return [
        index_name(column, variant) + ending
        for variant in VARIANTS
        for ending in (BEING_BUILT, REPLACED)
        if is_valid(conn, schema_of(column, variant), index_name(column, variant) + ending) is not None
        and drop_concurrently(conn, column, variant, ending)
    ]


def drop_concurrently(conn: connection, column: TextColumn, variant: Variant, ending: str) -> bool:
    """Drop a passing index; False where transactions that may use it stay too long: then the next build drops it."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, FALSE)", (WAITS,))
    try:
        execute_interruptibly(conn, DROP.format(name=qualified(column, variant, ending)))
    except errors.LockNotAvailable:
        return False
    return True

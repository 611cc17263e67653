"""Dropping a vector column that lost: vectors, runs, digests, and the records that mean nothing without them."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.catalog import find_table
from steam_assets.store.locks import HELD_KEYS
from steam_assets.store.projected_rows import drop_projection
from steam_assets.store.promotions import ColumnRow, column_rows, lock_columns
from steam_assets.store.states import names
from steam_assets.store.vector_indexes import LOCK_TIMEOUT_MS, SET_LOCK_TIMEOUT, vector_indexes

COUNT_VECTORS = sql.SQL("SELECT count(t.{vector}) FROM {table} AS t")

LIVING_RUNS = f"""
    SELECT DISTINCT dagster_run_id
    FROM public.embedding_run_ranges
    WHERE table_name = %s
      AND vector_column = %s
      AND status = 'running'
      AND lock_key IN ({HELD_KEYS})
"""  # noqa: S608 (a constant)

PROJECTIONS = """
    SELECT projection_id
    FROM public.embedding_projections
    WHERE table_name = %s
      AND vector_column = %s
"""

RECORDS = ("embedding_columns", "embedding_failures", "embedding_indexes", "embedding_dropped_indexes")
"""What is about the column as it is. What was done and measured (ranges, variants, evaluations, promotions) stays."""

FORGET = sql.SQL("DELETE FROM public.{} WHERE table_name = %s AND vector_column = %s")


class NotDropped(SteamAssetsError):
    """A vector column stays: it is searched, being filled, or something else needs it."""


@dataclass(frozen=True)
class VectorColumn:
    """A vector column as it is in its table: rows with a vector, and the names of the indexes that hold them."""

    vectors: int
    indexes: tuple[str, ...]


def look_at(conn: connection, column: TextColumn) -> VectorColumn:
    """What dropping the column would take away; raises NotDropped when it may not be dropped, or is not there."""
    _check(conn, column, column_rows(conn, column, [column]))
    with conn.cursor() as cursor:
        cursor.execute(COUNT_VECTORS.format(**names(column)))
        (vectors,) = cursor.fetchone() or (0,)
    return VectorColumn(int(vectors), tuple(index.name for index in vector_indexes(conn, column)))


def drop_column(conn: connection, column: TextColumn) -> None:
    """Drop the column's vector, run and digest columns, their indexes and their records. Does not commit.

    Raises NotDropped when searches read it, a run fills it, or a view or the like needs it.
    """
    present = _check(conn, column, lock_columns(conn, column, [column]))
    identity = (column.qualified_table, column.vector)
    with conn.cursor() as cursor:
        cursor.execute(PROJECTIONS, identity)
        projections = [projection_id for (projection_id,) in cursor.fetchall()]
        cursor.execute(SET_LOCK_TIMEOUT, (LOCK_TIMEOUT_MS,))
        try:
            cursor.execute(
                sql.SQL("ALTER TABLE {} {}").format(
                    sql.Identifier(column.schema, column.table),
                    sql.SQL(", ").join(sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in present),
                )
            )
            for projection_id in projections:
                drop_projection(conn, projection_id)
        except errors.LockNotAvailable:
            raise NotDropped(
                f"{column} stays: other sessions are using {column.qualified_table}, and the drop would hold them up. "
                "Try again when they have finished."
            ) from None
        except errors.DependentObjectsStillExist as error:
            needed = " ".join((error.diag.message_detail or str(error)).split())
            raise NotDropped(f"{column} stays: {needed}. Drop what needs it first.") from None
        except errors.InsufficientPrivilege as error:
            raise NotDropped(
                f"{column} stays: {error.diag.message_primary}. Only the owner of {column.qualified_table} may drop it."
            ) from None
        for table in RECORDS:
            cursor.execute(FORGET.format(sql.Identifier(table)), identity)


def _check(conn: connection, column: TextColumn, rows: Mapping[str, ColumnRow]) -> list[str]:
    """The column's columns that are there; raises NotDropped when there is none, or they are in use."""
    if (mine := rows.get(column.vector)) is not None and mine.serving_run_id is not None:
        raise NotDropped(
            f"{column} stays: searches read it. `steam-assets promote` another column of the text first; a column "
            "without a rival is dropped with SQL."
        )
    table = find_table(conn, column.schema, column.table)
    present = [name for name in (column.vector, column.run, column.digest) if table and name in table.columns]
    if not present:
        raise NotDropped(f"{column} is not there: nothing was dropped.")
    with conn.cursor() as cursor:
        cursor.execute(LIVING_RUNS, (column.qualified_table, column.vector))
        runs = [run for (run,) in cursor.fetchall()]
    if runs:
        raise NotDropped(f"{column} stays: run {', '.join(runs)} is filling it. Terminate it, or wait until it ends.")
    return present

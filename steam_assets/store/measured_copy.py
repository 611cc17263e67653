"""A copy of a run's vectors to build indexes on and to ask, so that a column's own are not touched; gone afterwards."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Ids
from steam_assets.store.hnsw_create import CHECK_CLIENT, CLIENT_CHECKED, NO_SHARED_MEMORY
from steam_assets.store.hnsw_size import BuildSettings
from steam_assets.store.interruptible import execute_interruptibly
from steam_assets.store.limits import unlimited
from steam_assets.store.projected_rows import project_rows
from steam_assets.store.projections import Fitted
from steam_assets.store.side_tables import claimed, create_table, drop_leftovers, drop_table
from steam_assets.store.states import names
from steam_assets.store.variants import SearchIndex, Variant
from steam_assets.store.vector_pages import chosen_share

PATTERN = "^embedding_measured_[0-9a-f]{8}(_projected)?$"

# Not logged: nobody misses it after a crash. The vector keeps the column's type, and with it how it is stored.
CREATE = sql.SQL("""
    CREATE UNLOGGED TABLE {copy} AS
    SELECT row_number() OVER () AS id,
           t.{run} AS run_id,
           t.{vector} AS vector
    FROM {table} AS t
    WHERE t.{run} = {run_id}
      AND t.{vector} IS NOT NULL
      AND t.{id} <> ALL ({held_out}::{type}[])
      AND {chosen}
""")
ADD_KEY = sql.SQL("ALTER TABLE {copy} ADD PRIMARY KEY (id)")
VACUUM = sql.SQL("VACUUM (ANALYZE) {copy}")
INDEX = sql.SQL("""
    CREATE INDEX {name} ON {source} USING hnsw ({key} {operator_class})
    WITH (m = {m}, ef_construction = {ef_construction})
""")
SESSION = """
    SELECT set_config('maintenance_work_mem', %s || 'kB', false),
           set_config('max_parallel_maintenance_workers', %s::text, false)
"""
BYTES = "SELECT pg_relation_size(%s), coalesce(pg_total_relation_size(to_regclass(%s)), 0)"


@dataclass(frozen=True)
class MeasuredCopy:
    """The copy as a column of its own: ``rows`` vectors of ``dimension`` numbers, all of run ``run_id``."""

    column: TextColumn
    run_id: int
    dimension: int
    rows: int

    @property
    def table(self) -> str:
        """Its name, in the schema public."""
        return self.column.table

    @property
    def projected(self) -> str:
        """The name of its side table of projected vectors."""
        return f"{self.table}_projected"


@dataclass(frozen=True)
class MeasuredIndex:
    """An index on the copy: its ``bytes`` with those of a side table, and the ``seconds`` that both took."""

    name: str
    variant: Variant
    projection: str | None
    bytes: int
    seconds: float

    def at(self, ef_search: int) -> SearchIndex:
        """As a search would go through it."""
        return SearchIndex(self.name, self.variant, ef_search, self.projection)


@contextmanager
def measured_copy(
    conn: connection, column: TextColumn, run_id: int, dimension: int, held_out: Ids, share: float
) -> Iterator[MeasuredCopy]:
    """Copy a run's vectors, or a ``share`` of them, without the rows ``held_out``; drop the copy at the end.

    What a killed process has left is dropped first. The connection is in autocommit.
    """
    drop_leftovers(conn, PATTERN)
    table = f"embedding_measured_{secrets.token_hex(4)}"
    copy = {"copy": sql.Identifier("public", table)}
    with claimed(conn, table), claimed(conn, f"{table}_projected"), unlimited(conn):
        try:
            create_table(
                conn,
                CREATE.format(
                    **copy,
                    **names(column),
                    run_id=sql.Literal(run_id),
                    held_out=sql.Literal(list(held_out)),
                    type=sql.Identifier("pg_catalog", "int8" if column.id_type == "bigint" else "text"),
                    chosen=chosen_share(column, share),
                ),
            )
            with conn.cursor() as cursor:
                cursor.execute(ADD_KEY.format(**copy))
                cursor.execute(VACUUM.format(**copy))
                cursor.execute(sql.SQL("SELECT count(*) FROM {copy}").format(**copy))
                (rows,) = cursor.fetchone() or (0,)
            of_copy = TextColumn(table=table, id="id", text="id", vector="vector", run="run_id")
            yield MeasuredCopy(of_copy, run_id, dimension, int(rows))
        finally:
            if not conn.closed:
                drop_table(conn, f"{table}_projected")
                drop_table(conn, table)


@contextmanager
def measured_index(
    conn: connection, copy: MeasuredCopy, variant: Variant, settings: BuildSettings, fitted: Fitted | None
) -> Iterator[MeasuredIndex]:
    """Build an index of this variant on the copy, a projected one's on its side table; drop both at the end."""
    name = f"{copy.table}_{variant.name}"
    source = copy.projected if variant.projected else copy.table
    statement = INDEX.format(
        name=sql.Identifier(name),
        source=sql.Identifier("public", source),
        key=variant.key(sql.Identifier("projected" if variant.projected else "vector"), copy.dimension),
        operator_class=sql.SQL(variant.operator_class),
        m=sql.Literal(settings.m),
        ef_construction=sql.Literal(settings.ef_construction),
    )
    began = time.monotonic()
    try:
        if variant.projected:
            assert fitted is not None
            project_rows(conn, copy.column, copy.run_id, fitted, copy.projected)
        _build(conn, statement, settings)
        seconds = time.monotonic() - began
        with conn.cursor() as cursor:
            cursor.execute(BYTES, (f"public.{name}", f"public.{copy.projected}"))
            of_index, of_side_table = cursor.fetchone() or (0, 0)
        # The side table's size counts its index too.
        size = int(of_side_table if variant.projected else of_index)
        yield MeasuredIndex(name, variant, copy.projected if variant.projected else None, size, seconds)
    finally:
        if not conn.closed:
            drop_table(conn, copy.projected)
            with conn.cursor() as cursor:
                cursor.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier("public", name)))


def _build(conn: connection, statement: sql.Composed, settings: BuildSettings) -> None:
    """Build an index, by one process where there is no shared memory for several."""
    with conn.cursor() as cursor, suppress(errors.InvalidParameterValue):
        cursor.execute(CHECK_CLIENT, (CLIENT_CHECKED,))
    try:
        _execute(conn, statement, settings, settings.workers)
    except errors.DiskFull as error:
        if NO_SHARED_MEMORY not in str(error) or not settings.workers:
            raise
        _execute(conn, statement, settings, 0)


def _execute(conn: connection, statement: sql.Composed, settings: BuildSettings, workers: int) -> None:
    with conn.cursor() as cursor:
        cursor.execute(SESSION, (settings.memory_bytes >> 10, workers))
    execute_interruptibly(conn, statement)

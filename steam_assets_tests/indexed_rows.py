"""Numbered rows with vectors of 8 numbers and indexes on them, without a model and without Dagster."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.store.hnsw_build import BuildOptions, BuiltIndex, build_index
from steam_assets.store.hnsw_create import BuildProgress
from steam_assets.store.hnsw_records import record_recall
from steam_assets.store.states import names
from steam_assets.store.variants import SearchIndex, find_variant, nearest_exactly, nearest_through
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import DIMENSION, Connect, add_rows, embed, execute, fetch, target_of

HALFVEC = find_variant("halfvec")
REVIEWS_INDEX = "reviews_review_embedding_halfvec_hnsw"
FILL_REVIEWS = sql.SQL("""
    UPDATE {table} AS t
    SET {vector} = l2_normalize(
            (SELECT array_agg(sin(t.{id}::text::int * n + n * n)) FROM generate_series(1, 384) AS n)::vector),
        {run} = %(run)s,
        {digest} = md5(t.{text})::uuid
    WHERE t.{text} ~ '\\S'
""")
INDEXES = "SELECT relname FROM pg_class WHERE relname ~ 'hnsw' AND relkind = 'i' ORDER BY 1"
BUILDS = "SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for writers%'"


def fill_reviews(conn: connection) -> None:
    """Vectors of 384 numbers for every review with a text, without a model."""
    execute(conn, FILL_REVIEWS.format(**names(REVIEWS)), run=target_of(conn, REVIEWS))


def fill(conn: connection, column: TextColumn, rows: int) -> int:
    """Embed so many rows with numbered texts; returns the run."""
    add_rows(conn, column, {n: f"text {n}" for n in range(1, rows + 1)})
    embed(conn, column)
    return target_of(conn, column)


def built(
    connect: Connect,
    column: TextColumn,
    run_id: int,
    variant: str = "halfvec",
    options: BuildOptions | None = None,
    tell: Callable[[BuildProgress], None] = lambda _: None,
) -> BuiltIndex:
    """Build the index of a run."""
    return build_index(
        connect, column, run_id, DIMENSION, find_variant(variant), options or BuildOptions(), tell, "a-run"
    )


def measured(
    conn: connection, connect: Connect, column: TextColumn, run_id: int, variant: str = "halfvec", recall: float = 1.0
) -> SearchIndex:
    """Build it and say that it was measured, so that searches use it."""
    done = built(connect, column, run_id, variant)
    with conn:
        record_recall(conn, column, find_variant(variant), 40, recall, {})
    return SearchIndex(done.name, find_variant(variant), 40)


def index_names(conn: connection) -> list[str]:
    """HNSW indexes of the database, valid or not."""
    return [str(name) for (name,) in fetch(conn, INDEXES)]


def vector_of(conn: connection, column: TextColumn, id_: int) -> list[float]:
    """A row's vector."""
    statement = sql.SQL("SELECT {}::real[] FROM {} WHERE {} = {}").format(
        sql.Identifier(column.vector),
        sql.Identifier(column.table),
        sql.Identifier(column.id),
        sql.Literal(id_),
    )
    ((numbers,),) = fetch(conn, statement)
    assert isinstance(numbers, list)
    return numbers


def found_exactly(conn: connection, column: TextColumn, run_id: int, query: list[float], k: int = 10) -> list[object]:
    """Ids of the nearest rows, every row compared."""
    return [id_ for id_, _ in fetch(conn, nearest_exactly(column, run_id, query, k))]


def found_through(
    conn: connection, index: SearchIndex, column: TextColumn, run_id: int, query: list[float], k: int = 10
) -> list[object]:
    """Ids of the nearest rows, through the index whatever the planner thinks of so small a table."""
    with conn, conn.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL hnsw.ef_search = 200")
        cursor.execute(nearest_through(index, column, run_id, query, k))
        return [id_ for id_, _ in cursor.fetchall()]


def plan_of(conn: connection, index: SearchIndex, column: TextColumn, run_id: int, query: list[float]) -> str:
    """The plan of a search through the index."""
    with conn, conn.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(sql.SQL("EXPLAIN {}").format(nearest_through(index, column, run_id, query, 10)))
        return "\n".join(line for (line,) in cursor.fetchall())


@contextmanager
def held_up(database_url: str, column: TextColumn) -> Iterator[Callable[[], None]]:
    """Somebody has written to the table and not committed, for which a build waits; calling it ends that."""
    with psycopg2.connect(database_url) as writer:
        with writer.cursor() as cursor:
            cursor.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(sql.Identifier(column.table)))
        try:
            yield writer.rollback
        finally:
            writer.rollback()
    writer.close()


def waiting_build(conn: connection) -> int:
    """The server's process of a build that waits for writers, once there is one; its index is there, not valid."""
    wait_until(lambda: bool(fetch(conn, BUILDS)), "a build waits for writers")
    ((process,),) = fetch(conn, BUILDS)
    assert isinstance(process, int)
    return process


def in_thread(work: Callable[[], object]) -> "Future[object]":
    """Have it done in a thread of its own; ``exception(60)`` waits for its end and says what it raised."""
    threads = ThreadPoolExecutor(1)
    done = threads.submit(work)
    threads.shutdown(wait=False)
    return done

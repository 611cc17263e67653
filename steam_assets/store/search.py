"""Rows of one run nearest to a vector: through an index of ours, or by comparing every row. Statements: variants.py."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg2 import errors, sql
from psycopg2.extensions import connection
from psycopg2.extras import Json

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import index_records, serving_index, serving_record
from steam_assets.store.projections import current_projection
from steam_assets.store.states import estimated_rows, names
from steam_assets.store.variants import ALL_ROWS, MAX_EF_SEARCH, SearchIndex, nearest_exactly, nearest_through
from steam_assets.store.vector_indexes import exact_scan_notice

ITERATIVE_SINCE = [0, 8]
"""From this pgvector on an index goes on looking where a filter leaves fewer rows than were asked for."""
MAX_SCAN_TUPLES = 20_000
"""pgvector's default: after so many rows of the graph, comparing every row that fits the filter is no worse."""
MANY_ROWS = 10_000
"""Comparing 5,858 vectors of 384 numbers took 0.15 s on two busy cores (2026-11); with more a person may wonder."""

SETTINGS = "SELECT count(set_config(key, value, TRUE)) FROM jsonb_each_text(%s)"

# An older pgvector does not know the settings of iterative scans, and refuses them.
SETTINGS_OF_INDEX = """
    SELECT is_iterative, count(set_config(key, value, TRUE))
    FROM (
        SELECT string_to_array(substring(extversion FROM '^[0-9]+[.][0-9]+'), '.')::int[] >= %(since)s AS is_iterative
        FROM pg_extension
        WHERE extname = 'vector') AS pgvector,
        jsonb_each_text(%(always)s::jsonb || CASE WHEN is_iterative THEN %(iterative)s ELSE '{}' END::jsonb)
    GROUP BY is_iterative
"""

LEFT_OUT = sql.SQL("""
    SELECT count(*)
    FROM {table} AS t
    WHERE t.{vector} IS NOT NULL
      AND t.{run} IS DISTINCT FROM {run_id}
""")

STORED = sql.SQL("""
    SELECT t.{id}::text, t.{vector}::vector::real[]
    FROM {table} AS t
    WHERE t.{id} = {wanted}
      AND t.{run} = {run_id}
      AND t.{vector} IS NOT NULL
""")


@dataclass(frozen=True)
class Neighbour:
    """A row and its cosine similarity to the query."""

    id: str
    cosine: float


@dataclass(frozen=True)
class Nearest:
    """Rows, nearest first, and how they were found: "exact", or "hnsw" with the variant of the index."""

    rows: list[Neighbour]
    how: str


@contextmanager
def snapshot(conn: connection, timeout_s: float | None = None) -> Iterator[None]:
    """Everything read inside is of one moment: the run that serves, its index and its rows. Nothing can be written.

    ``timeout_s`` is what each statement may take; without it, what the session allows. No transaction may be open.
    """
    before = conn.isolation_level, conn.readonly
    conn.set_session("REPEATABLE READ", readonly=True)  # said with BEGIN, not to the server here
    try:
        with conn, conn.cursor() as cursor:
            # Compiling a plan (jit) takes longer than it saves: an index answers, or pgvector's own code compares rows.
            limits = {} if timeout_s is None else {"statement_timeout": f"{max(1, int(1_000 * timeout_s))}ms"}
            cursor.execute(SETTINGS, (Json({"jit": "off", **limits}),))
            yield
    finally:
        if not conn.closed:
            conn.isolation_level, conn.readonly = before


def find_nearest(
    conn: connection,
    column: TextColumn,
    run_id: int,
    query: Sequence[float],
    k: int,
    condition: sql.Composable = ALL_ROWS,
) -> Nearest:
    """The ``k`` rows of a run nearest to ``query`` for which ``condition`` on ``t`` holds, in a transaction.

    Through the index that serves the run, where there is one, unless that finds fewer rows than there are.
    """
    index = serving_index(conn, column, run_id)
    if index is not None:
        rows = _through(conn, index, column, run_id, query, k, condition)
        if rows is not None and len(rows) == k:
            return Nearest(rows, f"hnsw {index.variant.name}")
    return compare_all(conn, column, run_id, query, k, condition)


def compare_all(
    conn: connection,
    column: TextColumn,
    run_id: int,
    query: Sequence[float],
    k: int,
    condition: sql.Composable = ALL_ROWS,
) -> Nearest:
    """The same, exactly: no row is left unseen, whatever indexes there are."""
    return Nearest(_neighbours(conn, nearest_exactly(column, run_id, query, k, condition)), "exact")


def _through(
    conn: connection,
    index: SearchIndex,
    column: TextColumn,
    run_id: int,
    query: Sequence[float],
    k: int,
    condition: sql.Composable,
) -> list[Neighbour] | None:
    """The ``k`` rows that the index finds, perhaps fewer; None where it cannot be asked this."""
    projected = None
    if index.variant.projected:
        projection = current_projection(conn, column, run_id)
        if projection is None or projection.table != index.projection:
            return None
        projected = projection.project(query)
    candidates = index.candidates(k)
    is_iterative = _set_up_index(conn, index.least_ef_search(k), max(MAX_SCAN_TUPLES, 2 * candidates))
    if not is_iterative and (condition is not ALL_ROWS or candidates > MAX_EF_SEARCH):
        return None
    statement = nearest_through(index, column, run_id, query, k, condition, projected_query=projected)
    return _neighbours(conn, statement)


def _neighbours(conn: connection, statement: sql.Composed) -> list[Neighbour]:
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return [Neighbour(id_, cosine) for id_, cosine in cursor.fetchall() if cosine is not None]


def _set_up_index(conn: connection, ef_search: int, max_scan_tuples: int) -> bool:
    """The settings of a search through an index, for this transaction; whether pgvector goes on after a filter."""
    # Relaxed: the candidates are put in order by the stored vectors anyway.
    iterative = {"hnsw.iterative_scan": "relaxed_order", "hnsw.max_scan_tuples": str(max_scan_tuples)}
    always = {"hnsw.ef_search": str(ef_search)}
    with conn.cursor() as cursor:
        values = {"since": ITERATIVE_SINCE, "always": Json(always), "iterative": Json(iterative)}
        cursor.execute(SETTINGS_OF_INDEX, values)
        is_iterative, _ = cursor.fetchone() or (False, 0)
    return bool(is_iterative)


def why_exact(conn: connection, column: TextColumn, run_id: int) -> str | None:
    """Why searches of a run compare every row, for a person who wonders; None where nobody would."""
    if (dropped := exact_scan_notice(conn, column)) is not None:
        return dropped
    build = f"`steam-assets index build {column}`"
    if serving_record(conn, column, run_id) is not None:
        return None
    for record in index_records(conn, column):
        if record.run_id != run_id:
            reason = f"{record.name} is of run {record.run_id}, and searches read run {run_id}"
        elif not record.is_there:
            reason = f"{record.name} is gone"
        elif record.recall is None:
            reason = f"{record.name} is not measured yet"
        else:
            reason = f"rows were written since {record.name} was projected"
        return f"exact scan of every row: {reason}; {build} builds it anew"
    if estimated_rows(conn, column) <= MANY_ROWS:
        return None
    return f"exact scan of every row: there is no index; {build} builds one"


def count_left_out(conn: connection, column: TextColumn, run_id: int, within_s: float) -> int | None:
    """Rows with a vector of another run, which a search of ``run_id`` does not see; in a transaction, which goes on.

    None where that takes the server longer than ``within_s``: the whole table is read.
    """
    with conn.cursor() as cursor:
        cursor.execute("SAVEPOINT counting")
        try:
            cursor.execute(SETTINGS, (Json({"statement_timeout": f"{max(1, int(1_000 * within_s))}ms"}),))
            cursor.execute(LEFT_OUT.format(**names(column), run_id=sql.Literal(run_id)))
            found = cursor.fetchone()
        except errors.QueryCanceled:
            found = None
        cursor.execute("ROLLBACK TO SAVEPOINT counting")  # and with it the setting
    return None if found is None else int(found[0])


def stored_vector(conn: connection, column: TextColumn, run_id: int, wanted: str) -> tuple[str, list[float]] | None:
    """A row's id as others have it, and its vector of this run; None where there is no such row or vector."""
    literal = _id_literal(column, wanted)
    if literal is None:
        return None
    with conn.cursor() as cursor:
        cursor.execute(STORED.format(**names(column), wanted=literal, run_id=sql.Literal(run_id)))
        return cursor.fetchone()


def _id_literal(column: TextColumn, wanted: str) -> sql.Composable | None:
    """An id that a person wrote; None where it can be none of this column."""
    if column.id_type == "text":
        return None if "\0" in wanted else sql.Literal(wanted)
    is_number = re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", wanted) is not None
    return sql.Literal(int(wanted)) if is_number and -(2**63) <= int(wanted) < 2**63 else None

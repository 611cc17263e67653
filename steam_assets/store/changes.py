"""Which id ranges have something to do: rows without a vector, changed texts, vectors of another recipe. Reads only.

Made to be asked often: what nobody changed costs an index probe, and what has to be read is read in short stretches.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.id_range import IdRange
from steam_assets.store.missing_index import missing
from steam_assets.store.states import in_range, join_unembeddable, names, state_of_row

WINDOW_ROWS = 1_000
"""Rows of one statement of a scan."""

# In the words of the partial index: with it, what is embedded is not read. One pass, and not a probe for each range:
# with a quarter of 200,000 rows waiting the planner sorted them anew for each probe (87 s; a pass 0.3 s, 2026-11).
COUNT_MISSING = sql.SQL("""
    SELECT width_bucket(t.{id}, {bounds}), count(*)
    FROM {table} AS t
    {unembeddable}
    WHERE {in_range}
      AND {missing}
      AND unembeddable.kind IS NULL
    GROUP BY 1
""")

# No text is read but those of quarantined rows. A row's state is computed once (OFFSET 0).
RANGES_OF_OTHER_RUNS = sql.SQL("""
    SELECT DISTINCT width_bucket(id, {bounds})
    FROM (
        SELECT t.{id} AS id, {state} AS state
        FROM {table} AS t
        {unembeddable}
        WHERE {in_range}
          AND t.{vector} IS NOT NULL
          AND t.{run} IS DISTINCT FROM {run_id}
        OFFSET 0
    ) AS found
    WHERE state = 'stale'
""")

STALE_IN_WINDOW = sql.SQL("""
    SELECT count(*), max(id), array_agg(DISTINCT range) FILTER (WHERE state = 'stale')
    FROM (
        SELECT t.{id} AS id, width_bucket(t.{id}, {bounds}) AS range, {state} AS state
        FROM (
            SELECT t.{id}, t.{text}, t.{vector}, t.{run}, t.{digest}
            FROM {table} AS t
            WHERE {in_range}
              AND {after}
            ORDER BY t.{id}
            LIMIT {rows}
        ) AS t
        {unembeddable}
        OFFSET 0
    ) AS judged
""")

FILLED_BEFORE = """
    SELECT DISTINCT range_key
    FROM public.embedding_run_ranges
    WHERE table_name = %s
      AND vector_column = %s
      AND range_key = ANY (%s)
      AND status = 'done'
"""


def count_missing(
    conn: connection, column: TextColumn, run_id: int, id_ranges: Sequence[IdRange]
) -> dict[IdRange, int]:
    """The rows without a vector that are not quarantined, in each of ``id_ranges``, neighbours and ascending, with any.

    Milliseconds with the partial index while few rows wait, and a second or two for a million.
    """
    if not id_ranges:
        return {}
    with conn.cursor() as cursor:
        cursor.execute(COUNT_MISSING.format(**_asked(column, run_id, id_ranges)))
        return {id_ranges[number]: count for number, count in sorted(cursor.fetchall())}


def ranges_of_other_runs(
    conn: connection, column: TextColumn, run_id: int, id_ranges: Sequence[IdRange]
) -> list[IdRange]:
    """The ranges with a vector that a new recipe made stale; one pass over the table, without its texts."""
    if not id_ranges:
        return []
    with conn.cursor() as cursor:
        cursor.execute(RANGES_OF_OTHER_RUNS.format(**_asked(column, run_id, id_ranges)))
        return [id_ranges[number] for number in sorted(number for (number,) in cursor.fetchall())]


def filled_before(conn: connection, column: TextColumn, id_ranges: Iterable[IdRange]) -> set[IdRange]:
    """The ranges that some run has finished, whatever was in them then."""
    by_key = {id_range.key: id_range for id_range in id_ranges}
    with conn.cursor() as cursor:
        cursor.execute(FILLED_BEFORE, (column.qualified_table, column.vector, list(by_key)))
        return {by_key[key] for (key,) in cursor.fetchall()}


@dataclass(frozen=True)
class StaleScan:
    """A stretch of the table: the ranges with a stale row in it, and the id behind which to go on; None at the end."""

    id_ranges: list[IdRange]
    after: int | str | None
    rows: int
    seconds: float


def scan_for_stale(
    conn: connection,
    column: TextColumn,
    run_id: int,
    id_ranges: Sequence[IdRange],
    after: int | str | None,
    most_rows: int,
    most_seconds: float,
) -> StaleScan:
    """Look for vectors whose text is another by now, from behind the id ``after`` on, so many rows or seconds long."""
    if not id_ranges:
        return StaleScan([], None, 0, 0.0)
    found: set[int] = set()
    rows, started = 0, time.monotonic()
    while True:
        wanted = min(WINDOW_ROWS, most_rows - rows)
        beyond = sql.SQL("true" if after is None else "t.{} > {}").format(sql.Identifier(column.id), sql.Literal(after))
        statement = STALE_IN_WINDOW.format(**_asked(column, run_id, id_ranges), after=beyond, rows=sql.Literal(wanted))
        with conn.cursor() as cursor:
            cursor.execute(statement)
            count, last, numbers = cursor.fetchone() or (0, None, None)
        rows += count
        found.update(numbers or ())
        after = last if count == wanted else None
        if after is None or rows >= most_rows or time.monotonic() - started >= most_seconds:
            break
    return StaleScan([id_ranges[number] for number in sorted(found)], after, rows, time.monotonic() - started)


def _asked(column: TextColumn, run_id: int, id_ranges: Sequence[IdRange]) -> dict[str, sql.Composable]:
    whole = IdRange(id_ranges[0].start, id_ranges[-1].stop)
    return {
        **names(column),
        "run_id": sql.Literal(run_id),
        # Compared in the column's collation: an array's own is the default one, which gives way.
        "bounds": sql.SQL("{}::{}[]").format(
            sql.Literal([id_range.start for id_range in id_ranges[1:]]),
            sql.Identifier("pg_catalog", "int8" if column.id_type == "bigint" else "text"),
        ),
        "unembeddable": join_unembeddable(column, run_id),
        "in_range": in_range(column, whole),
        "state": state_of_row(column, run_id),
        "missing": missing(column, "t"),
    }

"""Figures for monitoring, as SQL: what attempts came to, rows by state, quarantined rows. metrics.py shows them."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.id_range import EVERYTHING
from steam_assets.store.states import in_range, join_unembeddable, names, state_of_row

STATES = ("blank", "failed", "embedded", "stale", "missing")
STAGES = ("read", "tokenize", "forward", "write", "starved", "blocked", "idle")
FIGURES_WITHIN_S = 5
"""Prometheus gives a scrape 10 s; these statements read hundreds of rows, not the tables."""

# A sum over what is kept of every attempt, so it only grows, also when the processes that did the work are gone.
ATTEMPTS = """
    SELECT status,
           count(*),
           coalesce(sum(rows_written), 0)::bigint,
           coalesce(sum(rows_failed), 0)::bigint,
           coalesce(sum(rows_changed), 0)::bigint,
           coalesce(sum(tokens), 0)::bigint,
           coalesce(sum(truncated), 0)::bigint,
           coalesce(sum(memory_errors), 0)::bigint,
           coalesce(sum(seconds), 0),
           coalesce(sum((details ->> 'gpu_energy_wh')::float8), 0),
           extract(epoch FROM max(finished_at))::float8
    FROM public.embedding_run_ranges
    WHERE table_name = %s
      AND vector_column = %s
    GROUP BY status
"""

STAGE_SECONDS = """
    SELECT stage.name, sum(stage.seconds::float8)
    FROM public.embedding_run_ranges
    CROSS JOIN jsonb_each_text(details -> 'stage_seconds') AS stage (name, seconds)
    WHERE table_name = %s
      AND vector_column = %s
    GROUP BY stage.name
"""

QUARANTINED = """
    SELECT count(*)
    FROM public.embedding_failures
    WHERE table_name = %s
      AND vector_column = %s
      AND run_id = %s
      AND kind = 'failed'
      AND released_at IS NULL
"""

# The state alone: unlike the checks' scan it never looks into a vector, which would read gigabytes.
ROWS_BY_STATE = sql.SQL("""
    SELECT state, count(*)
    FROM (
        SELECT {state} AS state
        FROM {table} AS t
        {unembeddable}
        WHERE {in_range}
        OFFSET 0
    ) AS judged
    GROUP BY state
""")


@dataclass(frozen=True)
class AttemptFigures:
    """All attempts at ranges of a column that are in one status; ``finished`` is seconds since 1970 of the last."""

    attempts: int
    rows: int
    failed_rows: int
    changed_rows: int
    tokens: int
    truncated_texts: int
    memory_errors: int
    seconds: float
    energy_wh: float
    finished: float | None


def attempt_figures(conn: connection, column: TextColumn) -> dict[str, AttemptFigures]:
    """What attempts came to, by their status; the running ones have told nothing yet."""
    with conn.cursor() as cursor:
        cursor.execute(ATTEMPTS, (column.qualified_table, column.vector))
        return {status: AttemptFigures(*figures) for status, *figures in cursor.fetchall()}


def stage_seconds(conn: connection, column: TextColumn) -> dict[str, float]:
    """The seconds of each stage over all attempts at ranges of a column; stages.py says what they mean."""
    with conn.cursor() as cursor:
        cursor.execute(STAGE_SECONDS, (column.qualified_table, column.vector))
        found = dict(cursor.fetchall())
    return {stage: found.get(stage, 0.0) for stage in STAGES}


def quarantined_rows(conn: connection, column: TextColumn, run_id: int) -> int:
    """Rows on record that this run cannot embed, those of deleted ids among them."""
    with conn.cursor() as cursor:
        cursor.execute(QUARANTINED, (column.qualified_table, column.vector, run_id))
        (rows,) = cursor.fetchone() or (0,)
    return int(rows)


def rows_by_state(conn: connection, column: TextColumn, run_id: int) -> Mapping[str, int]:
    """Rows of the column in each state for ``run_id``: a scan of the table, by one process of the server only."""
    statement = ROWS_BY_STATE.format(
        **names(column),
        state=state_of_row(column, run_id),
        unembeddable=join_unembeddable(column, run_id),
        in_range=in_range(column, EVERYTHING),
    )
    with conn.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute(statement)
        found = dict(cursor.fetchall())
    return {state: found.get(state, 0) for state in STATES}


def answer_soon(conn: connection) -> None:
    """Give each statement of this connection a few seconds from now on; for a connection in autocommit."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", (f"{FIGURES_WITHIN_S}s",))

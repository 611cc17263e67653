"""Dagster's tables, in SQL: which runs ended long ago, which of them say what is true now, and what may go of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection

ENDED = ("SUCCESS", "FAILURE", "CANCELED")
BACKFILL_ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED")
EXPENDABLE = (
    *("ENGINE_EVENT", "LOGS_CAPTURED", "RESOURCE_INIT_STARTED", "RESOURCE_INIT_SUCCESS", "RESOURCE_INIT_FAILURE"),
    *("STEP_WORKER_STARTING", "STEP_WORKER_STARTED", "STEP_INPUT", "STEP_OUTPUT", "LOADED_INPUT", "HANDLED_OUTPUT"),
    *("OBJECT_STORE_OPERATION", "ASSET_STORE_OPERATION", "HOOK_COMPLETED", "HOOK_SKIPPED"),
)
"""Events that nothing but a run's own page shows. From the others, how runs and steps ended and all about assets and
checks, the UI computes what it shows of partitions; a type that a later Dagster adds stays too."""

# A run is needed as long as it holds the newest event of any kind of some partition, or of an asset without partitions;
# the newest answer of a check, or its newest plan, which a run that failed leaves without an answer; or is the last
# that an asset names. The UI resolves all of these through the run's own row.
OLD_RUNS = """
    WITH newest_events AS (
        SELECT max(id) AS id
        FROM event_logs
        WHERE asset_key IS NOT NULL
        GROUP BY asset_key, partition, dagster_event_type
    ),
    newest_checks AS (
        SELECT max(id) AS id
        FROM asset_check_executions
        GROUP BY asset_key, check_name, partition, execution_status = 'PLANNED', evaluation_event_storage_id IS NULL
    ),
    needed AS (
        SELECT run_id FROM event_logs JOIN newest_events USING (id)
        UNION
        SELECT run_id FROM asset_check_executions JOIN newest_checks USING (id)
        UNION
        SELECT last_run_id FROM asset_keys
    )
    SELECT run.run_id, run.run_id IN (SELECT run_id FROM needed WHERE run_id IS NOT NULL)
    FROM runs AS run
    LEFT JOIN bulk_actions AS backfill ON backfill.key = run.backfill_id
    WHERE run.status = ANY(%(ended)s)
      AND (backfill.status IS NULL OR backfill.status = ANY(%(backfill_ended)s))
      AND coalesce(run.end_time, extract(epoch FROM run.update_timestamp))
          < extract(epoch FROM clock_timestamp()) - %(seconds)s
    ORDER BY run.id
"""

UNFINISHED_RUNS = "SELECT run_id FROM runs WHERE status <> ALL(%s)"

COUNT_EVENTS = """
    SELECT count(*)
    FROM event_logs
    WHERE run_id = ANY(%s)
"""

OF_THESE_TYPES = """
      AND (dagster_event_type IS NULL OR dagster_event_type = ANY(%s))
"""

DELETE_EVENTS = """
    DELETE FROM event_logs
    WHERE run_id = ANY(%s)
"""

DELETE_TAGS = """
    DELETE FROM asset_event_tags
    WHERE event_id IN (
        SELECT id
        FROM event_logs
        WHERE run_id = ANY(%s)
          AND asset_key IS NOT NULL
    )
"""

DELETE_CHECKS = """
    DELETE FROM asset_check_executions
    WHERE run_id = ANY(%s)
"""


@dataclass(frozen=True)
class OldRun:
    """A run that ended long ago; one that ``is_needed`` says something of the present."""

    run_id: str
    is_needed: bool


def old_runs(conn: connection, older_than_days: float) -> list[OldRun]:
    """Runs that ended so long ago, the oldest first; none that is in progress, or whose backfill is."""
    with conn.cursor() as cursor:
        cursor.execute(
            OLD_RUNS,
            {"ended": list(ENDED), "backfill_ended": list(BACKFILL_ENDED), "seconds": older_than_days * 86_400},
        )
        return [OldRun(*row) for row in cursor.fetchall()]


def unfinished_runs(conn: connection) -> set[str]:
    """Runs that are in progress, or wait to be."""
    with conn.cursor() as cursor:
        cursor.execute(UNFINISHED_RUNS, (list(ENDED),))
        return {run_id for (run_id,) in cursor.fetchall()}


def count_events(conn: connection, run_ids: Sequence[str]) -> int:
    """All events of these runs."""
    return _count(conn, COUNT_EVENTS, list(run_ids))


def count_expendable_events(conn: connection, run_ids: Sequence[str]) -> int:
    """Events of these runs that say nothing of the present, log lines among them."""
    return _count(conn, COUNT_EVENTS + OF_THESE_TYPES, list(run_ids), list(EXPENDABLE))


def _count(conn: connection, statement: str, *values: list[str]) -> int:
    with conn.cursor() as cursor:
        cursor.execute(statement, values)
        (events,) = cursor.fetchone() or (0,)
    return int(events)


def delete_expendable_events(conn: connection, run_ids: Sequence[str]) -> int:
    """Delete what ``count_expendable_events`` counts, and commit; return how many there were."""
    with conn, conn.cursor() as cursor:
        cursor.execute(DELETE_EVENTS + OF_THESE_TYPES, (list(run_ids), list(EXPENDABLE)))
        return cursor.rowcount


def delete_history(conn: connection, run_ids: Sequence[str]) -> int:
    """Delete all events of these runs and their checks' answers, and commit; return how many events there were.

    The runs themselves stay, so that who is interrupted here finds them again.
    """
    with conn, conn.cursor() as cursor:
        for statement in (DELETE_TAGS, DELETE_CHECKS, DELETE_EVENTS):
            cursor.execute(statement, (list(run_ids),))
        return cursor.rowcount

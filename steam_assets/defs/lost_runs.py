"""Runs whose process has died: found by the lock that they hold no more, and buried. The locks are store/locks.py's."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing

import dagster as dg
from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.defs.assets import step_name, vector_key
from steam_assets.defs.checks import column_checks_name, range_checks_name
from steam_assets.defs.comparison import comparison_key
from steam_assets.defs.evaluations import KNOWN_ITEM_CHECK, evaluation_key
from steam_assets.defs.indexes import RECALL_CHECK, index_key
from steam_assets.defs.jobs import EVERYTHING_STEP
from steam_assets.defs.measured_variants import variants_key
from steam_assets.defs.pictures import map_key
from steam_assets.defs.resources import DatabaseResource
from steam_assets.store.locks import is_run_alive, lost_runs, mark_lost
from steam_assets.store.session import LONGEST_PAUSE_S
from steam_assets.store.status import is_initialised

AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
EVERY_S = 30
STARTING_S = 30.0
"""A run is given this long from its start to its first step, which takes the lock."""
SILENT_S = 2 * LONGEST_PAUSE_S
"""A living run is without its lock for less than this: between two steps, and after the server has come back."""
WHAT_NOW = "What it committed stays; a re-execution, or `steam-assets embed`, does the rest."


def build_lost_runs_sensor(columns: Sequence[TextColumn]) -> dg.SensorDefinition:
    """Looks for dead runs while the daemon runs; on by default, because it changes nothing that lives."""

    @dg.sensor(
        name="lost_runs",
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks runs failed whose process has died, and their unfinished ranges lost.",
    )
    def lost_runs_sensor(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SkipReason:
        lost = fail_lost_runs(context.instance, database.connect, columns)
        return dg.SkipReason(f"Had died: {', '.join(lost)}." if lost else "Every run that is at work is alive.")

    return lost_runs_sensor


def fail_lost_runs(
    instance: dg.DagsterInstance, connect: Callable[[], connection], columns: Sequence[TextColumn] = COLUMNS
) -> list[str]:
    """Mark runs ended whose process has died, and their unfinished ranges lost; return their ids.

    The steps of a living run hold a session advisory lock; Dagster's own launcher does not notice a killed process in
    every case. A run is looked at twice, SILENT_S apart, before it is taken for dead.
    """
    with closing(connect()) as conn:
        conn.autocommit = True
        if not is_initialised(conn):
            return []
        suspects = _silent_runs(instance, conn, columns)
        if not suspects:
            return []
        time.sleep(SILENT_S)
        lost = sorted(suspects & _silent_runs(instance, conn, columns))
        mark_lost(conn, lost)
    for run in instance.get_runs(dg.RunsFilter(run_ids=lost, statuses=AT_WORK)) if lost else ():
        said = f"The process of run {run.run_id} has died. {WHAT_NOW}"
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=said)
        else:
            instance.report_run_failed(run, message=said)
    return lost


def _silent_runs(instance: dg.DagsterInstance, conn: connection, columns: Sequence[TextColumn]) -> set[str]:
    """Runs without their lock: those that are recorded as filling a range, and others of whose steps each takes it."""
    ours = {step for column in columns for step in steps(column)} | {EVERYTHING_STEP}
    return set(lost_runs(conn)) | {
        record.dagster_run.run_id
        for record in instance.get_run_records(dg.RunsFilter(statuses=AT_WORK))
        # A clock that was put back makes a run seem to begin in the future: no reason to wait for it.
        if not 0 <= time.time() - (record.start_time or record.create_timestamp.timestamp()) < STARTING_S
        and not is_run_alive(conn, record.dagster_run.run_id)
        and _has_only(instance, record.dagster_run, ours)
    }


def steps(column: TextColumn) -> tuple[str, ...]:
    """The names of the column's steps in any run, each of which holds the run's lock."""
    keys = (vector_key, index_key, variants_key, evaluation_key, comparison_key, map_key)
    index, evaluation = step_name(index_key(column)), step_name(evaluation_key(column))
    return (
        *(step_name(key(column)) for key in keys),
        *(range_checks_name(column), column_checks_name(column)),
        *(f"{index}_{RECALL_CHECK}", f"{evaluation}_{KNOWN_ITEM_CHECK}"),
    )


def _has_only(instance: dg.DagsterInstance, run: dg.DagsterRun, ours: set[str]) -> bool:
    """Whether nobody else's asset, check or op is in the run: their steps hold no lock."""
    if run.execution_plan_snapshot_id is None:
        return False
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return set(plan.step_keys_to_execute) <= ours

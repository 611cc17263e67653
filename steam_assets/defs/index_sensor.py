"""The sensor that asks for a column's index once after a backfill: the column is complete, and its index is not there.

Building is defs/indexes.py's; ``STEAM_ASSETS_AUTOMATION=1`` turns the sensor on, as it does those of automation.py.
"""

import hashlib
import time
from contextlib import suppress

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import step_name
from steam_assets.defs.automation import is_on, tick
from steam_assets.defs.in_progress import CAUSE_TAG, RUNS_LOOKED_BACK, Failures, in_progress
from steam_assets.defs.indexes import index_job_name, index_key
from steam_assets.defs.partitions import registered_ranges
from steam_assets.defs.resources import DatabaseResource
from steam_assets.indexes.ready import finding_of, why_not_ready
from steam_assets.store.hnsw import index_records, variants_to_build
from steam_assets.store.limits import unlimited
from steam_assets.store.variants import DEFAULT_VARIANT
from steam_assets.targets import target_run

EVERY_S = 60
SHARE_OF_TIME = 0.05
"""Whether a column is complete takes a scan of it, which reads every text; such looks take no more of the server."""
SHORTEST_REST_S, LONGEST_REST_S = 30.0, 600.0


def build_index_sensor(column: TextColumn) -> dg.SensorDefinition:
    """A complete column gets its index."""

    @dg.sensor(
        name=f"{'_'.join(index_key(column).path)}_wanted",
        job_name=index_job_name(column),
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING if is_on() else dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Looks every {EVERY_S} s whether the index of {column} is missing, was dropped for bulk work or is of an "
            "earlier run, and asks for it once no run and no backfill fills the column and all of it is complete. What "
            "fails is tried again after a minute, then after two, four ... up to an hour."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SensorResult | dg.SkipReason:
        return tick(wanted_index, context, database, column)

    return sensor


def wanted_index(
    instance: dg.DagsterInstance, conn: connection, column: TextColumn, cursor: str | None, now: float
) -> dg.SensorResult:
    """Ask for one index that the column should have and has not; the cheap reasons not to are looked at first."""
    rest_until = _rest_until(cursor)
    if 0 < rest_until - now <= LONGEST_REST_S:
        return _nothing(f"Looking took long; the next look is in {rest_until - now:.0f} s.", now, rest_until)
    run = target_run(conn, column)
    lost = variants_to_build(conn, column, run.run_id)
    if not lost and index_records(conn, column):
        return _nothing(f"The index of {column} is there.", now)
    if why_not := _why_not_now(instance, column, now):
        return _nothing(why_not, now)
    began = time.monotonic()
    with unlimited(conn):
        finding = finding_of(conn, column, run)
    rest = min(max((time.monotonic() - began) / SHARE_OF_TIME, SHORTEST_REST_S), LONGEST_REST_S)
    if (why_not := why_not_ready(column, finding)) is not None:
        return _nothing(why_not, now, now + rest)
    if not finding.state.embedded:
        return _nothing(f"{column} has no vector yet.", now, now + rest)
    variant = lost[0] if lost else DEFAULT_VARIANT
    asked = hashlib.sha256(f"{cursor} {variant}".encode()).hexdigest()
    request = dg.RunRequest(
        run_key=None if cursor is None else asked,  # once, though two daemons ask
        run_config={"ops": {step_name(index_key(column)): {"config": {"variant": variant}}}},
        tags={CAUSE_TAG: "index_wanted"},
    )
    return dg.SensorResult(run_requests=[request], cursor=f"{now} 0")


def _why_not_now(instance: dg.DagsterInstance, column: TextColumn, now: float) -> str | None:
    """What an index has to wait for that Dagster knows of: its own run, a run or backfill of the column, a failure."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    building = [run.run_id for run in unfinished if _builds(run, column)]
    if building:
        return f"Run {building[0]} builds the index of {column}."
    found = in_progress(instance, column, registered_ranges(instance, column))
    if found.taken or found.waiting:
        return f"{len(found.taken | found.waiting)} ranges of {column} are being filled; its index comes after them."
    failed = _failures(instance, column)
    if failed is not None and not failed.may_try(now):
        return f"The last {failed.times} builds of the index of {column} failed; the next try is later."
    return None


def _builds(run: dg.DagsterRun, column: TextColumn) -> bool:
    return run.job_name == index_job_name(column) or index_key(column) in (run.asset_selection or ())


def _failures(instance: dg.DagsterInstance, column: TextColumn) -> Failures | None:
    """How often in a row the job has failed at last; None when it has not."""
    times, ended = 0, 0.0
    finished = dg.RunsFilter(job_name=index_job_name(column), statuses=FINISHED_STATUSES)
    for record in instance.get_run_records(finished, limit=RUNS_LOOKED_BACK):
        if record.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
            break
        times += 1
        ended = ended or record.end_time or record.update_timestamp.timestamp()
    return Failures(times, ended) if times else None


def _rest_until(cursor: str | None) -> float:
    """The second number of "now rest_until"; a cursor that cannot be read costs a look."""
    with suppress(ValueError):
        return float((cursor or "0 0").split()[-1])
    return 0.0


def _nothing(reason: str, now: float, rest_until: float = 0.0) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=f"{now} {rest_until}")

"""Running pending ranges through Dagster in this process, as the command line and the job for everything do."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster_shared.error import SerializableErrorInfo
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import RANGES_PER_RUN, vector_key
from steam_assets.defs.partitions import register_ranges
from steam_assets.id_range import IdRange
from steam_assets.progress import Progress, watching
from steam_assets.store.locks import is_run_alive, mark_lost, may_come_back
from steam_assets.store.read import count_pending_by_range
from steam_assets.store.session import LONGEST_PAUSE_S
from steam_assets.store.states import range_state
from steam_assets.targets import target_run

STARTED = [dg.DagsterRunStatus.STARTED]
# Events go to the instance; a command's terminal belongs to its progress bar.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
INTERRUPTS = (dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__)
EMBEDDING_JOB_PREFIX = "embed_"
STARTING_S = 30.0
"""A run is given this long from its start to its first step, which takes the lock."""
RECONNECTING_S = 2 * LONGEST_PAUSE_S
"""A living run has its lock again so soon after the server has come back."""
BETWEEN_STEPS_S = 3.0
"""A living run is without its lock for less than this, from one step to the next and at its end."""


@dataclass(frozen=True)
class RunOutcome:
    """One Dagster run over neighbouring ranges: rows through the encoder, and what went wrong, red checks too."""

    run_id: str
    ranges: int
    rows: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class RangeStatus:
    """A registered range with its rows in the table and those of them that are pending."""

    column: str
    key: str
    rows: int
    pending: int


def range_statuses(
    instance: dg.DagsterInstance, column: TextColumn, connect: Callable[[], connection]
) -> list[RangeStatus]:
    """Every range of the column, new ones registered, counted in SQL now."""
    with closing(connect()) as conn:
        conn.autocommit = True
        run = target_run(conn, column)
        ranges = register_ranges(instance, conn, column)
        states = [range_state(conn, column, run.run_id, run.dimension, id_range) for id_range in ranges]
    return [
        RangeStatus(str(column), id_range.key, state.total, state.pending)
        for id_range, state in zip(ranges, states, strict=True)
    ]


@dataclass(frozen=True)
class Plan:
    """All ranges of a column, those that a run has to do with, and the rows it would encode."""

    ranges: Sequence[IdRange]
    wanted: Sequence[IdRange]
    rows: int


def plan_column(instance: dg.DagsterInstance, column: TextColumn, connect: Callable[[], connection]) -> Plan:
    """What there is to do now, new ranges registered: ranges with a row to encode or clear, or never materialized."""
    with closing(connect()) as conn:
        conn.autocommit = True
        run = target_run(conn, column)
        ranges = register_ranges(instance, conn, column)
        counts = count_pending_by_range(conn, column, run.run_id, ranges)
    pending = {id_range: count.pending for id_range, count in zip(ranges, counts, strict=True)}
    materialized = instance.get_materialized_partitions(vector_key(column))
    wanted = [
        id_range
        for id_range, found in pending.items()
        if found.rows or found.to_clear or id_range.key not in materialized
    ]
    return Plan(ranges, wanted, sum(found.rows for found in pending.values()))


def embed_column(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    column: TextColumn,
    connect: Callable[[], connection],
    limit: int | None = None,
    config: Mapping[str, object] | None = None,
    plan: Plan | None = None,
) -> Iterator[RunOutcome]:
    """Materialize and check the ranges of ``column`` that need it, a run for each stretch of neighbours.

    With a ``limit`` each run has one range, so that none is started after so many rows; ``config`` are other fields of
    EmbeddingConfig. ``plan`` is one that has just been made.
    """
    plan = plan or plan_column(instance, column, connect)
    rows = 0
    for stretch in stretches(plan.ranges, plan.wanted, RANGES_PER_RUN if limit is None else 1):
        remaining = None if limit is None else limit - rows
        if remaining == 0:
            return
        outcome = run_ranges(instance, job, column, stretch, {**(config or {}), "limit": remaining})
        rows += outcome.rows
        yield outcome


def run_ranges(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    column: TextColumn,
    stretch: Sequence[IdRange],
    config: Mapping[str, object] | None = None,
) -> RunOutcome:
    """Materialize neighbouring ranges in one run, which the web UI shows like any other, with this EmbeddingConfig."""
    first, last = stretch[0].key, stretch[-1].key
    single = first == last
    rows = 0

    def count(progress: Progress) -> None:
        nonlocal rows
        rows += progress.rows

    with watching(count):
        result, errors = execute(
            instance,
            job,
            {**QUIET, "ops": {"__".join(vector_key(column).path): {"config": dict(config or {})}}},
            partition_key=first if single else None,
            tags=None if single else {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last},
        )
    return RunOutcome(result.run_id, len(stretch), rows, tuple(error.message.strip() for error in errors))


def run_checks(instance: dg.DagsterInstance, job: dg.JobDefinition) -> list[str]:
    """Run a job of checks; return the names of those that are not green, for want of an answer too."""
    result, _ = execute(instance, job, QUIET)
    green = {check.asset_check_key for check in result.get_asset_check_evaluations() if check.passed}
    return sorted(key.name for key in job.asset_layer.asset_graph.asset_check_keys - green)


def execute(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    run_config: Mapping[str, object],
    partition_key: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> tuple[dg.ExecuteInProcessResult, list[SerializableErrorInfo]]:
    """Run a job in this process; return its result and what went wrong first in each failed step.

    An interrupt ends the run as canceled and is raised again here.
    """
    result = job.execute_in_process(
        instance=instance, raise_on_error=False, run_config=run_config, partition_key=partition_key, tags=tags
    )
    failures = [event.step_failure_data.error for event in result.filter_events(lambda event: event.is_step_failure)]
    errors = [root_error(error) for error in failures if error is not None]
    if any(error.cls_name in INTERRUPTS for error in errors):
        run = instance.get_run_by_id(result.run_id)
        if run is not None and run.status is dg.DagsterRunStatus.FAILURE:
            # Dagster calls an interrupt that it was not asked for a failure; here a person asked.
            instance.report_run_canceled(run, message="Interrupted on the command line.")
        raise KeyboardInterrupt
    return result, errors


def root_error(error: SerializableErrorInfo) -> SerializableErrorInfo:
    """What went wrong first, without Dagster's frames around it."""
    while error.cause is not None:
        error = error.cause
    return error


def stretches(ranges: Sequence[IdRange], wanted: Sequence[IdRange], longest: int) -> Iterator[list[IdRange]]:
    """Neighbouring wanted ranges together, at most ``longest``: of a b c d e, wanted a b d -> [a, b], [d]."""
    chosen = set(wanted)
    stretch: list[IdRange] = []
    for id_range in ranges:
        if stretch and (id_range not in chosen or len(stretch) == longest):
            yield stretch
            stretch = []
        if id_range in chosen:
            stretch.append(id_range)
    if stretch:
        yield stretch


def fail_lost_runs(instance: dg.DagsterInstance, connect: Callable[[], connection]) -> list[str]:
    """Mark runs failed whose process has died, and their unfinished ranges lost; return their ids.

    The steps of a living run hold a session advisory lock; Dagster's own launcher does not notice a killed process in
    every case.
    """
    with closing(connect()) as conn:
        conn.autocommit = True
        if may_come_back(conn, RECONNECTING_S):
            time.sleep(RECONNECTING_S)
        lost = set(mark_lost(conn))
        suspects = [run for run in _unlocked_runs(instance, conn) if run.run_id not in lost]
        if suspects:
            time.sleep(BETWEEN_STEPS_S)
            lost |= {run.run_id for run in suspects} & {run.run_id for run in _unlocked_runs(instance, conn)}
    for record in instance.get_run_records(dg.RunsFilter(run_ids=sorted(lost), statuses=STARTED)) if lost else ():
        run = record.dagster_run
        instance.report_run_failed(run, message=f"The process of run {run.run_id} has died.")
    return sorted(lost)


def _unlocked_runs(instance: dg.DagsterInstance, conn: connection) -> list[dg.DagsterRun]:
    """Runs of our jobs that started long enough ago to hold their lock, and do not."""
    return [
        record.dagster_run
        for record in instance.get_run_records(dg.RunsFilter(statuses=STARTED))
        if record.dagster_run.job_name.startswith(EMBEDDING_JOB_PREFIX)
        and time.time() - (record.start_time or record.create_timestamp.timestamp()) > STARTING_S
        and not is_run_alive(conn, record.dagster_run.run_id)
    ]

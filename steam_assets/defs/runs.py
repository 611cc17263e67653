"""Running pending ranges through Dagster in this process, as the command line and the job for everything do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster_shared.error import SerializableErrorInfo
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import ranges_per_run, step_name, vector_key
from steam_assets.defs.checks import just_scanned
from steam_assets.defs.partitions import register_ranges
from steam_assets.id_range import IdRange
from steam_assets.indexes.ready import finding_of
from steam_assets.progress import Progress, watching
from steam_assets.rules import Finding
from steam_assets.store.limits import unlimited
from steam_assets.store.read import count_pending_by_range, has_missing
from steam_assets.targets import target_run

# Events go to the instance; a command's terminal belongs to its progress bar.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
INTERRUPTS = (dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__)


@dataclass(frozen=True)
class RunOutcome:
    """One Dagster run over neighbouring ranges: rows through the encoder, and what went wrong, red checks too."""

    run_id: str
    ranges: int
    rows: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All ranges of a column, those that a run has to do with, and the rows it would encode.

    Where there is nothing to do, ``scanned`` is what the scan of the whole column found that says so.
    """

    ranges: Sequence[IdRange]
    wanted: Sequence[IdRange]
    rows: int
    scanned: Mapping[TextColumn, Finding] = field(default_factory=dict)


def plan_column(instance: dg.DagsterInstance, column: TextColumn, connect: Callable[[], connection]) -> Plan:
    """What there is to do now, new ranges registered: ranges with a row to encode or clear, or never materialized."""
    with closing(connect()) as conn:
        conn.autocommit = True
        run = target_run(conn, column)
        ranges = register_ranges(instance, conn, column)
        materialized = instance.get_materialized_partitions(vector_key(column))
        # Mostly there are new rows, or there is nothing to do: that takes one scan, which the column's checks take too.
        if materialized.issuperset(id_range.key for id_range in ranges) and not has_missing(conn, column, run.run_id):
            with unlimited(conn):
                finding = finding_of(conn, column, run)
            if not finding.state.pending:
                return Plan(ranges, [], 0, {column: finding})
        counts = count_pending_by_range(conn, column, run.run_id, ranges)
    pending = {id_range: count.pending for id_range, count in zip(ranges, counts, strict=True)}
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
    for stretch in stretches(plan.ranges, plan.wanted, ranges_per_run() if limit is None else 1):
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
            {**QUIET, "ops": {step_name(vector_key(column)): {"config": dict(config or {})}}},
            partition_key=first if single else None,
            tags=None if single else {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last},
        )
    return RunOutcome(result.run_id, len(stretch), rows, tuple(map(message_of, errors)))


def run_checks(
    instance: dg.DagsterInstance, job: dg.JobDefinition, scanned: Mapping[TextColumn, Finding] | None = None
) -> list[str]:
    """Run a job of checks; return the names of those that are not green, for want of an answer too.

    Columns that were ``scanned`` a moment ago are not read again.
    """
    with just_scanned(scanned or {}):
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


def message_of(error: SerializableErrorInfo) -> str:
    """What an error says; of a dg.Failure without its class, which says nothing more."""
    return error.message.strip().removeprefix(f"{dg.Failure.__module__}.{dg.Failure.__name__}: ")


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

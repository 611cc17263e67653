"""What the instance has in hand already: id ranges of unfinished runs and backfills, and ranges that failed lately."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
)

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import vector_key
from steam_assets.defs.jobs import column_job_name
from steam_assets.id_range import IdRange
from steam_assets.rules import RULES

CAUSE_TAG = "steam_assets/cause"
"""Why automation asked for a run or a backfill; a person's runs have none."""
RUNS_LOOKED_BACK = 100
"""So many of a column's last runs say how often a range has failed."""
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 3_600.0

UNFINISHED_BACKFILLS = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
NOT_BEGUN = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)


@dataclass(frozen=True)
class InProgress:
    """Ranges that somebody fills: ``taken`` by a run, or ``waiting`` in a backfill whose run for them has not begun."""

    taken: frozenset[IdRange]
    waiting: frozenset[IdRange]


def in_progress(instance: dg.DagsterInstance, column: TextColumn, id_ranges: Sequence[IdRange]) -> InProgress:
    """Those of ``id_ranges``, all that are registered, that runs and backfills of the column have already."""
    taken: set[IdRange] = set()
    waiting: set[IdRange] = set()
    for run in unfinished_runs(instance, column):
        behind_others = run.status in NOT_BEGUN and BACKFILL_ID_TAG in run.tags
        (waiting if behind_others else taken).update(ranges_of_tags(run.tags, id_ranges))
    by_key = {id_range.key: id_range for id_range in id_ranges}
    for backfill in instance.get_backfills(BulkActionsFilter(statuses=UNFINISHED_BACKFILLS)):
        waiting.update(by_key[key] for key in keys_to_do(instance, backfill, column) if key in by_key)
    return InProgress(frozenset(taken), frozenset(waiting - taken))


def unanswered(instance: dg.DagsterInstance, column: TextColumn, id_ranges: Sequence[IdRange]) -> set[IdRange]:
    """Those of ``id_ranges`` whose last run has ended without telling what is true of them, whatever it wrote before.

    Its process died between the last commit and its events, or it was cancelled after another run was asked for.
    """
    by_key = {id_range.key: id_range for id_range in id_ranges}
    check = dg.AssetCheckKey(vector_key(column), RULES[-1].name)  # which is told last
    planned = {
        info.partition_key: info.latest_planned_run_id
        for info in instance.event_log_storage.get_asset_check_partition_info([check])
        if info.latest_execution_status is AssetCheckExecutionRecordStatus.PLANNED
    }
    if not planned:
        return set()
    runs = dg.RunsFilter(run_ids=list(set(planned.values())), statuses=FINISHED_STATUSES)
    ended = {run.run_id for run in instance.get_runs(runs)}
    return {by_key[key] for key, run_id in planned.items() if key in by_key and run_id in ended}


def unfinished_runs(instance: dg.DagsterInstance, column: TextColumn) -> list[dg.DagsterRun]:
    """Runs that fill the column, or are about to: of its job, or of its asset, as the UI and backfills start them."""
    return [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
        if run.job_name == column_job_name(column) or vector_key(column) in (run.asset_selection or ())
    ]


def is_of_a_person(run: dg.DagsterRun) -> bool:
    """Whether `embed` or somebody at the UI started it: neither automation nor a backfill."""
    return CAUSE_TAG not in run.tags and BACKFILL_ID_TAG not in run.tags


def ranges_of_tags(tags: Mapping[str, str], id_ranges: Sequence[IdRange]) -> list[IdRange]:
    """Those of the registered ranges that a run with these tags is for; none when its keys are of an older cut."""
    single = tags.get(PARTITION_NAME_TAG)
    first, last = (tags.get(tag, single) for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG))
    places = {id_range.key: place for place, id_range in enumerate(id_ranges)}
    if first not in places or last not in places:
        return []
    return list(id_ranges[places[first] : places[last] + 1])


def keys_to_do(instance: dg.DagsterInstance, backfill: PartitionBackfill, column: TextColumn) -> set[str]:
    """The column's partitions that an unfinished backfill has yet to fill."""
    if backfill.job_name == column_job_name(column):
        return set(backfill.partition_names or ())
    key, data = vector_key(column), backfill.asset_backfill_data
    if data is None:
        return set()
    # "All partitions" is kept as just that, and looked up in the instance.
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        target, filled, failed = (
            set(subset.partitions_subsets_by_asset_key[key].get_partition_keys())
            if key in subset.partitions_subsets_by_asset_key
            else set()
            for subset in (data.target_subset, data.materialized_subset, data.failed_and_downstream_subset)
        )
    return target - filled - failed


@dataclass(frozen=True)
class Failures:
    """A range's last runs failed or were terminated: ``times`` in a row, at last at ``ended``, in epoch seconds."""

    times: int
    ended: float

    def may_try(self, now: float) -> bool:
        """Whether it is time for another attempt: a minute after the first failure, twice as long after each, an hour.

        A clock that has been put back lets it be tried at once.
        """
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self.times - 1))
        return not 0 <= now - self.ended < pause


def failures(
    instance: dg.DagsterInstance, column: TextColumn, wanted: Iterable[IdRange], id_ranges: Sequence[IdRange]
) -> Mapping[IdRange, Failures]:
    """Those of the ``wanted`` ranges whose last run of the column's job did not succeed."""
    open_, found = set(wanted), dict[IdRange, Failures]()
    finished = dg.RunsFilter(job_name=column_job_name(column), statuses=FINISHED_STATUSES)
    for record in instance.get_run_records(finished, limit=RUNS_LOOKED_BACK):
        for id_range in open_.intersection(ranges_of_tags(record.dagster_run.tags, id_ranges)):
            if record.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
                open_.remove(id_range)
            elif id_range in found:
                found[id_range] = Failures(found[id_range].times + 1, found[id_range].ended)
            else:
                found[id_range] = Failures(1, record.end_time or record.update_timestamp.timestamp())
    return found

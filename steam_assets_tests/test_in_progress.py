"""What runs and backfills have in hand is known from the instance alone, and so is what failed lately."""

import time
from collections.abc import Sequence

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.defs.assets import vector_key
from steam_assets.defs.in_progress import (
    CAUSE_TAG,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    RUNS_LOOKED_BACK,
    Failures,
    InProgress,
    failures,
    in_progress,
    is_of_a_person,
    ranges_of_tags,
    unfinished_runs,
)
from steam_assets.defs.partitions import registered_ranges
from steam_assets.defs.recipes import backfill_once
from steam_assets.id_range import IdRange
from steam_assets_tests.requested_runs import enqueue

NOTHING = InProgress(frozenset(), frozenset())
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@pytest.fixture
def id_ranges(instance: dg.DagsterInstance, definitions: dg.Definitions) -> list[IdRange]:
    """The ranges of the applications: eight with rows and one ahead."""
    return registered_ranges(instance, APPLICATIONS)


def tags_of(id_ranges: Sequence[IdRange], **more: str) -> dict[str, str]:
    """The tags that Dagster gives a run over neighbouring ranges."""
    if len(id_ranges) == 1:
        return {"dagster/partition": id_ranges[0].key, **more}
    return {
        "dagster/asset_partition_range_start": id_ranges[0].key,
        "dagster/asset_partition_range_end": id_ranges[-1].key,
        **more,
    }


def test_ranges_of_a_run_are_taken_until_it_ends(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange]
) -> None:
    """From the queue to the moment when a terminated run is gone; whether it has one range or several."""
    for status in UNFINISHED:
        several = enqueue(instance, definitions, APPLICATIONS, tags_of(id_ranges[1:4]), status)
        one = enqueue(instance, definitions, APPLICATIONS, tags_of(id_ranges[6:7]), status)
        assert in_progress(instance, APPLICATIONS, id_ranges).taken == {*id_ranges[1:4], id_ranges[6]}, status
        for run in (several, one):
            instance.delete_run(run.run_id)
    for status in ENDED:
        enqueue(instance, definitions, APPLICATIONS, tags_of(id_ranges[1:4]), status)
    assert in_progress(instance, APPLICATIONS, id_ranges) == NOTHING


def test_a_run_that_the_web_ui_starts_from_the_asset_counts_too(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange]
) -> None:
    """It is of no job of ours, and names the asset; a run of another column does not."""
    found = {}
    for column, keys in ((APPLICATIONS, id_ranges[:2]), (REVIEWS, registered_ranges(instance, REVIEWS)[3:5])):
        job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={vector_key(column)})
        run = instance.create_run_for_job(job, asset_selection={vector_key(column)}, tags=tags_of(keys))
        found[column] = [run.run_id]
    assert {column: [run.run_id for run in unfinished_runs(instance, column)] for column in found} == found
    assert in_progress(instance, APPLICATIONS, id_ranges).taken == set(id_ranges[:2])


def test_a_backfill_s_run_waits_in_the_queue_and_takes_its_ranges_when_it_begins(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange]
) -> None:
    """New rows may overtake the first, not the second."""
    of_backfill = {"dagster/backfill": "somebody-s"}
    enqueue(instance, definitions, APPLICATIONS, tags_of(id_ranges[:2]) | of_backfill)
    enqueue(instance, definitions, APPLICATIONS, tags_of(id_ranges[2:5]) | of_backfill, dg.DagsterRunStatus.STARTED)
    assert in_progress(instance, APPLICATIONS, id_ranges) == InProgress(
        taken=frozenset(id_ranges[2:5]), waiting=frozenset(id_ranges[:2])
    )


def test_what_a_backfill_is_yet_to_run_waits_until_it_ends(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange]
) -> None:
    """Also before the daemon has looked at it, which takes up to half a minute; other columns' do not count."""
    id_ = backfill_once(instance, APPLICATIONS, 1, id_ranges[3:6])
    backfill_once(instance, REVIEWS, 1, registered_ranges(instance, REVIEWS))
    backfill = instance.get_backfill(id_)
    assert backfill is not None
    for status, waits in (
        (BulkActionStatus.REQUESTED, id_ranges[3:6]),
        (BulkActionStatus.CANCELING, id_ranges[3:6]),
        (BulkActionStatus.COMPLETED_SUCCESS, []),
        (BulkActionStatus.COMPLETED_FAILED, []),
        (BulkActionStatus.CANCELED, []),
    ):
        instance.update_backfill(backfill._replace(status=status))
        assert in_progress(instance, APPLICATIONS, id_ranges).waiting == set(waits), status


def test_a_backfill_of_all_partitions_is_understood(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange]
) -> None:
    """The web UI's "all" names no keys; what it has filled already waits no more."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="of-all",
        asset_graph=definitions.resolve_asset_graph(),
        partition_names=None,
        asset_selection=[vector_key(APPLICATIONS)],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=True,
        title=None,
        description=None,
        run_config=None,
    )
    data = backfill.asset_backfill_data
    assert data is not None
    filled = backfill_data_of(instance, id_ranges[:2])
    instance.add_backfill(backfill._replace(asset_backfill_data=data._replace(materialized_subset=filled)))
    assert in_progress(instance, APPLICATIONS, id_ranges).waiting == set(id_ranges[2:])


def backfill_data_of(instance: dg.DagsterInstance, id_ranges: Sequence[IdRange]) -> AssetGraphSubset:
    """Ranges as a backfill keeps them."""
    backfill = instance.get_backfill(backfill_once(instance, APPLICATIONS, 99, id_ranges))
    assert backfill is not None
    assert backfill.asset_backfill_data is not None
    instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
    return backfill.asset_backfill_data.target_subset


def test_keys_of_an_older_cut_are_nobody_s() -> None:
    """A run that was queued before the table was cut anew takes none of the ranges of today."""
    today = [IdRange(None, 10), IdRange(10, 20), IdRange(20, 30)]
    assert ranges_of_tags(tags_of(today[1:]), today) == today[1:]
    assert ranges_of_tags(tags_of([IdRange(10, 15)]), today) == []
    assert ranges_of_tags(tags_of([today[0], IdRange(10, 15)]), today) == []
    assert ranges_of_tags({}, today) == []


def test_a_person_s_runs_are_told_from_automation_s(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange]
) -> None:
    """By their tags: a cause, or a backfill."""
    tags = tags_of(id_ranges[:1])
    mine = enqueue(instance, definitions, APPLICATIONS, tags)
    enqueue(instance, definitions, APPLICATIONS, tags | {CAUSE_TAG: "new_rows"})
    enqueue(instance, definitions, APPLICATIONS, tags | {"dagster/backfill": "abc"})
    runs = unfinished_runs(instance, APPLICATIONS)
    assert len(runs) == 3
    assert [run.run_id for run in runs if is_of_a_person(run)] == [mine.run_id]


def test_failures_in_a_row_are_counted_for_each_range(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange]
) -> None:
    """Back to the last success; a terminated run is no success either, and the last one says when it was."""
    a, b, c, d, *_ = id_ranges
    history = [
        ([a, b], dg.DagsterRunStatus.FAILURE),
        ([b, c], dg.DagsterRunStatus.SUCCESS),
        ([c, d], dg.DagsterRunStatus.CANCELED),
        ([a, b, c], dg.DagsterRunStatus.FAILURE),
        ([d], dg.DagsterRunStatus.SUCCESS),
    ]
    for ranges, status in history:
        run = enqueue(instance, definitions, APPLICATIONS, tags_of(ranges), dg.DagsterRunStatus.STARTED)
        report = {
            dg.DagsterRunStatus.FAILURE: instance.report_run_failed,
            dg.DagsterRunStatus.CANCELED: instance.report_run_canceled,
        }
        if status in report:
            report[status](run)
        else:
            instance.run_storage.handle_run_event(run.run_id, success_event())
    found = failures(instance, APPLICATIONS, id_ranges, id_ranges)
    assert {id_range: failed.times for id_range, failed in found.items()} == {a: 2, b: 1, c: 2}
    assert all(0 <= time.time() - failed.ended < 60 for failed in found.values())
    assert failures(instance, APPLICATIONS, [b], id_ranges).keys() == {b}
    assert failures(instance, REVIEWS, id_ranges, id_ranges) == {}


def success_event() -> dg.DagsterEvent:
    """What a run says at its good end."""
    return dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_SUCCESS.value, job_name="any")


def test_the_pause_doubles_with_each_failure_up_to_an_hour() -> None:
    """And a clock that was put back does not make it longer."""
    for times, pause in ((1, FIRST_PAUSE_S), (2, 2 * FIRST_PAUSE_S), (4, 8 * FIRST_PAUSE_S), (90, LONGEST_PAUSE_S)):
        failed = Failures(times, ended=1_000_000.0)
        assert not failed.may_try(1_000_000.0)
        assert not failed.may_try(1_000_000.0 + pause - 1)
        assert failed.may_try(1_000_000.0 + pause)
        assert failed.may_try(999_000.0)


def test_only_the_last_runs_are_looked_at(
    instance: dg.DagsterInstance, definitions: dg.Definitions, id_ranges: list[IdRange], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of long ago is forgotten: an instance with years of runs is as quick as a new one."""
    assert RUNS_LOOKED_BACK >= 100
    monkeypatch.setattr("steam_assets.defs.in_progress.RUNS_LOOKED_BACK", 2)
    for ranges in (id_ranges[:1], id_ranges[1:2], id_ranges[2:3]):
        run = enqueue(instance, definitions, APPLICATIONS, tags_of(ranges), dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(run)
    assert failures(instance, APPLICATIONS, id_ranges, id_ranges).keys() == set(id_ranges[1:3])

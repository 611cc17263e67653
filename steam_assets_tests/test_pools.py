"""As many runs start as there are devices, those of new rows before those of a backfill."""

import socket
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG, PRIORITY_TAG
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.partitions import registered_ranges
from steam_assets.defs.pools import GPU_POOL, fit_pool
from steam_assets_tests.dagster_home import Ended

Queue = Callable[..., str]


@pytest.fixture
def queue(instance: dg.DagsterInstance, definitions: dg.Definitions) -> Queue:
    """Puts a run of one range into the queue, as the daemon does for backfills and sensors; gives its id."""

    def add(
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED,
        priority: int | None = None,
        backfill: str | None = None,
    ) -> str:
        job = definitions.resolve_job_def(column_job_name(APPLICATIONS))
        key = registered_ranges(instance, APPLICATIONS)[0].key
        tags = {PRIORITY_TAG: str(priority)} if priority is not None else {}
        tags |= {BACKFILL_ID_TAG: backfill} if backfill is not None else {}
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("steam_assets"), "__repository__")
        return instance.create_run_for_job(
            job,
            status=status,
            tags={PARTITION_NAME_TAG: key, **tags},
            remote_job_origin=RemoteJobOrigin(repository, job.name),
        ).run_id

    return add


def next_runs(instance: dg.DagsterInstance) -> list[str]:
    """The runs that the daemon would start now, in its order."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    return [run.run_id for run in daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)]


def test_the_pool_has_a_slot_for_each_device(instance: dg.DagsterInstance) -> None:
    """More, and fewer again, when the devices change; the same number changes nothing."""
    assert [fit_pool(instance, slots) for slots in (1, 3, 3, 1)] == [True, True, False, True]
    (pool,) = instance.event_log_storage.get_pool_limits()
    assert (pool.name, pool.limit) == (GPU_POOL, 1)


def test_up_counts_the_devices_before_it_starts_anything(
    instance: dg.DagsterInstance,
    steam_assets: Callable[..., Ended],
    tables: connection,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends here because its log cannot be written."""
    monkeypatch.setenv("STEAM_ASSETS_CPU_WORKERS", "3")
    (home / "logs").write_text("in the way")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert steam_assets("up", "--port", str(port)).code == 2
    (pool,) = instance.event_log_storage.get_pool_limits()
    assert (pool.name, pool.limit) == (GPU_POOL, 3)


@pytest.mark.usefixtures("few_ranges")
def test_as_many_runs_start_as_there_are_devices(instance: dg.DagsterInstance, queue: Queue) -> None:
    """The others stay in the queue; with eight devices eight run."""
    fit_pool(instance, 1)
    runs = [queue() for _ in range(9)]
    assert next_runs(instance) == runs[:1]
    fit_pool(instance, 2)
    assert next_runs(instance) == runs[:2]
    fit_pool(instance, 8)
    assert next_runs(instance) == runs[:8]
    fit_pool(instance, 1)
    queue(dg.DagsterRunStatus.STARTED)
    assert next_runs(instance) == []


@pytest.mark.usefixtures("few_ranges")
def test_new_rows_go_before_what_is_left_of_a_backfill(instance: dg.DagsterInstance, queue: Queue) -> None:
    """A sensor's run waits for a backfill's run that has started, and for no other."""
    fit_pool(instance, 1)
    backfill = [queue(backfill="b1") for _ in range(3)]
    recipe = queue(priority=-1)
    sensor = queue(priority=5)
    assert next_runs(instance) == [sensor]
    fit_pool(instance, 4)
    assert next_runs(instance) == [sensor, *backfill]
    fit_pool(instance, 5)
    assert next_runs(instance) == [sensor, *backfill, recipe]


def test_every_embedding_run_is_on_the_pool(definitions: dg.Definitions) -> None:
    """Of each column, and of everything at once; checks alone need no device."""
    for name, pooled in (
        (column_job_name(APPLICATIONS), True),
        (column_job_name(REVIEWS), True),
        ("embed_everything", True),
        ("check_reviews_review_embedding", False),
    ):
        job = definitions.resolve_job_def(name)
        pools = {pool for node in job.all_node_defs for pool in node.pools}
        assert pools == ({GPU_POOL} if pooled else set()), name

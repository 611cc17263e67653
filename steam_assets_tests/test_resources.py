"""Resources carry settings and hand out plain objects; the UI shows no secret of theirs."""

import logging
import os
import signal
import threading

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.encoder.devices import this_host
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import load_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.store.leases import holders
from steam_assets_tests.dagster_home import materialize
from steam_assets_tests.databases import wait_until
from steam_assets_tests.models import CPU
from steam_assets_tests.rows import Connect, execute, fetch


@pytest.fixture
def cpu_worker() -> str:
    """The name of the only device here."""
    return f"cpu#0 of {this_host()}"


def test_the_database_resource_opens_what_the_environment_names(
    named_database: str, conn: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection is new, and to the database of the test."""
    opened = DatabaseResource().connect()
    try:
        assert opened is not conn
        assert opened.info.dbname == conn.info.dbname
    finally:
        opened.close()


def test_the_database_resource_has_nothing_to_show() -> None:
    """No field can hold a password, so no page of the UI can print one."""
    assert DatabaseResource.model_fields == {}


def test_the_encoder_is_loaded_once_per_process(minilm: Model) -> None:
    """Two runs in one process, and the command line, share the model."""
    first = GpuResource(device="cpu").encoder(minilm)
    assert GpuResource(device="cpu").encoder(minilm) is first
    assert load_encoder(minilm, CPU) is first


def test_the_encoder_is_on_the_device_that_was_leased(
    minilm: Model, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the one that a search in the same process finds loaded."""
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    gpu = GpuResource(batch_tokens=2048)
    with gpu.lease(connect) or pytest.fail("no device") as leased:
        on_it = gpu.on(leased)
        assert on_it.settings.device == "cpu"
        assert on_it.settings.batch_tokens == 2048
        assert on_it.encoder(minilm) is gpu.encoder(minilm)


def test_an_endpoint_needs_no_device_of_ours(connect: Connect) -> None:
    """Its settings are used as they are."""
    gpu = GpuResource(endpoint="http://127.0.0.1:1/v1")
    assert gpu.lease(connect) is None
    assert gpu.on(None) is gpu


@pytest.mark.usefixtures("few_ranges")
def test_a_run_has_a_device_until_it_ends_and_its_records_say_which(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection, cpu_worker: str
) -> None:
    """Also when it fails."""
    assert materialize(instance, definitions, APPLICATIONS).errors == ()
    ((device,),) = fetch(tables, "SELECT device FROM embedding_run_ranges")
    assert str(device).endswith("(cpu#0)")
    wait_until(lambda: not holders(tables, [cpu_worker]), "the device is given back")

    execute(tables, "ALTER TABLE applications ADD CHECK (description_embedding IS NULL) NOT VALID")
    assert materialize(instance, definitions, APPLICATIONS, first=1).errors
    wait_until(lambda: not holders(tables, [cpu_worker]), "the device is given back by the failed run")


@pytest.mark.usefixtures("few_ranges")
def test_terminating_a_run_that_waits_for_a_device_ends_it_at_once(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    tables: connection,
    cpu_worker: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says for whom it waits; canceled, it has no range, and who had the device has it still."""
    with tables.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"steam_assets device {cpu_worker}",))
    tables.commit()

    def interrupt() -> None:
        wait_until(lambda: f"Waiting for {cpu_worker}. {cpu_worker} is with" in caplog.text, "the run waits")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        materialize(instance, definitions, APPLICATIONS)
    thread.join()
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert fetch(tables, "SELECT count(*) FROM embedding_run_ranges") == [(0,)]
    (holder,) = holders(tables, [cpu_worker])
    assert holder.server_process == tables.info.backend_pid


def test_the_monitor_watches_the_encoder_s_device_and_leaves_no_thread(minilm_encoder: Encoder) -> None:
    """It samples while a range is filled, and is gone at once after it."""
    lines: list[str] = []
    before = threading.active_count()
    with GpuResource(device="cpu", stats_every_s=0.05).monitor(minilm_encoder, lines.append) as monitor:
        assert isinstance(monitor, SystemMonitor)
        assert "CPU" in monitor.stats_line()
    assert threading.active_count() == before

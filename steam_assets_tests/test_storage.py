"""Dagster's own tables are beside the data, in every process, and no password is to be seen."""

import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.config import PoolGranularity

import steam_assets
from steam_assets.defs.storage import DagsterDatabase
from steam_assets.store.database import connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets_tests.databases import database_url_of, wait_until
from steam_assets_tests.rows import fetch

CHECKOUT = Path(steam_assets.__file__).parent.parent


def test_a_clone_used_as_dagster_home_keeps_its_runs_beside_the_data(
    dagster_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`DAGSTER_HOME=$PWD dagster dev` finds the same storage as `steam-assets up`: the root dagster.yaml says so."""
    clone = home / "clone"
    clone.mkdir()
    (clone / "dagster.yaml").write_bytes((CHECKOUT / "dagster.yaml").read_bytes())
    monkeypatch.setenv("DAGSTER_HOME", str(clone))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("from_the_clone", ["a"])
    assert sorted(path.name for path in clone.iterdir() if path.suffix == ".db") == []

    with closing(connect(find_database(dagster_url))) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT partition FROM dynamic_partitions WHERE partitions_def_name = 'from_the_clone'")
        assert cursor.fetchall() == [("a",)]


def test_by_default_the_database_is_called_dagster_on_the_server_of_the_data(
    server: EmbeddedServer, named_database: str, home: Path
) -> None:
    """Another process builds the storage from dagster.yaml with nothing but the data's address."""
    script = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("by_default", ["b"])
"""
    (home / "dagster.yaml").write_bytes((CHECKOUT / "dagster.yaml").read_bytes())
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
    with closing(connect(find_database(database_url_of(server, "dagster")))) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT partition FROM dynamic_partitions WHERE partitions_def_name = 'by_default'")
        assert cursor.fetchall() == [("b",)]


def test_no_page_file_or_repr_shows_the_password(dagster_url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the instance's configuration page, not its YAML, not its reference, not the files of the home."""
    with_password = dagster_url.replace("postgres@", "postgres:hunter2hunter2@")
    monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", with_password)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (home / "dagster.yaml").write_bytes((CHECKOUT / "dagster.yaml").read_bytes())
    with dg.DagsterInstance.get() as instance:
        storage = instance.get_ref().storage
        assert isinstance(storage, DagsterDatabase)
        shown = [str(instance.info_dict()), instance.info_str(), repr(instance.get_ref()), repr(storage), str(storage)]
        assert "DagsterDatabase" in shown[2]
    files = [path.read_text(errors="replace") for path in home.rglob("*") if path.is_file()]
    assert not [text for text in (*shown, *files) if "hunter2" in text]


def test_the_instance_sends_no_telemetry_and_runs_one_thing_at_a_time_on_the_gpu(instance: dg.DagsterInstance) -> None:
    """What dagster.yaml promises, as Dagster has understood it."""
    assert not instance.telemetry_enabled
    assert instance.run_monitoring_enabled
    pools = instance.get_concurrency_config().pool_config
    assert (pools.pool_granularity, pools.default_pool_limit) == (PoolGranularity.RUN, 1)


def test_events_share_a_connection_that_is_replaced_when_the_server_ended_it(
    instance: dg.DagsterInstance, dagster_url: str
) -> None:
    """A connection for each event would take half of a small run's time; one that is gone loses no event."""

    def add(name: str) -> None:
        instance.add_dynamic_partitions("shared", [name])

    for n in range(5):
        add(f"before_{n}")
    sessions = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with closing(connect(find_database(dagster_url))) as conn:
        assert fetch(conn, f"SELECT count(*) BETWEEN 1 AND 2 {sessions}") == [(True,)]
        fetch(conn, f"SELECT pg_terminate_backend(pid, 10000) {sessions}")
        add("after")
    assert len(instance.get_dynamic_partitions("shared")) == 6


def test_an_event_that_was_being_written_when_its_connection_died_is_written_again(
    instance: dg.DagsterInstance, dagster_url: str
) -> None:
    """A restart of the server in that moment does not fail the run the event is of."""
    instance.add_dynamic_partitions("connected", ["once"])
    with closing(connect(find_database(dagster_url))) as conn, closing(connect(find_database(dagster_url))) as blocker:
        blocker.cursor().execute("LOCK TABLE event_logs")
        writer = threading.Thread(
            target=instance.report_runless_asset_event, args=[dg.AssetMaterialization("patience")]
        )
        writer.start()
        waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_until(lambda: fetch(conn, f"SELECT count(*) {waiting}") == [(1,)], "the event waits for its table")
        fetch(conn, f"SELECT pg_terminate_backend(pid, 10000) {waiting}")
        blocker.rollback()
        writer.join(timeout=60)
    assert not writer.is_alive()
    assert instance.get_latest_materialization_event(dg.AssetKey("patience")) is not None

"""Whether Dagster's daemon runs is read from its heartbeats and from `up`'s lock, and nothing is created for it."""

import time
from contextlib import closing

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat
from psycopg2.extensions import connection

from steam_assets.store.daemon import DaemonStatus, daemon_status
from steam_assets.store.dagster_database import connect_dagster
from steam_assets.store.database import find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.up_lock import UpLocks, own_name
from steam_assets_tests.databases import database_url_of, execute_on
from steam_assets_tests.rows import Connect, fetch

FIRST, SECOND = "11111111-daemon", "22222222-daemon"


def beat(instance: dg.DagsterInstance, age_s: float, daemon: str = "SENSOR", daemon_id: str = FIRST) -> None:
    """A heartbeat as one of the daemon's threads sends it."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age_s, daemon, daemon_id, []))


def status() -> DaemonStatus | None:
    """What `steam-assets status` finds."""
    return daemon_status(find_database())


def test_before_dagster_was_ever_started_nothing_is_known_and_nothing_is_created(
    named_database: str, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first `status` of a database does not make one for Dagster."""
    monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", database_url_of(server, "not_there_yet"))
    assert status() is None
    execute_on(server, "CREATE DATABASE not_there_yet")
    try:
        assert status() is None
        with closing(connect_dagster()) as conn:
            assert fetch(conn, "SELECT FROM pg_class WHERE relname = 'daemon_heartbeats'") == []
    finally:
        execute_on(server, "DROP DATABASE not_there_yet WITH (FORCE)")


def test_an_instance_without_a_daemon_so_far_has_none(instance: dg.DagsterInstance) -> None:
    """`embed` alone makes Dagster's tables; that is nothing to complain of."""
    assert status() is None


def test_the_newest_heartbeat_says_whether_a_daemon_runs(instance: dg.DagsterInstance) -> None:
    """Dagster's own tolerance is half an hour; one of the future says that a clock was set back."""
    states = {1.0: "running", 45.0: "running", 120.0: "stopped", 3e6: "stopped", -7200.0: "unclear"}
    for age_s, state in states.items():
        beat(instance, age_s)
        beat(instance, age_s + 10, "BACKFILL")
        found = status()
        assert found is not None
        assert found.last_heartbeat_s == pytest.approx(age_s, abs=5)
        assert (found.state, found.held_by, found.silent_threads) == (state, None, ())


def test_the_age_of_a_heartbeat_does_not_depend_on_the_time_zone(
    instance: dg.DagsterInstance, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's column has none."""
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    beat(instance, 20)
    found = status()
    assert found is not None
    assert found.last_heartbeat_s == pytest.approx(20, abs=5)


def test_up_s_lock_tells_a_daemon_that_starts_or_hangs_from_one_that_is_not_there(
    instance: dg.DagsterInstance, connect: Connect
) -> None:
    """It ends with the process, whatever its heartbeats say."""
    with UpLocks(connect, connect_dagster, own_name(3000)):
        starting = status()
        beat(instance, 600)
        silent = status()
        beat(instance, -7200)
        ahead = status()
    stopped = status()
    states = [found.state for found in (starting, silent, ahead, stopped) if found is not None]
    assert states == ["starting", "silent", "running", "unclear"]
    assert starting is not None
    assert starting.held_by is not None
    assert "port 3000" in starting.held_by


def test_two_daemons_are_counted_and_a_thread_that_hangs_is_named(instance: dg.DagsterInstance) -> None:
    """Threads of an earlier daemon, which its configuration had then, are not meant."""
    beat(instance, 10)
    beat(instance, 400, "BACKFILL")
    beat(instance, 4000, "FRESHNESS", SECOND)
    found = status()
    assert found is not None
    assert (found.daemons, found.silent_threads) == (1, ("backfill",))

    beat(instance, -4000, "FRESHNESS", SECOND)
    found = status()
    assert found is not None
    assert found.daemons == 1, "one of the future was sent before a clock was set back"

    beat(instance, 20, "FRESHNESS", SECOND)
    found = status()
    assert found is not None
    assert (found.daemons, found.daemon_id) == (2, FIRST)


def test_a_dagster_database_that_cannot_be_read_is_said_to_be(
    named_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its reason, and without its password."""
    monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", "postgresql://u:s3cret@127.0.0.1:1/dagster")
    found = status()
    assert found is not None
    assert found.state == "unknown"
    assert "Connection refused" in str(found.unreadable)
    assert "s3cret" not in repr(found)

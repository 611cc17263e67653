"""The doctor says what runs by itself, who else does, whether clocks agree, and where alerts go."""

from contextlib import ExitStack

import dagster as dg
import psycopg2
import pytest

from steam_assets.doctor import Check
from steam_assets.doctor_operation import check_operation
from steam_assets.store.dagster_database import connect_dagster
from steam_assets.store.up_lock import UpLocks
from steam_assets_tests.rows import Connect
from steam_assets_tests.test_daemon import beat


def checks() -> dict[str, Check]:
    """Every check by its name."""
    return {check.name: check for check in check_operation(None)}


def test_without_anything_running_all_is_well(named_database: str) -> None:
    """Neither a daemon nor alerts are needed to embed."""
    found = checks()
    assert list(found) == ["alerts", "clock", "up", "daemon"]
    assert {check.state for check in found.values()} == {"ok"}
    assert found["alerts"].found == "off; STEAM_ASSETS_ALERT_URL switches them on"
    assert found["daemon"].found == "never started; `steam-assets up` does"


def test_where_alerts_go_is_said_by_host_only(named_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an address that cannot be is a failure."""
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", "https://hooks.example.org/T0SECRET")
    assert checks()["alerts"] == Check("alerts", "ok", "json to https://hooks.example.org")
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", "T0SECRET")
    assert checks()["alerts"].state == "fail"
    assert "SECRET" not in checks()["alerts"].found


def test_a_daemon_that_runs_or_not_is_no_fault_and_an_odd_one_is(instance: dg.DagsterInstance) -> None:
    """Two of them, or a heartbeat of the future."""
    states = []
    for age_s in (3, 4000, -4000):
        beat(instance, age_s)
        states.append(checks()["daemon"].state)
    assert states == ["ok", "ok", "warn"]
    beat(instance, 3)
    beat(instance, 3, "BACKFILL", "another")
    assert checks()["daemon"].state == "warn"
    assert "Several daemons" in checks()["daemon"].found


def test_several_ups_on_the_same_data_are_named(
    instance: dg.DagsterInstance, connect: Connect, database_url: str
) -> None:
    """One is as it should be."""
    with ExitStack() as running:
        running.enter_context(UpLocks(connect, connect_dagster, "steam_assets up: pid 1, port 3000, here"))
        assert checks()["up"].state == "ok"
        assert "pid 1, port 3000, here" in checks()["up"].found
        other = lambda: psycopg2.connect(database_url)  # noqa: E731
        running.enter_context(UpLocks(connect, other, "steam_assets up: pid 2, port 3001, there"))
        found = checks()["up"]
        assert found.state == "warn"
        assert "pid 1, port 3000, here" in found.found
        assert "pid 2, port 3001, there" in found.found


def test_clocks_that_disagree_are_a_warning(named_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With by how much, and which way."""
    monkeypatch.setattr("steam_assets.doctor_operation.clock_difference_s", lambda _conn: -7200.0)
    assert checks()["clock"] == Check(
        "clock", "warn", "the database's is 2.0 h behind this machine's", "have every machine follow a time server"
    )


def test_a_database_that_cannot_be_opened_is_left_to_the_check_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what needs none is checked."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    assert list(checks()) == ["alerts"]

"""A person is told in one line whether the daemon runs and what is odd about it, and `up` says each thing once."""

from collections.abc import Callable

import dagster as dg
import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.health import SEVERAL_DAEMONS, Lookout, clock_difference_s, daemon_line, others_line
from steam_assets.store.daemon import DaemonStatus
from steam_assets.store.up_lock import Holder
from steam_assets_tests.dagster_home import Ended
from steam_assets_tests.test_daemon import beat

UP = str(Holder("pid 812, port 3000, box", "2026-11-22 21:04 UTC"))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (DaemonStatus(12, UP, "a", 1), f"Daemon: running, last heartbeat 12.0 s ago, started by {UP}."),
        (
            DaemonStatus(12, None, "a", 1),
            "Daemon: running, last heartbeat 12.0 s ago, not started by a `steam-assets up` that runs.",
        ),
        (DaemonStatus(None, UP), f"Daemon: starting, started by {UP}."),
        (
            DaemonStatus(11_000, None, "a", 0),
            "Daemon: not running, last heartbeat 3.1 h ago: queued runs, backfills, schedules and sensors wait. "
            "Start it: `steam-assets up`.",
        ),
        (
            DaemonStatus(200, UP, "a", 0),
            f"Daemon: there, but silent, last heartbeat 3.3 min ago, started by {UP}: nothing is started meanwhile. "
            "Look into logs/up.log, or restart it.",
        ),
        (
            DaemonStatus(-7200, None, "a", 0),
            "Daemon: perhaps running, last heartbeat 2.0 h in the future. A clock was set back, or two machines "
            "disagree: have every machine follow a time server.",
        ),
        (
            DaemonStatus(2, UP, "a", 1, ("backfill",)),
            f"Daemon: running, last heartbeat 2.0 s ago, started by {UP}. Its backfill thread does not answer: look "
            "into logs/up.log, or restart it.",
        ),
        (DaemonStatus(2, UP, "a", 2), f"Daemon: running, last heartbeat 2.0 s ago, started by {UP}. {SEVERAL_DAEMONS}"),
        (DaemonStatus(None, None, unreadable="no."), "Daemon: nothing is known of it: no."),
    ],
)
def test_the_state_of_the_daemon_is_one_line_with_what_to_do(status: DaemonStatus, said: str) -> None:
    """Each state has its own."""
    assert daemon_line(status) == said


def test_status_says_whether_the_daemon_runs_in_words_and_in_json(
    steam_assets: Callable[..., Ended], instance: dg.DagsterInstance, tables: connection
) -> None:
    """Nothing before it was ever started; then the last line, and a field of every column."""
    before = steam_assets("status")
    assert (before.code, "Daemon" in before.out) == (0, False)
    assert '"daemon": null' in steam_assets("status", "--json").out

    beat(instance, 3)
    assert steam_assets("status").out.splitlines()[-1].startswith("Daemon: running, last heartbeat")
    beat(instance, 4000)
    stopped = steam_assets("status")
    assert stopped.code == 0
    assert stopped.out.splitlines()[-1].startswith("Daemon: not running, last heartbeat 1.1 h ago")
    assert steam_assets("status", "--json").out.count('"daemon": {"state": "stopped", "last_heartbeat_s": 400') == 2


def test_what_another_up_on_the_same_data_means_is_said() -> None:
    """Who, that nothing is lost, and what to do."""
    said = others_line([Holder("pid 812, port 3000, box", None)])
    assert said.startswith("`steam-assets up` (pid 812, port 3000, box) works on the same data with another Dagster")
    assert "STEAM_ASSETS_DAGSTER_URL" in said


def test_up_says_each_odd_thing_once_and_waits_for_a_database_that_is_away() -> None:
    """A second daemon is seen though two overwrite each other's heartbeats; the one before this `up` is not meant."""
    looks: list[DaemonStatus | Exception | None] = [
        None,
        DaemonStatus(900, UP, "yesterday's", 0),
        DaemonStatus(-1, UP, "ours", 1),
        psycopg2.OperationalError("the server is away"),
        DaemonStatus(-1, UP, "ours", 1),
    ]
    said: list[str] = []

    def read() -> DaemonStatus | None:
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    lookout = Lookout(read, said.append)
    for _ in range(5):
        lookout.look()
    (silent,) = said
    assert silent.startswith("Daemon: there, but silent, last heartbeat 15.0 min ago")

    looks += [DaemonStatus(-1, UP, "theirs", 1), DaemonStatus(-1, UP, "ours", 1), DaemonStatus(950, UP, "ours", 0)]
    for _ in range(3):
        lookout.look()
    assert said[1:] == [SEVERAL_DAEMONS]


def test_the_difference_of_two_clocks_has_a_sign(conn: connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive where the database's is ahead."""
    assert clock_difference_s(conn) == pytest.approx(0, abs=2)
    monkeypatch.setattr("steam_assets.health.time.time", lambda: 1e9)
    assert clock_difference_s(conn) > 1e8

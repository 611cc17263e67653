"""A name is with one process at a time, and free as soon as that process is gone."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.store import leases
from steam_assets.store.leases import Lease, LeaseLost, NothingFree, holders, take_lease
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import Connect, execute, fetch

NAMES = ("cpu#0 of a host", "cpu#1 of a host")
TAKE = """
import sys
import psycopg2
from steam_assets.store import leases

url, *names = sys.argv[1:]
leases.POLL_S, leases.RETURNING_S = 0.02, 1.0
lease = leases.take_lease(lambda: psycopg2.connect(url), names, lambda line: print(line, flush=True))
print("has", lease.name, flush=True)
sys.stdin.read()
"""

Take = Callable[..., "Process"]


class Process(subprocess.Popen[str]):
    """Another process that takes a lease and keeps it until its input ends."""

    def __init__(self, url: str, names: Sequence[str]) -> None:
        command = [sys.executable, "-c", TAKE, url, *names]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def line(self) -> str:
        """What it says next."""
        assert self.stdout is not None
        return self.stdout.readline().strip()


@pytest.fixture
def take(database_url: str) -> Iterator[Take]:
    """Starts processes that take one of the names given, or of NAMES; they are killed at the end."""
    started: list[Process] = []

    def start(*names: str) -> Process:
        started.append(Process(database_url, names or NAMES))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def lease(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    """A lease of this process, which is asked for again without much patience."""
    monkeypatch.setattr(leases, "POLL_S", 0.02)
    monkeypatch.setattr(leases, "RETURNING_S", 0.1)
    with take_lease(connect, NAMES, print) as taken:
        yield taken


def end_connections(conn: connection) -> None:
    """As a restart of the server does to everybody else."""
    execute(
        conn,
        """
        SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'steam_assets process%%'
        """,
    )


def test_each_process_has_a_name_of_its_own_and_the_dead_have_none(conn: connection, take: Take) -> None:
    """With two names the third process waits, says who has them, and has one as soon as its holder is killed."""
    first, second = take(), take()
    has = {first.line(), second.line()}
    assert has == {f"has {name}" for name in NAMES}

    third = take()
    said = third.line()
    assert said.startswith(f"Waiting for {' or '.join(NAMES)}. ")
    for process in (first, second):
        assert f"is with steam_assets process {process.pid} on " in said
    assert {holder.name for holder in holders(conn, NAMES)} == set(NAMES)

    first.send_signal(signal.SIGKILL)
    assert third.line() in has


def test_whoever_wants_one_name_gets_that_one(take: Take) -> None:
    """A device that was asked for by name is waited for though another is free."""
    first, second = take(NAMES[1]), take(NAMES[1])
    both = {first.line().partition(".")[0], second.line().partition(".")[0]}
    assert both == {f"has {NAMES[1]}", f"Waiting for {NAMES[1]}"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_waits_ends_at_once_when_it_is_told_to(
    lease: Lease, take: Take, conn: connection, number: signal.Signals
) -> None:
    """And leaves the name to whom it waited for."""
    waiting = take(lease.name)
    assert waiting.line().startswith("Waiting")
    waiting.send_signal(number)
    assert waiting.wait(timeout=3) != 0
    (holder,) = holders(conn, [lease.name])
    assert holder.server_process == lease._conn.info.backend_pid


def test_inside_a_process_the_name_is_shared_until_its_last_user_closes(
    lease: Lease, conn: connection, connect: Connect
) -> None:
    """A run that a command starts in its own process uses the command's device."""
    with take_lease(connect, tuple(reversed(NAMES)), print) as again:
        assert again is lease
    assert [holder.name for holder in holders(conn, NAMES)] == [lease.name]
    lease.users += 1
    lease.close()
    assert holders(conn, NAMES)


def test_a_closed_lease_is_free_for_others(conn: connection, connect: Connect, take: Take) -> None:
    """And this process may take it anew."""
    taken = []  # kept: what nobody refers to is closed by Python
    for _ in range(2):
        taken.append(take_lease(connect, NAMES, print))
        taken[-1].close()
        wait_until(lambda: not holders(conn, NAMES), "the lease is given back")
    assert take().line() == f"has {NAMES[0]}"


def test_a_lease_comes_back_after_its_connection_was_lost(lease: Lease, conn: connection, take: Take) -> None:
    """Another process that asks afterwards waits as before."""
    end_connections(conn)
    assert holders(conn, NAMES) == []
    lease.renew()
    assert [holder.name for holder in holders(conn, NAMES)] == [lease.name]
    assert take(lease.name).line().startswith("Waiting")


def test_a_lease_that_is_not_lost_is_left_as_it_is(lease: Lease, conn: connection) -> None:
    """Renewing is asked for before every range."""
    (before,) = holders(conn, NAMES)
    lease.renew()
    assert holders(conn, NAMES) == [before]


def test_a_name_that_another_process_took_meanwhile_is_not_shared(lease: Lease, conn: connection, take: Take) -> None:
    """Whoever comes back too late stops, and says who has it now."""
    end_connections(conn)
    other = take(lease.name)
    assert other.line() == f"has {lease.name}"
    with pytest.raises(LeaseLost, match=f"was taken: {lease.name} is with steam_assets process {other.pid} on"):
        lease.renew()


def test_whoever_waits_does_not_mind_a_lost_connection(conn: connection, connect: Connect, take: Take) -> None:
    """It asks on another one, and takes the name when it is given back."""
    with take_lease(connect, NAMES[:1], print) as lease:
        waiting = take(lease.name)
        assert waiting.line().startswith("Waiting")
        end_connections(conn)
        lease.renew()
    assert waiting.line() == f"has {NAMES[0]}"


def test_the_wait_has_an_end(take: Take, connect: Connect) -> None:
    """The error names who has what was wanted."""
    take(NAMES[0]).line()
    told: list[str] = []
    with pytest.raises(NothingFree, match=f"{NAMES[0]} was free for 0 s. {NAMES[0]} is with steam_assets process"):
        take_lease(connect, NAMES[:1], told.append, within_s=0)
    assert told == []


def test_waiting_is_told_at_once_and_then_now_and_then(
    take: Take, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every look."""
    take(NAMES[0]).line()
    monkeypatch.setattr(leases, "POLL_S", 0.02)
    monkeypatch.setattr(leases, "TELL_EVERY_S", 0.2)
    told: list[str] = []
    with pytest.raises(NothingFree):
        take_lease(connect, NAMES[:1], told.append, within_s=0.5)
    assert 2 <= len(told) <= 3


def test_a_server_that_ends_idle_sessions_leaves_leases_alone(
    conn: connection, connect: Connect, database_url: str
) -> None:
    """A run may be busy with its model for longer than an administrator lets a session do nothing."""
    name = psycopg2.extensions.parse_dsn(database_url)["dbname"]
    execute(conn, f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
    with take_lease(connect, NAMES, print) as taken:
        idle = """
            SELECT count(*) FROM pg_stat_activity
            WHERE pid = %(pid)s AND state = 'idle' AND state_change < clock_timestamp() - interval '0.6 s'
        """
        pid = taken._conn.info.backend_pid
        wait_until(lambda: fetch(conn, idle, pid=pid) == [(1,)], "the session has been idle for longer", 10)

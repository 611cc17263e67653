"""`steam-assets up` serves this machine only, names a busy port, and leaves no process behind however it ends."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.partitions import current_name, register_ranges
from steam_assets.defs.recut import recut
from steam_assets.ports import PortBusy
from steam_assets.store.dagster_database import connect_dagster
from steam_assets.store.up_lock import UpLocks
from steam_assets.up import check_port
from steam_assets_tests.dagster_home import Ended, embedded_rows, one_line
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import Connect, execute, fetch
from steam_assets_tests.servers import free_port
from steam_assets_tests.test_embed import SLOW_TABLE
from steam_assets_tests.web_api import LOCATION, WebUi

STEAM_ASSETS = Path(sys.executable).parent / "steam-assets"
LIMIT_S = 120
ASSETS = "{ assetNodes { assetKey { path } } }"
DEFINITIONS = "{ assetNodes { partitionDefinition { name } } }"
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""


@dataclass(frozen=True)
class Up(WebUi):
    """A running `steam-assets up`, where it answers, and all processes that it has started."""

    children: list[psutil.Process]

    def assert_nothing_is_left(self) -> None:
        """Every process that was started has ended."""
        wait_until(lambda: not any(map(is_running, self.children)), "all children have ended", LIMIT_S)


def is_running(process: psutil.Process) -> bool:
    """Whether a process is alive; a zombie waits for its parent only."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running_up(database_url: str) -> Iterator[Up]:
    """`steam-assets up` once its web UI has the code location's assets; killed at the end if it still runs."""
    port = free_port()
    command = [str(STEAM_ASSETS), "up", "--port", str(port), "--database-url", database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        children: list[psutil.Process] = []
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith(f"The web UI is at http://127.0.0.1:{port} "), said + process.stdout.read()
            up = Up(f"http://127.0.0.1:{port}", process, children)
            wait_until(lambda: bool(up.ask(ASSETS)["assetNodes"]), "the assets are shown", LIMIT_S)
            children += psutil.Process(process.pid).children(recursive=True)
            yield up
        finally:
            process.kill()
            for child in filter(is_running, children):
                child.kill()


@pytest.fixture
def one_up(dagster_url: str, tables: connection, named_database: str) -> Iterator[Up]:
    """`steam-assets up` on the test's database."""
    with running_up(named_database) as up:
        yield up


@pytest.mark.slow
def test_up_serves_this_machine_only_and_ctrl_c_stops_everything(one_up: Up, home: Path) -> None:
    """No socket of it or of a child listens to other machines; after Ctrl-C none of them runs, and the exit is 130."""
    assert (home / "logs" / "up.log").read_text().splitlines()[0].endswith(", from --database-url")
    listening = {
        bound.laddr.ip
        for process in one_up.children
        for bound in process.net_connections(kind="inet")
        if bound.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert len(one_up.children) >= 2

    one_up.up.send_signal(signal.SIGINT)
    assert one_up.up.wait(LIMIT_S) == 130
    one_up.assert_nothing_is_left()


@pytest.mark.slow
def test_sigterm_stops_everything(one_up: Up) -> None:
    """What an init system sends ends all children; the exit is 143."""
    one_up.up.send_signal(signal.SIGTERM)
    assert one_up.up.wait(LIMIT_S) == 143
    one_up.assert_nothing_is_left()


@pytest.mark.slow
def test_the_web_ui_shows_a_new_cut_by_itself(one_up: Up, instance: dg.DagsterInstance, tables: connection) -> None:
    """Nobody has to know that definitions are loaded, and how they are loaded anew."""
    tables.rollback()
    old = current_name(instance, APPLICATIONS)
    assert old in str(one_up.ask(DEFINITIONS))
    new = recut(instance, tables, APPLICATIONS).partitions
    assert new != old
    wait_until(lambda: f"'{new}'" in str(one_up.ask(DEFINITIONS)), "the web UI has the new cut", LIMIT_S)


@pytest.mark.slow
def test_children_end_when_up_is_killed(one_up: Up) -> None:
    """kill -9 gives it no chance to stop them; they notice."""
    one_up.up.kill()
    one_up.assert_nothing_is_left()


@pytest.mark.slow
def test_a_run_launched_in_the_web_ui_stops_on_terminate_and_keeps_what_it_committed(
    one_up: Up, instance: dg.DagsterInstance, tables: connection
) -> None:
    """The button reaches the run's process: the range is aborted, the run canceled."""
    execute(tables, SLOW_TABLE)
    first, *_, last = register_ranges(instance, tables, APPLICATIONS)
    tags = {"dagster/asset_partition_range_start": first.key, "dagster/asset_partition_range_end": last.key}
    launched = one_up.ask(
        LAUNCH,
        params={
            "selector": {**LOCATION, "jobName": column_job_name(APPLICATIONS)},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        },
    )
    run_id = launched["launchRun"]["run"]["runId"]
    statuses = "SELECT status FROM embedding_run_ranges ORDER BY range_id"
    wait_until(lambda: fetch(tables, statuses)[-1:] == [("running",)], "the run is at work", LIMIT_S)
    one_up.terminate(run_id)

    def canceled() -> bool:
        run = instance.get_run_by_id(run_id)
        return run is not None and run.status is dg.DagsterRunStatus.CANCELED

    wait_until(canceled, "the run is canceled", LIMIT_S)
    found = fetch(tables, statuses)
    assert found[-1] == ("aborted",)
    assert embedded_rows(tables, APPLICATIONS) < 24


def test_a_busy_port_is_named_before_anything_is_started(
    steam_assets: Callable[..., Ended], tables: connection, home: Path
) -> None:
    """Exit 2, the port, and the option that chooses another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = steam_assets("up", "--port", str(port))

    assert ended.code == 2
    assert f"Port {port} on 127.0.0.1 cannot be used" in ended.err
    assert f"--port {port + 1}" in ended.err
    assert not (home / "logs" / "up.log").exists()


def test_a_second_up_on_the_same_dagster_database_is_refused(
    steam_assets: Callable[..., Ended], dagster_url: str, tables: connection, connect: Connect, home: Path
) -> None:
    """On another port too: exit 2, who the first is, and no server started."""
    with UpLocks(connect, connect_dagster, "steam_assets up: pid 1, port 3000, here"):
        told = one_line(steam_assets("up", "--port", str(free_port())), 2)
    assert told.startswith("Error: `steam-assets up` (pid 1, port 3000, here, since 20")
    assert not (home / "logs" / "up.log").exists()


def test_an_up_beside_one_with_another_dagster_database_says_what_that_means(
    steam_assets: Callable[..., Ended], tables: connection, connect: Connect, home: Path
) -> None:
    """It goes on: it ends here because its log cannot be written."""
    (home / "logs").write_text("in the way")
    with UpLocks(connect, connect, "steam_assets up: pid 1, port 3000, here"):
        ended = steam_assets("up", "--port", str(free_port()))
    assert ended.out.startswith("`steam-assets up` (pid 1, port 3000, here, since 20")
    assert "works on the same data with another Dagster database" in ended.out
    assert "cannot be written" in one_line(ended, 2)


def test_an_alert_address_that_cannot_be_is_told_before_anything_is_started(
    steam_assets: Callable[..., Ended], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than by the ticks of a sensor; and not after the log, which cannot be written here."""
    (home / "logs").write_text("in the way")
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", "T0SECRET")
    told = one_line(steam_assets("up", "--port", str(free_port())), 2)
    assert "STEAM_ASSETS_ALERT_URL holds no address" in told
    assert "SECRET" not in told


@pytest.mark.slow
def test_a_daemon_that_was_killed_ends_up_by_its_name(one_up: Up) -> None:
    """The web UI alone would show runs that wait for ever; nothing is left of it either."""
    (daemon,) = [child for child in one_up.children if "dagster._daemon" in child.cmdline()]
    daemon.kill()
    assert one_up.up.wait(LIMIT_S) == 70
    assert one_up.up.stdout is not None
    assert "Dagster's daemon ended by itself with exit code -9. The end of " in one_up.up.stdout.read()
    one_up.assert_nothing_is_left()


def test_a_port_whose_last_connection_has_just_ended_is_free() -> None:
    """Stopping and starting again at once works."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the web server does
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(PortBusy):
            check_port("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()
    check_port("127.0.0.1", port)


def test_any_address_of_this_machine_can_be_listened_on_and_no_other() -> None:
    """IPv6 as well; another machine's address is not taken for a port in use."""
    check_port("::1", 0)
    with pytest.raises(PortBusy, match=r"Name an address of this machine with --host\.$"):
        check_port("203.0.113.1", 0)

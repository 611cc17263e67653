"""The web UI and the daemon as children of this process: started, watched, and stopped together."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from psycopg2.extensions import connection

from steam_assets.alerts import webhook_from_environment
from steam_assets.columns import TextColumn
from steam_assets.defs.instance import configuration, open_instance
from steam_assets.defs.lost_runs import fail_lost_runs
from steam_assets.defs.partitions import register_ranges
from steam_assets.defs.pools import fit_pool
from steam_assets.defs.recut import RecutWatch
from steam_assets.device_lease import device_slots
from steam_assets.encoder.loading import EncoderSettings
from steam_assets.errors import SteamAssetsError
from steam_assets.health import Lookout, others_line
from steam_assets.logs import rotate
from steam_assets.ports import port_busy, url_of
from steam_assets.settings import make_home
from steam_assets.store.daemon import daemon_status
from steam_assets.store.dagster_database import connect_dagster
from steam_assets.store.database import DatabaseAddress
from steam_assets.store.runs import column_runs
from steam_assets.store.status import is_initialised
from steam_assets.store.up_lock import UpLocks, own_name

READY_S = 120.0
STOP_S = 15.0
POLL_S = 0.25
LOOK_EVERY_S = 20.0
"""Not a multiple of the daemons' 30 s, so that heartbeats of two are both seen."""
SERVERS = {"dagster_webserver": "The web UI", "dagster._daemon": "Dagster's daemon"}
PR_SET_PDEATHSIG = 1


class ServerStopped(SteamAssetsError):
    """A server ended by itself."""

    exit_code = 70


def check_port(host: str, port: int) -> None:
    """Raise PortBusy when the port cannot be listened on."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # With SO_REUSEADDR, as the server does: a port of a connection that has just ended is free.
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise port_busy(error, host, port, "up") from None


@contextmanager
def servers(workspace: Path, host: str, port: int, log: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `dagster-webserver` and `dagster-daemon` until the block ends, then stop them and all they started.

    Both write to ``log``. They get SIGTERM as well when this process dies without a chance to say so.
    """
    check_port(host, port)
    with log.open("ab") as output:
        webserver = ["dagster_webserver", "-w", str(workspace), "-h", host, "-p", str(port)]
        daemon = ["dagster._daemon", "run", "-w", str(workspace)]
        children: list[subprocess.Popen[bytes]] = []
        try:
            for module in (webserver, daemon):
                children.append(_start([sys.executable, "-m", *module], output))  # noqa: PERF401  (stopped if the next fails)
            yield children
        finally:
            stop(children)


def wait_until_ready(children: list[subprocess.Popen[bytes]], url: str, log: Path) -> None:
    """Return when the web UI answers; raise ServerStopped when a server ends before that, or none answers in time."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        check_running(children, log)
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/server_info", timeout=2):  # noqa: S310
            return
        time.sleep(POLL_S)
    raise ServerStopped(f"The web UI did not answer at {url} within {READY_S:.0f} s. Its log is {log}.")


def watch(children: list[subprocess.Popen[bytes]], log: Path, looks: Sequence[Callable[[], None]] = ()) -> None:
    """Wait for ever, and take these looks now and then; raise ServerStopped when a server ends by itself."""
    looked = time.monotonic()
    while True:
        check_running(children, log)
        if time.monotonic() - looked > LOOK_EVERY_S:
            for look in looks:
                look()
            looked = time.monotonic()
        time.sleep(POLL_S)


def check_running(children: list[subprocess.Popen[bytes]], log: Path) -> None:
    """Raise ServerStopped, with the end of the log, when a server is not running."""
    for child in children:
        if child.poll() is not None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            name = next((name for module, name in SERVERS.items() if module in str(child.args)), "A server")
            raise ServerStopped(f"{name} ended by itself with exit code {child.returncode}. The end of {log}:\n{tail}")


def stop(children: list[subprocess.Popen[bytes]]) -> None:
    """End the children and the processes they started: SIGTERM, and SIGKILL for what is left after a while."""
    for child in children:
        _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
        # Code servers and run workers are in the child's group and end with it.
        _signal_group(child, signal.SIGKILL)
        child.wait()


def _start(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        # A group of its own: Ctrl-C reaches this process, which then stops the group in order.
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies; undo an ignored SIGINT, which Dagster would take for SIGTERM's."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def serve(
    connect: Callable[[], connection],
    address: DatabaseAddress,
    columns: Sequence[TextColumn],
    host: str,
    port: int,
    say: Callable[[str], None],
    metrics: AbstractContextManager[str | None] | None = None,
) -> None:
    """Run the web UI and the daemon on this database until Ctrl-C or SIGTERM, and ``metrics`` beside them."""
    check_port(host, port)
    webhook_from_environment()  # one that cannot be is told here, not by the ticks of a sensor
    with UpLocks(connect, connect_dagster, own_name(port)) as locks:
        if others := locks.others_on_data():
            say(others_line(others))
        prepare(connect, columns, say)
        log = make_home("logs") / "up.log"
        with log.open("a") as opening:
            opening.write(f"Database: {address.description}, from {address.source}\n")
        url = url_of(host, port)
        # The children first: a process with threads should not fork.
        beside = metrics or nullcontext()
        with servers(configuration("workspace.yaml"), host, port, log) as children, beside as metrics_url:
            wait_until_ready(children, url, log)
            say(f"The web UI is at {url} - Ctrl-C stops it. Its log is {log}.")
            if metrics_url is not None:
                say(f"Metrics are at {metrics_url}.")
            lookout = Lookout(lambda: daemon_status(address), say)
            watch(children, log, [locks.keep, lookout.look, RecutWatch(url).look, lambda: rotate(log)])


def prepare(connect: Callable[[], connection], columns: Sequence[TextColumn], say: Callable[[str], None]) -> None:
    """What must be so before the daemon starts: slots for the devices, ranges for every id, no run that is dead."""
    with open_instance() as instance:
        fit_pool(instance, device_slots(EncoderSettings.from_environment()))
        with closing(connect()) as conn:
            initialised = is_initialised(conn)
            for column in columns:
                if not initialised or column_runs(conn, column).target is None:
                    say(f"{column} has no model yet. Run `steam-assets init`.")
                else:
                    register_ranges(instance, conn, column)
        for run_id in fail_lost_runs(instance, connect) if initialised else ():
            say(f"Run {run_id} had died; it is marked failed.")

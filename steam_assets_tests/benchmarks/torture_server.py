"""The server that torture breaks: an embedded one of its own with fsync on, and a small disk that can be filled up."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.store import embedded
from steam_assets.store.database import DatabaseAddress, DatabaseUnavailable, connect, is_connection_lost
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_account import server_account

T = TypeVar("T")

LIMIT_S = 60.0
DISK_BYTES = 32 << 20
TABLESPACE = "small"
DEADLOCK_TIMEOUT = "200ms"
"""Of a deadlock's round most would be the second that PostgreSQL waits by default before it looks for one."""


class Hangs(AssertionError):
    """Something that has to happen did not, for LIMIT_S."""


def wait_for(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until ``condition`` holds; raises Hangs."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise Hangs(f"waited {limit_s:.0f} s in vain until {what}")
        time.sleep(0.01)


class TorturedServer:
    """A server of this process; ``disk`` is where its small tablespace is, None where ``no_disk`` says why."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running = embedded.start(directory / "postgres")
        self.disk: Path | None = None
        self.no_disk = ""
        self.has_dagster_template = False

    @property
    def running(self) -> EmbeddedServer:
        """The server as it was last started."""
        return self._running

    def dsn(self, database: str) -> str:
        """libpq's words for a database."""
        return self._running.dsn(database)

    def connect(self, database: str) -> connection:
        """A connection as the platform opens them."""
        return connect(DatabaseAddress(self.dsn(database), "torture"))

    def ask(self, question: Callable[[connection], T], database: str) -> T:
        """What ``question`` finds out; asked again when the server goes down meanwhile."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            with suppress(DatabaseUnavailable), closing(self.connect(database)) as conn:
                try:
                    return question(conn)
                except psycopg2.Error as error:
                    if not is_connection_lost(error, conn):
                        raise
            if time.monotonic() > deadline:
                raise Hangs(f"the server has not answered for {LIMIT_S:.0f} s")
            time.sleep(0.05)

    def execute(self, statement: str | sql.Composable, database: str = "postgres") -> None:
        """Run a statement outside of any transaction."""
        with closing(self.connect(database)) as conn, conn.cursor() as cursor:
            conn.autocommit = True
            cursor.execute(statement)

    def signal_postmaster(self, number: signal.Signals) -> None:
        """SIGKILL, or SIGINT and SIGQUIT: a fast and an immediate shutdown; returns when the server has gone."""
        postmaster = psutil.Process(int((self._running.data / "postmaster.pid").read_text().splitlines()[0]))
        postmaster.send_signal(number)
        wait_for(lambda: not is_running(postmaster), "the server stops")

    def start(self) -> None:
        """Have the server again: started when it does not run, waited for when it recovers."""
        self._running = embedded.start(self.directory / "postgres")

    def stop(self) -> None:
        """Leave the server, so that it stops."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            self.signal_postmaster(signal.SIGQUIT)
        embedded.leave(self.directory / "postgres")
        if self.disk is not None:
            subprocess.run(["umount", "--lazy", self.disk], check=True)

    def mount_disk(self) -> None:
        """Make the small tablespace on a disk of its own, where we may."""
        disk = self.directory / TABLESPACE
        disk.mkdir()
        owner = self._running.data.stat()
        options = f"size={DISK_BYTES},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            self.no_disk = mounted.stderr.strip()
            return
        self.disk = disk
        place = sql.SQL("CREATE TABLESPACE {} LOCATION {}")
        self.execute(place.format(sql.Identifier(TABLESPACE), sql.Literal(str(disk))))

    def fill_disk(self, left_bytes: int) -> None:
        """Leave so many bytes on the small disk."""
        assert self.disk is not None
        with (self.disk / "ballast").open("wb") as ballast:
            while (size := psutil.disk_usage(str(self.disk)).free - left_bytes) > 0:
                with suppress(OSError):  # the server took some of it meanwhile
                    os.posix_fallocate(ballast.fileno(), 0, size)
                    return

    def forbid_writing(self, pid: int) -> None:
        """Have every write to a file fail in one of the server's processes, as on a full disk."""
        # As the server's own user: root of a container may not limit others' processes. One that has ended is no harm.
        server_account(self._running.directory).run(["prlimit", f"--pid={pid}", "--fsize=0:"])

    def empty_disk(self) -> None:
        """Take away what ``fill_disk`` put there."""
        if self.disk is not None:
            (self.disk / "ballast").unlink(missing_ok=True)


def is_running(process: psutil.Process) -> bool:
    """Whether a process has not ended; a zombie has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def tortured_server() -> Iterator[TorturedServer]:
    """A server in a directory of its own, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="steam_assets_torture-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)  # the server's user is another one where root runs this
        server = TorturedServer(directory)
        try:
            server.execute(sql.SQL("ALTER SYSTEM SET deadlock_timeout = {}").format(sql.Literal(DEADLOCK_TIMEOUT)))
            server.execute("SELECT pg_reload_conf()")
            server.mount_disk()
            yield server
        finally:
            server.stop()


@contextmanager
def scratch_database(server: TorturedServer, name: str) -> Iterator[Callable[[], connection]]:
    """Connections to a database of this name, which is dropped afterwards, whatever became of the server."""
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield lambda: server.connect(name)
    finally:
        server.empty_disk()
        server.start()
        with suppress(psycopg2.Error):
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

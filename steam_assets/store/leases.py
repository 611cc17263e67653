"""Leases: one process at a time has a name, by an advisory lock that ends with the process, however that ends.

What the names stand for is device_lease.py's. Two databases know nothing of each other's leases.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

import psycopg2
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import is_connection_lost
from steam_assets.store.session import RETURNING_S, reopen

Connect = Callable[[], connection]

POLL_S = 0.25
TELL_EVERY_S = 10.0
WAIT_S = 12 * 3600.0
"""An `embed` of a million rows on a slow GPU is over by then; what still waits was forgotten by somebody."""


class NothingFree(SteamAssetsError):
    """Other processes have had every one of the names all the time."""


class LeaseLost(SteamAssetsError):
    """The connection was lost, and another process took the name before this one was back."""


@dataclass(frozen=True)
class Holder:
    """Who has a name; ``program`` and ``since`` are None where the server does not show them to our user."""

    name: str
    server_process: int
    program: str | None
    since: datetime | None

    def __str__(self) -> str:
        program = self.program or "a program of another user"
        since = "" if self.since is None else f" since {self.since:%Y-%m-%d %H:%M:%S %Z}"
        return f"{self.name} is with {program}{since} (server process {self.server_process})"


class Lease:
    """A name that only this process has, by a connection of its own; renewed where that is lost, closed by each user.

    Used again inside this process it is the same lease, and given back by the last of its users.
    """

    def __init__(self, name: str, connect: Connect, conn: connection) -> None:
        self.name = name
        self.users = 1
        self._connect = connect
        self._conn = conn

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def renew(self) -> None:
        """Take the name again where its connection was lost; raises LeaseLost when another process has it by now."""
        if _answers(self._conn):
            return
        self._conn.close()
        self._conn = reopen(lambda: _open(self._connect))
        deadline = time.monotonic() + RETURNING_S
        while not _try_name(self._conn, self.name):
            # At first perhaps by our own lost connection, which the server has not given up yet.
            if time.monotonic() > deadline:
                raise LeaseLost(
                    f"The connection to the database was lost, and meanwhile this process's {self.name} was taken: "
                    f"{_told(holders(self._conn, [self.name]))}. What was committed is kept; run this again for the "
                    "rest."
                )
            time.sleep(POLL_S)

    def close(self) -> None:
        """Give the name back, unless this process uses it elsewhere."""
        with _taking:
            self.users -= 1
            if self.users == 0:
                _held.pop(self.name, None)
                self._conn.close()


_held: dict[str, Lease] = {}
"""This process's own."""
_taking = threading.Lock()


def take_lease(connect: Connect, names: Sequence[str], tell: Callable[[str], None], within_s: float = WAIT_S) -> Lease:
    """Lease one of ``names``: one that this process has already, else the first that is free, waiting until one is.

    While it waits, ``tell`` hears now and then who has them; an interrupt ends the wait at once. Raises NothingFree
    after ``within_s``.
    """
    with _taking:
        for lease in (_held[name] for name in names if name in _held):
            lease.users += 1
            return lease
        lease = _wait_for_one(connect, names, tell, within_s)
        _held[lease.name] = lease
        return lease


def _wait_for_one(connect: Connect, names: Sequence[str], tell: Callable[[str], None], within_s: float) -> Lease:
    conn = _open(connect)
    started = told = time.monotonic()
    told -= TELL_EVERY_S
    try:
        while True:
            try:
                for name in names:
                    if _try_name(conn, name):
                        return Lease(name, connect, conn)
                now = time.monotonic()
                if now - started >= within_s:
                    raise NothingFree(
                        f"Nothing of {', '.join(names)} was free for {within_s:,.0f} s. {_told(holders(conn, names))}. "
                        "Run this again when that has ended, or end it if nobody needs it."
                    )
                if now - told >= TELL_EVERY_S:
                    told = now
                    tell(f"Waiting for {' or '.join(names)}. {_told(holders(conn, names))}.")
                time.sleep(POLL_S)
            except psycopg2.Error as error:
                if not is_connection_lost(error, conn):
                    raise
                conn.close()
                time.sleep(2 * RETURNING_S)  # whoever had a name before the server restarted comes first
                conn = reopen(lambda: _open(connect))
    except BaseException:
        conn.close()
        raise


def holders(conn: connection, names: Sequence[str]) -> list[Holder]:
    """Who has which of the names; free ones are left out."""
    with conn.cursor() as cursor:
        cursor.execute(HOLDERS, ([_lock_name(name) for name in names], list(names)))
        return [Holder(*row) for row in cursor.fetchall()]


# pg_locks shows a 64-bit key as two halves; objsubid 1 says that it is one.
HOLDERS = """
    SELECT wanted.name, held.pid, held_by.application_name, held_by.backend_start
    FROM unnest(%s, %s) AS wanted (lock_name, name)
    JOIN pg_locks AS held
      ON (held.classid::bigint << 32) | held.objid::bigint = hashtextextended(wanted.lock_name, 0)
    LEFT JOIN pg_stat_activity AS held_by ON held_by.pid = held.pid
    WHERE held.locktype = 'advisory'
      AND held.objsubid = 1
      AND held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY wanted.name
"""


def _told(found: Sequence[Holder]) -> str:
    return "; ".join(map(str, found)) or "It has just been given back"


def _open(connect: Connect) -> connection:
    """A connection that says whose it is, and that the server does not end for being idle."""
    conn = connect()
    try:
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute(SETTINGS, {"program": f"steam_assets process {os.getpid()} on {socket.gethostname()}"})
    except BaseException:
        conn.close()
        raise
    return conn


# idle_session_timeout came with PostgreSQL 14.
SETTINGS = """
    SELECT set_config('application_name', left(%(program)s, 63), FALSE),
           (SELECT set_config(name, '0', FALSE) FROM pg_settings WHERE name = 'idle_session_timeout')
"""


def _try_name(conn: connection, name: str) -> bool:
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_lock_name(name),))
        return cursor.fetchone() == (True,)


def _answers(conn: connection) -> bool:
    with suppress(psycopg2.Error), conn.cursor() as cursor:
        cursor.execute("SELECT")
        return True
    return False


def _lock_name(name: str) -> str:
    return f"steam_assets device {name}"

"""The advisory locks of `steam-assets up`: in Dagster's database one holds it alone, in the data each holds it too.

They are the session's: who holds one is its connection's application_name, and it ends however the process does.
"""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import psycopg2
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import DatabaseUnavailable

ON_DAGSTER = "steam_assets up, on Dagster's database"
ON_DATA = "steam_assets up, on the data"
"""Two names, because Dagster's tables may be in the database of the data."""

PREFIX = "steam_assets up: "

HOLDERS = """
    SELECT session.application_name,
           to_char(session.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
    FROM pg_locks AS held
    JOIN pg_stat_activity AS session USING (pid)
    WHERE held.locktype = 'advisory'
      AND held.objsubid = 1
      AND held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (held.classid::bigint << 32) | held.objid::bigint = hashtextextended(%s, 0)
      AND session.pid <> pg_backend_pid()
    ORDER BY session.pid
"""


class AlreadyUp(SteamAssetsError):
    """Another `steam-assets up` works on the same Dagster database."""


@dataclass(frozen=True)
class Holder:
    """Who is up, and since when where we may see that: "pid 812, port 3000, host"."""

    name: str
    since: str | None

    def __str__(self) -> str:
        return f"`steam-assets up` ({self.name}{f', since {self.since}' if self.since else ''})"


def own_name(port: int) -> str:
    """This process, as others see it; the host last, for PostgreSQL keeps 63 bytes of it."""
    return f"{PREFIX}pid {os.getpid()}, port {port}, {socket.gethostname()}"


def holders(conn: connection, lock: str) -> Sequence[Holder]:
    """Everybody else who holds a lock of this name in the connection's database."""
    with conn.cursor() as cursor:
        cursor.execute(HOLDERS, (lock,))
        return [Holder(name.removeprefix(PREFIX), since) for name, since in cursor.fetchall()]


class UpLocks:
    """Both locks, held until the block ends, and taken again by ``keep`` after a server was away.

    ``data`` and ``dagster`` open a connection to either database; entering raises AlreadyUp.
    """

    def __init__(self, data: Callable[[], connection], dagster: Callable[[], connection], name: str) -> None:
        self._name = name
        self._open = {ON_DAGSTER: dagster, ON_DATA: data}
        self._held: dict[str, connection] = {}

    def __enter__(self) -> "UpLocks":
        try:
            for lock in self._open:
                self._take(lock)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def others_on_data(self) -> Sequence[Holder]:
        """Who else is up on the same data: with another Dagster database, for on ours there is nobody else."""
        return holders(self._held[ON_DATA], ON_DATA)

    def keep(self) -> None:
        """Take again what ended with its connection; a server that is away is asked the next time.

        Raises AlreadyUp when another took the chance.
        """
        for lock, conn in self._held.items():
            try:
                with conn.cursor() as cursor:
                    cursor.execute("SELECT")
            except psycopg2.Error:
                with suppress(psycopg2.Error):
                    conn.close()
                with suppress(psycopg2.Error, DatabaseUnavailable):
                    self._take(lock)

    def _take(self, lock: str) -> None:
        conn = self._open[lock]()
        try:
            conn.autocommit = True
            with conn.cursor() as cursor:
                cursor.execute("SELECT set_config('application_name', %s, FALSE)", (self._name,))
                take = "pg_try_advisory_lock" if lock == ON_DAGSTER else "pg_try_advisory_lock_shared"
                cursor.execute(f"SELECT {take}(hashtextextended(%s, 0))", (lock,))
                if cursor.fetchone() != (True,):
                    first = next(iter(holders(conn, lock)), "Another program")
                    raise AlreadyUp(
                        f"{first} already works on this Dagster database ({conn.info.dbname}), and two daemons would "
                        "start every run twice. Use its web UI, stop it, or set STEAM_ASSETS_DAGSTER_URL to another "
                        "database."
                    )
        except BaseException:
            conn.close()
            raise
        self._held[lock] = conn

    def _close(self) -> None:
        for conn in self._held.values():
            with suppress(psycopg2.Error):
                conn.close()

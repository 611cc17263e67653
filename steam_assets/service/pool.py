"""Connections that searches take turns with: few, read-only, and replaced once the server has let go of them."""

import select
import threading
from contextlib import suppress

import psycopg2
from psycopg2.extensions import connection, make_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import DEFAULTS, DatabaseAddress, connect
from steam_assets.store.limits import set_limits

CONNECTIONS = 8
PATIENCE_S = 5.0


class PoolBusy(SteamAssetsError):
    """Every connection is in use, and none came back in time."""


class PooledConnection(connection):
    """A connection that ``close`` gives back to the pool it was taken from."""

    pool: "ConnectionPool | None" = None

    def close(self) -> None:
        """Give it back; once more, or without a pool, it is closed."""
        pool, self.pool = self.pool, None
        if pool is None:
            super().close()
        else:
            pool.take_back(self)


class ConnectionPool:
    """At most ``size`` connections to a database, each used by one thread at a time."""

    def __init__(self, address: DatabaseAddress, size: int = CONNECTIONS, patience_s: float = PATIENCE_S) -> None:
        self._address = address
        self._size = size
        self._patience_s = patience_s
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[PooledConnection] = []
        self._lent: set[PooledConnection] = set()
        self._closed = False

    def connect(self) -> connection:
        """A connection that can be used at once; whoever takes it closes it, which gives it back.

        Raises PoolBusy when all are in use for longer than ``patience_s``, and DatabaseUnavailable.
        """
        if not self._free.acquire(timeout=self._patience_s):
            raise PoolBusy(
                f"All {self._size} connections to the database are in use, and none was free within "
                f"{self._patience_s:g} s. Ask again."
            )
        try:
            conn = self._idle_connection() or self._open()
        except BaseException:
            self._free.release()
            raise
        with self._lock:
            self._lent.add(conn)
        conn.pool = self
        return conn

    def take_back(self, conn: PooledConnection) -> None:
        """What ``close`` of a connection comes to: nothing is left open on it, and the next one may have it."""
        try:
            with suppress(psycopg2.Error):  # a connection that is lost is closed below
                conn.rollback()
                conn.autocommit = False
            with self._lock:
                self._lent.discard(conn)
                keep = not (self._closed or conn.closed)
                if keep:
                    self._idle.append(conn)
            if not keep:
                conn.close()
        finally:
            self._free.release()

    def close(self) -> None:
        """Close what is idle, and end the statements of what is in use."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            lent = list(self._lent)
        for conn in idle:
            conn.close()
        for conn in lent:
            with suppress(psycopg2.Error):
                conn.cancel()

    def _idle_connection(self) -> PooledConnection | None:
        """The one used last, which the server's caches suit best; those that the server has let go of are closed."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                conn = self._idle.pop()
            if is_usable(conn):
                return conn
            conn.close()

    def _open(self) -> PooledConnection:
        # It starts an embedded server that was killed, refuses a pooler that shares sessions, and says what is wrong.
        connect(self._address).close()
        dsn = make_dsn(**{**DEFAULTS, **self._address.words})
        conn: PooledConnection = psycopg2.connect(dsn, connection_factory=PooledConnection, client_encoding="UTF8")
        try:
            conn.autocommit = True
            set_limits(conn, self._address.words.get("options", ""), behind_pooler=True)
            conn.autocommit = False
            conn.set_session(readonly=True)
        except BaseException:
            conn.close()
            raise
        return conn


def is_usable(conn: connection) -> bool:
    """Whether an idle connection is still there, without asking the server: it says nothing unless it goes away."""
    return not conn.closed and not select.select([conn], [], [], 0)[0]

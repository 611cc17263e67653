"""Connections for searches, read-only: kept while nobody uses them, replaced once the server has let go of them."""

import select
import threading
from contextlib import suppress

import psycopg2
from psycopg2.extensions import connection

from steam_assets.store.database import DatabaseAddress, connect


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
    """As many connections to a database as were ever in use at once, each used by one thread at a time."""

    def __init__(self, address: DatabaseAddress) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._idle: list[PooledConnection] = []
        self._lent: set[PooledConnection] = set()
        self._closed = False

    def connect(self) -> connection:
        """A connection that can be used at once; whoever takes it closes it, which gives it back.

        Raises DatabaseUnavailable.
        """
        conn = self._idle_connection() or self._open()
        with self._lock:
            self._lent.add(conn)
        conn.pool = self
        return conn

    def take_back(self, conn: PooledConnection) -> None:
        """What ``close`` of a connection comes to: nothing is left open on it, and the next one may have it."""
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
        conn = connect(self._address, PooledConnection)
        assert isinstance(conn, PooledConnection)
        conn.set_session(readonly=True)
        return conn


def is_usable(conn: connection) -> bool:
    """Whether an idle connection is still there, without asking the server: it says nothing unless it goes away."""
    return not conn.closed and not select.select([conn], [], [], 0)[0]

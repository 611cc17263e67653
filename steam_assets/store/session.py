"""The connection of a run: it holds the run's locks, and is there again, with them, after the server has restarted."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TypeVar

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import DatabaseUnavailable, is_connection_lost
from steam_assets.store.locks import release_range_lock, run_lock, try_range_lock

T = TypeVar("T")

SERVER_BACK_WITHIN_S = 180.0
"""Recovery after a crash replays 350 to 385 MB of WAL a second, and a restart for an upgrade takes a minute."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
RETURNING_S = 2 * LONGEST_PAUSE_S
"""The server gives up a lost connection, and with it our own locks, so soon after we have."""
CONFLICT_TRIES = 6
CONFLICT_PAUSE_S = 0.05


class RangeTaken(SteamAssetsError):
    """Another run fills the same range."""


class RunSession:
    """A connection that says which run is alive; ``conn`` is another one after ``reconnect``."""

    def __init__(self, connect: Callable[[], connection], dagster_run_id: str) -> None:
        self.dagster_run_id = dagster_run_id
        self._connect = connect
        self._range: tuple[TextColumn, str] | None = None
        self.conn = self._open()

    def __enter__(self) -> "RunSession":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.conn.close()

    @contextmanager
    def range_lock(self, column: TextColumn, range_key: str) -> Iterator[None]:
        """Hold the range's lock meanwhile, also after a reconnect; raises RangeTaken when another run holds it."""
        with self.conn:
            _lock_range(self.conn, column, range_key)
        self._range = column, range_key
        try:
            yield
        finally:
            self._range = None
            with suppress(psycopg2.Error), self.conn:  # a connection that is gone holds no lock
                release_range_lock(self.conn, column, range_key)

    def transact(self, work: Callable[[connection], T]) -> T:
        """Do ``work`` and commit; once more on a new connection when this one is lost, so ``work`` may happen twice."""
        try:
            with self.conn as conn:
                return work(conn)
        except psycopg2.Error as error:
            if not is_connection_lost(error):
                raise
        self.reconnect()
        with self.conn as conn:
            return work(conn)

    def reconnect(self) -> None:
        """Open the connection anew, waiting up to SERVER_BACK_WITHIN_S for the server; raises DatabaseUnavailable."""
        with suppress(psycopg2.Error):
            self.conn.close()
        self.conn = reopen(self._open)

    def _open(self) -> connection:
        conn = self._connect()
        try:
            with conn:
                run_lock(conn, self.dagster_run_id)
                if self._range is not None:
                    _lock_range(conn, *self._range, within_s=RETURNING_S)
        except BaseException:
            conn.close()
            raise
        return conn


def reopen(open_connection: Callable[[], connection]) -> connection:
    """Open a connection to a server that may be restarting, waiting up to SERVER_BACK_WITHIN_S for it."""
    deadline = time.monotonic() + SERVER_BACK_WITHIN_S
    pause = FIRST_PAUSE_S
    while True:
        try:
            return open_connection()
        except (DatabaseUnavailable, psycopg2.Error) as error:
            if not is_connection_lost(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _lock_range(conn: connection, column: TextColumn, range_key: str, within_s: float = 0.0) -> None:
    deadline = time.monotonic() + within_s
    while not try_range_lock(conn, column, range_key):
        if time.monotonic() < deadline:
            time.sleep(FIRST_PAUSE_S)
            continue
        raise RangeTaken(
            f"{column} {range_key} is being filled by another run; this one leaves it alone. When that run has "
            f"ended, `steam-assets embed {column}` fills what is still pending."
        )


def in_transaction(conn: connection, work: Callable[[], None]) -> None:
    """Do ``work`` and commit; again, a bounded number of times, when PostgreSQL asks for it: deadlocks, serialization.

    Every other error rolls back and rises at once.
    """
    for tried in range(1, CONFLICT_TRIES + 1):
        try:
            with conn:
                work()
        except (errors.DeadlockDetected, errors.SerializationFailure):
            if tried == CONFLICT_TRIES:
                raise
            time.sleep(random.uniform(0, CONFLICT_PAUSE_S * 2**tried))  # noqa: S311  (so that two do not meet again)
        else:
            return

"""Whether Dagster's daemon runs: its heartbeats, read without Dagster, and `up`'s lock. Reads only, creates nothing."""

from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.store.dagster_database import dagster_address
from steam_assets.store.database import DatabaseAddress, DatabaseUnavailable, connect
from steam_assets.store.up_lock import ON_DAGSTER, holders

SILENT_AFTER_S = 60.0
"""The daemon's threads send one every 30 s; its own tolerance is half an hour, in which nothing would be started."""
THREAD_SILENT_AFTER_S = 300.0
"""One thread is busy for longer: a sensor may take a minute, and there are several."""
CLOCKS_DIFFER_S = 5.0

# The time is in the body too, as a number; the column has no time zone. The newest daemon_id is the present daemon.
HEARTBEATS = """
    WITH beats AS (
        SELECT daemon_type, daemon_id,
               extract(epoch FROM clock_timestamp())::float8 - (body::jsonb ->> 'timestamp')::float8 AS age_s
        FROM daemon_heartbeats
    ), newest AS (
        SELECT daemon_id, age_s FROM beats ORDER BY age_s LIMIT 1
    )
    SELECT (SELECT age_s FROM newest),
           (SELECT daemon_id FROM newest),
           count(DISTINCT daemon_id) FILTER (WHERE abs(age_s) < %(silent_after_s)s),
           array_agg(lower(daemon_type) ORDER BY daemon_type) FILTER (
               WHERE age_s > (SELECT age_s FROM newest) + %(thread_silent_after_s)s
                 AND daemon_id = (SELECT daemon_id FROM newest)
           )
    FROM beats
"""

State = Literal["running", "starting", "silent", "stopped", "unclear", "unknown"]


@dataclass(frozen=True)
class DaemonStatus:
    """Seconds since the newest daemon's last heartbeat by the database's clock, and who holds `up`'s lock.

    ``daemons`` sent a heartbeat lately; ``silent_threads`` of the newest have not while others have.
    """

    last_heartbeat_s: float | None
    held_by: str | None
    daemon_id: str | None = None
    daemons: int = 0
    silent_threads: tuple[str, ...] = ()
    unreadable: str | None = None
    """Why nothing is known."""

    @property
    def state(self) -> State:
        """A silent one is there and does not answer; where the heartbeat is one of the future it is unclear."""
        age = self.last_heartbeat_s
        if self.unreadable:
            return "unknown"
        if age is None:
            return "starting" if self.held_by else "stopped"
        if age < -CLOCKS_DIFFER_S:
            return "running" if self.held_by else "unclear"
        if age <= SILENT_AFTER_S:
            return "running"
        return "silent" if self.held_by else "stopped"

    def as_json(self) -> dict[str, object]:
        """What a script asks."""
        return {
            "state": self.state,
            "last_heartbeat_s": None if self.last_heartbeat_s is None else round(self.last_heartbeat_s, 1),
            "held_by": self.held_by,
            "daemons": self.daemons,
            "silent_threads": list(self.silent_threads),
            "unreadable": self.unreadable,
        }


def daemon_status(address: DatabaseAddress) -> DaemonStatus | None:
    """The daemon of the Dagster database of this data; None before there is one. Creates and starts nothing."""
    try:
        conn = connect(dagster_address(address))
    except DatabaseUnavailable as error:
        return None if "does not exist" in str(error) else _unreadable(error)
    with closing(conn):
        conn.autocommit = True
        return read_daemon(conn)


def read_daemon(conn: connection) -> DaemonStatus | None:
    """The daemon of the Dagster database of this connection; None where none has ever run."""
    limits = {"silent_after_s": SILENT_AFTER_S, "thread_silent_after_s": THREAD_SILENT_AFTER_S}
    held_by = next(iter(holders(conn, ON_DAGSTER)), None)
    up = None if held_by is None else str(held_by)
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_regclass('daemon_heartbeats') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return None
        try:
            cursor.execute(HEARTBEATS, limits)
        except errors.InsufficientPrivilege as error:
            return _unreadable(error)
        age_s, daemon_id, daemons, silent = cursor.fetchone() or (None, None, 0, None)
    if age_s is None and up is None:
        return None
    return DaemonStatus(age_s, up, daemon_id, daemons, tuple(silent or ()))


def _unreadable(error: Exception) -> DaemonStatus:
    return DaemonStatus(None, None, unreadable=" ".join(str(error).split()))

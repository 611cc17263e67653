"""What a person is told of the daemon, of others on the same data, and of clocks. Reading is store/daemon.py's."""

import time
from collections.abc import Callable, Sequence

import psycopg2
from psycopg2.extensions import connection

from steam_assets.store.daemon import CLOCKS_DIFFER_S, DaemonStatus, State
from steam_assets.store.up_lock import Holder
from steam_assets.terminal import duration

SAID: dict[State, str] = {
    "running": "running, {beat}{by}.",
    "starting": "starting{by}.",
    "silent": "there, but silent, {beat}{by}: nothing is started meanwhile. Look into logs/up.log, or restart it.",
    "stopped": "not running, {beat}: queued runs, backfills, schedules and sensors wait. Start it: `steam-assets up`.",
    "unclear": "perhaps running, {beat}.",
    "unknown": "nothing is known of it: {why}",
}
SEVERAL_DAEMONS = (
    "Several daemons work on this Dagster database and start runs twice: stop all but one (`steam-assets up`, "
    "`dagster dev`, `dagster-daemon run`)."
)
FOLLOW = "have every machine follow a time server"


def daemon_line(status: DaemonStatus) -> str:
    """What is found, what that means, and what to do."""
    by = f", started by {status.held_by}" if status.held_by else ", not started by a `steam-assets up` that runs"
    return " ".join(
        [f"Daemon: {SAID[status.state].format(beat=_beat(status), by=by, why=status.unreadable)}", *oddities(status)]
    )


def oddities(status: DaemonStatus) -> list[str]:
    """What should not be: several daemons, a thread that hangs, a heartbeat of the future."""
    found = []
    if status.daemons > 1:
        found.append(SEVERAL_DAEMONS)
    if status.silent_threads:
        found.append(
            f"Its {', '.join(status.silent_threads)} thread does not answer: look into logs/up.log, or restart it."
        )
    if status.last_heartbeat_s is not None and status.last_heartbeat_s < -CLOCKS_DIFFER_S:
        found.append(f"A clock was set back, or two machines disagree: {FOLLOW}.")
    return found


def _beat(status: DaemonStatus) -> str:
    age = status.last_heartbeat_s
    if age is None:
        return "no heartbeat yet"
    return f"last heartbeat {duration(abs(age))} {'in the future' if age < -CLOCKS_DIFFER_S else 'ago'}"


def others_line(others: Sequence[Holder]) -> str:
    """What it means that somebody else is up on the same data with another Dagster database."""
    return (
        f"{' and '.join(map(str, others))} works on the same data with another Dagster database. Both start runs for "
        "the same rows: nothing is lost or wrong, but work is done twice. Stop one of them, or have both use one "
        "STEAM_ASSETS_DAGSTER_URL."
    )


class Lookout:
    """What `up` notices of its daemon while it runs, each thing said once."""

    def __init__(self, read: Callable[[], DaemonStatus | None], say: Callable[[str], None]) -> None:
        self._read, self._say = read, say
        self._started = time.monotonic()
        self._daemons: set[str] = set()
        self._said: set[str] = set()

    def look(self) -> None:
        """Read the heartbeats; a database that is away says nothing about the daemon."""
        try:
            status = self._read()
        except psycopg2.Error:
            return
        if status is None or status.last_heartbeat_s is None:
            return
        # Two daemons overwrite each other's heartbeats, so that one look may see those of one only.
        if status.daemon_id is not None and status.last_heartbeat_s < time.monotonic() - self._started:
            self._daemons.add(status.daemon_id)
        found = {line: line for line in (*oddities(status), *([SEVERAL_DAEMONS] if len(self._daemons) > 1 else []))}
        if status.state == "silent":
            found[status.state] = daemon_line(status)
        for what in found.keys() - self._said:
            self._say(found[what])
        self._said |= found.keys()


def clock_difference_s(conn: connection) -> float:
    """How far the database's clock is ahead of this machine's, in seconds."""
    with conn.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        (theirs,) = cursor.fetchone() or (before,)
        # Halfway, as NTP has it.
        return float(theirs) - (before + time.time()) / 2

"""The doctor's checks of what runs by itself: the daemon, others on the same data, clocks, and where alerts go."""

from collections.abc import Iterator
from contextlib import closing

from psycopg2.extensions import connection

from steam_assets.alerts import URL, webhook_from_environment
from steam_assets.doctor import Check
from steam_assets.errors import SteamAssetsError
from steam_assets.health import FOLLOW, clock_difference_s, daemon_line, oddities
from steam_assets.store.daemon import CLOCKS_DIFFER_S, daemon_status
from steam_assets.store.database import DatabaseUnavailable, connect, find_database
from steam_assets.store.up_lock import ON_DATA, holders
from steam_assets.terminal import duration


def check_operation(database_url: str | None) -> Iterator[Check]:
    """Every check of it; those of a database that cannot be opened are left out, which another check says."""
    yield check_alerts()
    try:
        address = find_database(database_url)
        conn = connect(address)
    except (SteamAssetsError, DatabaseUnavailable):
        return
    with closing(conn):
        yield check_clock(conn)
        yield check_others(conn)
    status = daemon_status(address)
    if status is None:
        yield Check("daemon", "ok", "never started; `steam-assets up` does")
    else:
        odd = oddities(status) or status.state in ("silent", "unclear", "unknown")
        yield Check("daemon", "warn" if odd else "ok", daemon_line(status).removeprefix("Daemon: "))


def check_alerts() -> Check:
    """Whether somebody is told of failed runs and red checks; nothing is sent."""
    try:
        webhook = webhook_from_environment()
    except SteamAssetsError as error:
        return Check("alerts", "fail", str(error))
    if webhook is None:
        return Check("alerts", "ok", f"off; {URL} switches them on")
    return Check("alerts", "ok", f"{webhook.format} to {webhook.place}")


def check_clock(conn: connection) -> Check:
    """Whether this machine and the database agree on the time: ages and time-outs are told by it."""
    ahead_s = clock_difference_s(conn)
    if abs(ahead_s) <= CLOCKS_DIFFER_S:
        return Check("clock", "ok", "agrees with the database's")
    found = f"the database's is {duration(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    return Check("clock", "warn", found, FOLLOW)


def check_others(conn: connection) -> Check:
    """Whether several `steam-assets up` work on the same data, which is wasteful and does no harm."""
    found = holders(conn, ON_DATA)
    who = " and ".join(map(str, found)) or "none"
    if len(found) < 2:
        return Check("up", "ok", who)
    fix = "stop one, or have both use one STEAM_ASSETS_DAGSTER_URL; nothing is lost, but work is done twice"
    return Check("up", "warn", f"several on the same data, with different Dagster databases: {who}", fix)

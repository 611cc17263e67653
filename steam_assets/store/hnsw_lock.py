"""Who builds or drops indexes of a column: one session at a time, by an advisory lock that ends with its connection."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg2
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError

# pg_locks shows a 64-bit key as two halves; objsubid 1 says that it is one.
BUILDER = """
    SELECT builder.pid, builder.usename, builder.application_name, date_trunc('second', builder.backend_start)::text
    FROM pg_locks AS held
    JOIN pg_stat_activity AS builder ON builder.pid = held.pid
    WHERE held.locktype = 'advisory'
      AND held.objsubid = 1
      AND held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (held.classid::bigint << 32) | held.objid::bigint = hashtextextended(%s, 0)
"""


class IndexBeingBuilt(SteamAssetsError):
    """Another session builds or drops an index of the same column."""


@contextmanager
def building(conn: connection, column: TextColumn) -> Iterator[None]:
    """Be the only one to build or drop indexes of the column meanwhile; raises IndexBeingBuilt, saying who does."""
    name = f"steam_assets index {column}"
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
        if cursor.fetchone() != (True,):
            check_nobody_builds(conn, column)
            raise IndexBeingBuilt(f"Another session was at the indexes of {column} just now. Run the command again.")
    try:
        yield
    finally:
        with suppress(psycopg2.Error), conn.cursor() as cursor:  # a connection that is gone holds no lock
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))


def check_nobody_builds(conn: connection, column: TextColumn) -> None:
    """Raise IndexBeingBuilt where a session builds or drops an index of the column."""
    with conn.cursor() as cursor:
        cursor.execute(BUILDER, (f"steam_assets index {column}",))
        found = cursor.fetchone()
    if found is not None:
        pid, user, program, since = found
        who = f"{program or 'a program'} of {user}"
        raise IndexBeingBuilt(
            f"Another session is at the indexes of {column}: {who}, process {pid} of the server, "
            f"connected since {since}. Wait for it; SELECT pg_terminate_backend({pid}) would end it."
        )

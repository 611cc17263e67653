"""Tables of ours beside the user's: who makes one holds its lock meanwhile, so that what a dead process left is known.

Locks are the session's (locks.py); connections are in autocommit.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.vector_indexes import LOCK_TIMEOUT_MS, SET_LOCK_TIMEOUT

NAMED = """
    SELECT c.relname
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public'
      AND c.relkind = 'r'
      AND c.relname ~ %s
    ORDER BY c.relname
"""


@contextmanager
def claimed(conn: connection, table: str) -> Iterator[None]:
    """Hold the lock of a table of this name while the block makes, fills or uses it; may raise LockNotAvailable."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (_lock_name(table),))
    try:
        yield
    finally:
        if not conn.closed:
            _unclaim(conn, table)


def drop_leftovers(conn: connection, pattern: str, kept: Collection[str] = ()) -> list[str]:
    """Drop tables whose names match ``pattern``, but for those ``kept`` and those that a session holds the lock of.

    One that belongs to somebody else, or that a transaction uses, stays; returns the names of the dropped.
    """
    with conn.cursor() as cursor:
        cursor.execute(NAMED, (pattern,))
        found = [name for (name,) in cursor.fetchall() if name not in kept]
    return [table for table in found if _drop_unclaimed(conn, table)]


def drop_table(conn: connection, table: str) -> None:
    """Drop a table of ours, if it is there."""
    with conn.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("public", table)))


def create_table(conn: connection, statement: sql.Composed) -> None:
    """Run a CREATE TABLE of ours; raises SteamAssetsError where this role may not."""
    try:
        with conn.cursor() as cursor:
            cursor.execute(statement)
    except errors.InsufficientPrivilege as error:
        raise SteamAssetsError(
            f"This user may not create a table in the schema public: {error.diag.message_primary}. Run it as the owner "
            "of the database, or as a role that infra/sql/roles.sql calls steam_assets_owner."
        ) from None


def _drop_unclaimed(conn: connection, table: str) -> bool:
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_lock_name(table),))
        if cursor.fetchone() != (True,):
            return False
    try:
        with conn, conn.cursor() as cursor:
            cursor.execute(SET_LOCK_TIMEOUT, (LOCK_TIMEOUT_MS,))
            drop_table(conn, table)
    except (errors.InsufficientPrivilege, errors.LockNotAvailable):
        return False
    finally:
        _unclaim(conn, table)
    return True


def _unclaim(conn: connection, table: str) -> None:
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_lock_name(table),))


def _lock_name(table: str) -> str:
    return f"steam_assets table {table}"

"""Advisory locks of a session: a run that is alive holds its own, and that of the range it fills. Nothing here commits.

They outlive transactions and end with their connection, however that ends: no pooler may share it.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn


def run_lock(conn: connection, dagster_run_id: str) -> None:
    """Hold this run's lock until the connection ends, whatever becomes of its transactions: the run is alive.

    Shared, because the steps of one run have a connection each.
    """
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", (run_lock_name(dagster_run_id),))


def try_range_lock(conn: connection, column: TextColumn, range_key: str) -> bool:
    """Take the lock of a column's range until the connection ends or gives it back; False when another run holds it."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_range_lock_name(column, range_key),))
        return cursor.fetchone() == (True,)


def release_range_lock(conn: connection, column: TextColumn, range_key: str) -> None:
    """Give the lock of a range back."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_range_lock_name(column, range_key),))


@contextmanager
def living_run(connect: Callable[[], connection], dagster_run_id: str) -> Iterator[connection]:
    """A connection in autocommit that holds the run's lock until the block ends."""
    with closing(connect()) as conn:
        conn.autocommit = True
        run_lock(conn, dagster_run_id)
        yield conn


def is_run_alive(conn: connection, dagster_run_id: str) -> bool:
    """Whether some connection holds this run's lock; asks without taking it."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"SELECT hashtextextended(%s, 0) IN ({HELD_KEYS})",
            (run_lock_name(dagster_run_id),),
        )
        return cursor.fetchone() == (True,)


def mark_lost(conn: connection) -> list[str]:
    """Mark running ranges as lost where their run holds no lock; returns those runs' Dagster ids. Does not commit."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"""
            WITH lost AS (
                UPDATE public.embedding_run_ranges
                SET status = 'lost', finished_at = clock_timestamp()
                WHERE {LOST}
                RETURNING dagster_run_id
            )
            SELECT DISTINCT dagster_run_id FROM lost WHERE dagster_run_id IS NOT NULL ORDER BY 1
            """  # noqa: S608 (a constant)
        )
        return [run for (run,) in cursor.fetchall()]


def may_come_back(conn: connection, within_s: float) -> bool:
    """Whether ranges look lost, but the server has not been up for so long: their runs may be on their way back."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT clock_timestamp() - pg_postmaster_start_time() < make_interval(secs => %s)
               AND EXISTS (SELECT FROM public.embedding_run_ranges WHERE {LOST})
            """,  # noqa: S608 (a constant)
            (within_s,),
        )
        return cursor.fetchone() == (True,)


# pg_locks shows a 64-bit key as two halves; objsubid 1 says that it is one.
HELD_KEYS = """
    SELECT (classid::bigint << 32) | objid::bigint
    FROM pg_locks
    WHERE locktype = 'advisory'
      AND objsubid = 1
      AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


LOST = f"status = 'running' AND (lock_key IS NULL OR lock_key NOT IN ({HELD_KEYS}))"


def run_lock_name(dagster_run_id: str) -> str:
    """What a run's lock is a hash of."""
    return f"steam_assets run {dagster_run_id}"


def _range_lock_name(column: TextColumn, range_key: str) -> str:
    return f"steam_assets range {column} {range_key}"

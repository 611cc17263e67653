"""Advisory locks of a session: of a run that is alive, of the range it fills, of registering ranges. Nothing commits.

They outlive transactions and end with their connection, however that ends: no pooler may share it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from psycopg2.extensions import TRANSACTION_STATUS_INERROR, connection

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


@contextmanager
def registering(conn: connection) -> Iterator[None]:
    """Be the only one to cut or register ranges of this database meanwhile, whichever Dagster instance they are in.

    Raises LockNotAvailable when somebody else is at it for longer than the session's lock_timeout.
    """
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (REGISTERING,))
        try:
            yield
        finally:
            _unlock(conn, "pg_advisory_unlock", REGISTERING)


REGISTERING = "steam_assets ranges"


@contextmanager
def loading(conn: connection, table: str) -> Iterator[None]:
    """Say meanwhile that more rows of the table are on their way; any number of loads may."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", (_load_lock_name(table),))
        try:
            yield
        finally:
            _unlock(conn, "pg_advisory_unlock_shared", _load_lock_name(table))


def is_loading(conn: connection, table: str) -> bool:
    """Whether another session is loading the table."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"SELECT hashtextextended(%s, 0) IN ({HELD_KEYS} AND pid <> pg_backend_pid())", (_load_lock_name(table),)
        )
        return cursor.fetchone() == (True,)


def _unlock(conn: connection, function: str, name: str) -> None:
    """Give a lock back, in a transaction that has failed as well; a connection that is closed holds none."""
    if conn.info.transaction_status == TRANSACTION_STATUS_INERROR:
        conn.rollback()
    if not conn.closed:
        with conn.cursor() as cursor:
            cursor.execute(f"SELECT {function}(hashtextextended(%s, 0))", (name,))


def is_run_alive(conn: connection, dagster_run_id: str) -> bool:
    """Whether some connection holds this run's lock; asks without taking it."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"SELECT hashtextextended(%s, 0) IN ({HELD_KEYS})",
            (run_lock_name(dagster_run_id),),
        )
        return cursor.fetchone() == (True,)


def lost_runs(conn: connection) -> list[str]:
    """Dagster ids of runs with a range that is recorded as running while no connection holds the run's lock."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT DISTINCT dagster_run_id
            FROM public.embedding_run_ranges
            WHERE {LOST}
              AND dagster_run_id IS NOT NULL
            ORDER BY 1
            """  # noqa: S608 (a constant)
        )
        return [run for (run,) in cursor.fetchall()]


def mark_lost(conn: connection, of_runs: Sequence[str] | None = None) -> list[str]:
    """Mark running ranges lost whose run, one ``of_runs``, holds no lock; returns those runs' ids. Does not commit."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"""
            WITH lost AS (
                UPDATE public.embedding_run_ranges
                SET status = 'lost', finished_at = clock_timestamp()
                WHERE {LOST}
                  AND (%(of_runs)s IS NULL OR dagster_run_id = ANY (%(of_runs)s::text[]))
                RETURNING dagster_run_id
            )
            SELECT DISTINCT dagster_run_id FROM lost WHERE dagster_run_id IS NOT NULL ORDER BY 1
            """,  # noqa: S608 (a constant)
            {"of_runs": None if of_runs is None else list(of_runs)},
        )
        return [run for (run,) in cursor.fetchall()]


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


def _load_lock_name(table: str) -> str:
    return f"steam_assets load {table}"


def _range_lock_name(column: TextColumn, range_key: str) -> str:
    return f"steam_assets range {column} {range_key}"

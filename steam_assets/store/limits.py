"""What a session's statements may take and see: time, locks, and rows that a policy hides."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.extensions import connection
from psycopg2.extras import Json

LOCK_TIMEOUT_S = 60
LIMITS = {
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    # The longest statement scans a column: 1M texts of 6 KB are read in 50 s (research/postgres.md 4), or from a cold
    # disk in minutes. What takes half an hour has a bad plan.
    "statement_timeout": "30min",
    # It holds locks and keeps VACUUM from its work. Init asks a little, and then fetches a model of 2.3 GB.
    "idle_in_transaction_session_timeout": "30min",
    # An error instead of rows that a policy hides: the counts of those that are left would not be true.
    "row_security": "off",
}

# SET, not start-up options, which poolers refuse. Where libpq knows another process than the one that answers there is
# a pooler, and the session may not be ours alone.
SET_LIMITS = """
    SELECT count(set_config(key, value, FALSE))
    FROM jsonb_each_text(%(limits)s)
    WHERE pg_backend_pid() = %(backend)s
       OR %(behind_pooler)s
"""


def set_limits(conn: connection, given: str, behind_pooler: bool) -> bool:
    """Set the limits that ``given``, libpq's options, does not name; for a connection in autocommit.

    False, with none set, where a pooler stands before the server and we were not told so.
    """
    limits = {name: limit for name, limit in LIMITS.items() if name not in given}
    with conn.cursor() as cursor:
        cursor.execute(
            SET_LIMITS, {"limits": Json(limits), "backend": conn.info.backend_pid, "behind_pooler": behind_pooler}
        )
        return cursor.fetchone() == (len(limits),)


@contextmanager
def unlimited(conn: connection) -> Iterator[None]:
    """Let statements take as long as they need, as CREATE INDEX does; for a connection in autocommit."""
    with conn.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        (limit,) = cursor.fetchone() or ("",)
        cursor.execute("SET statement_timeout = 0")
    try:
        yield
    finally:
        if not conn.closed:
            with conn.cursor() as cursor:
                cursor.execute("SET statement_timeout = %s", (limit,))

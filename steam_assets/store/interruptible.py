"""A statement that takes long, in a thread, so that Ctrl-C and Terminate end it on the server at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

POLL_S = 0.5
CANCELLED_WITHIN_S = 0.2
"""A cancel that comes before its statement has begun does nothing, so it is repeated."""


def execute_interruptibly(
    conn: connection, statement: sql.Composable, meanwhile: Callable[[], None] = lambda: None, every_s: float = POLL_S
) -> None:
    """Execute a statement and call ``meanwhile`` now and then; whatever is raised here cancels it on the server first.

    libpq waits in C, where Python learns of a signal only when the statement has ended. Nobody else uses ``conn``.
    """
    with ThreadPoolExecutor(1, "statement") as thread:
        running = thread.submit(_execute, conn, statement)
        try:
            while not wait([running], every_s).done:
                meanwhile()
        except BaseException:
            while not running.done():
                with suppress(psycopg2.Error):  # of a connection that is gone its statement learns by itself
                    conn.cancel()
                wait([running], CANCELLED_WITHIN_S)
            raise
        running.result()


def _execute(conn: connection, statement: sql.Composable) -> None:
    with conn.cursor() as cursor:
        cursor.execute(statement)

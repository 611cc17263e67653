"""Whether a pooler before the server leaves each connection a session of its own. Who asks is database.py."""

from psycopg2.extensions import connection


def has_own_session(conn: connection, other: connection) -> bool:
    """Whether each of two open connections keeps a server process to itself; both must be in autocommit.

    Asked twice in a row and in turn: a pooler that lends processes for a transaction gives both the one that was used
    last, or the next one each time.
    """
    mine, again, theirs, theirs_again, mine_later = (
        _server_process(asked) for asked in (conn, conn, other, other, conn)
    )
    return mine == again == mine_later and theirs == theirs_again and mine != theirs


def _server_process(conn: connection) -> int:
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone() or (0,)
    return int(pid)

"""A session of ours gives up what takes too long, unless who named the database says otherwise."""

from collections.abc import Mapping
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.store import database
from steam_assets.store.database import find_database
from steam_assets.store.limits import set_limits, unlimited
from steam_assets_tests.rows import Connect, fetch

NAMES = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "row_security")


def limits(conn: connection) -> Mapping[str, object]:
    """The session's limits as the server has them."""
    return {name: fetch(conn, f"SHOW {name}")[0][0] for name in NAMES}


def test_locks_statements_and_forgotten_transactions_have_a_limit(conn: connection) -> None:
    """A minute for a lock, half an hour for the rest, and no rows that a policy hides."""
    assert limits(conn) == dict(zip(NAMES, ("1min", "30min", "30min", "off"), strict=True))


def test_without_a_pooler_the_limits_take_one_question(connect: Connect) -> None:
    """The same statement sets them and finds that the server itself answers; no other connection is opened for it."""
    with closing(connect()) as conn:
        conn.autocommit = True
        assert set_limits(conn, given="", behind_pooler=False)
        assert limits(conn)["lock_timeout"] == "1min"


@pytest.mark.parametrize("way", ["address", "PGOPTIONS"])
def test_limits_that_somebody_set_are_kept(way: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the address or in libpq's variable; the others are ours."""
    if way == "PGOPTIONS":
        monkeypatch.setenv(way, "-c statement_timeout=5s")
    else:
        database_url += "&options=-c%20statement_timeout%3D5s"
    with closing(database.connect(find_database(database_url))) as conn:
        assert limits(conn) == dict(zip(NAMES, ("1min", "5s", "30min", "off"), strict=True))


def test_a_statement_ends_at_its_limit_and_not_where_there_is_none(conn: connection) -> None:
    """What is known to take long, such as building an index, asks for no limit; afterwards it is back."""
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute("SET statement_timeout = '50ms'")
        with pytest.raises(errors.QueryCanceled, match="statement timeout"):
            cursor.execute("SELECT pg_sleep(60)")
        with unlimited(conn):
            cursor.execute("SELECT pg_sleep(0.1)")
        assert limits(conn)["statement_timeout"] == "50ms"


def test_the_limit_is_back_after_a_statement_that_failed(conn: connection) -> None:
    """Also when the index could not be built, and nothing is asked of a connection that is gone."""
    conn.autocommit = True
    with pytest.raises(errors.DivisionByZero), unlimited(conn), conn.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    assert limits(conn)["statement_timeout"] == "30min"
    with pytest.raises(psycopg2.OperationalError), unlimited(conn), conn.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_rows_that_a_policy_hides_are_an_error_and_not_a_smaller_count(conn: connection, database_url: str) -> None:
    """A count that leaves out what this user may not see would call a half-filled column complete."""
    setup = """
        CREATE TABLE secrets AS SELECT 1 AS id, 'theirs' AS body;
        ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
        CREATE ROLE nosy LOGIN;
        GRANT SELECT ON secrets TO nosy;
    """
    with conn, conn.cursor() as cursor:
        cursor.execute(setup)
    try:
        with (
            closing(database.connect(find_database(database_url.replace("postgres@", "nosy@")))) as theirs,
            pytest.raises(errors.InsufficientPrivilege, match='row-level security policy for table "secrets"'),
        ):
            fetch(theirs, "SELECT count(*) FROM secrets")
    finally:
        with conn, conn.cursor() as cursor:
            cursor.execute("DROP OWNED BY nosy; DROP ROLE nosy")

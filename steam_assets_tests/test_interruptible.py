"""A long statement ends on the server as soon as Python raises beside it."""

import pytest
from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.store.interruptible import execute_interruptibly
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import fetch

SLEEP = sql.SQL("SELECT pg_sleep(600) -- long")
AT_WORK = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(600)%%'"


def test_what_is_raised_meanwhile_ends_the_statement(conn: connection, other_conn: connection) -> None:
    """Ten minutes of sleep are over at once, and the connection is good for more."""

    def interrupt() -> None:
        wait_until(lambda: bool(fetch(other_conn, AT_WORK)), "the statement has begun")
        raise KeyboardInterrupt

    conn.autocommit = True
    with pytest.raises(KeyboardInterrupt):
        execute_interruptibly(conn, SLEEP, interrupt, every_s=0.01)
    assert fetch(other_conn, AT_WORK) == []
    assert fetch(conn, "SELECT 1") == [(1,)]


def test_an_interrupt_that_comes_before_the_statement_ends_it_too(conn: connection, other_conn: connection) -> None:
    """A cancel that finds nothing to cancel is repeated."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    conn.autocommit = True
    with pytest.raises(KeyboardInterrupt):
        execute_interruptibly(conn, SLEEP, interrupt, every_s=0.0)
    assert fetch(other_conn, AT_WORK) == []


def test_the_statement_s_own_error_is_raised(conn: connection) -> None:
    """As if it had been executed here."""
    with pytest.raises(errors.DivisionByZero):
        execute_interruptibly(conn, sql.SQL("SELECT 1 / 0"))
    conn.rollback()
    execute_interruptibly(conn, sql.SQL("SELECT 1"))

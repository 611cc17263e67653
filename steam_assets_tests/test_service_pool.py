"""Connections of the service: read-only, given back by close, and replaced once they are lost."""

import threading
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, connection

from steam_assets.service.pool import ConnectionPool
from steam_assets.store.database import find_database
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import fetch

WAITS_FOR = "SELECT wait_event FROM pg_stat_activity WHERE pid = %(pid)s"
OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def pool(database_url: str) -> Iterator[ConnectionPool]:
    """Of the test's database."""
    pool = ConnectionPool(find_database(database_url))
    yield pool
    pool.close()


def backend_of(conn: connection) -> int:
    """The process of the server that answers a connection."""
    return conn.info.backend_pid


def test_one_search_after_the_other_takes_the_same_connection(pool: ConnectionPool) -> None:
    """What it left open is rolled back first."""
    with closing(pool.connect()) as first, first.cursor() as cursor:
        cursor.execute("SELECT 1")
    with closing(pool.connect()) as second:
        assert second is first
        assert second.info.transaction_status == TRANSACTION_STATUS_IDLE


def test_whoever_comes_while_one_is_in_use_gets_another(pool: ConnectionPool) -> None:
    """Never the same at once, also when one was given back twice."""
    twice = pool.connect()
    twice.close()
    twice.close()
    with closing(pool.connect()) as first, closing(pool.connect()) as second:
        assert first is not second
        assert (first.closed, second.closed) == (0, 0)


def test_connections_that_the_server_ended_are_replaced(pool: ConnectionPool, other_conn: connection) -> None:
    """As after a restart: both were idle, and nobody who comes next sees an error."""
    with closing(pool.connect()) as first, closing(pool.connect()) as second:
        ended = {backend_of(first), backend_of(second)}
    fetch(
        other_conn,
        "SELECT pg_terminate_backend(pid, 5000) FROM unnest(%(pids)s) AS pid",
        pids=list(ended),
    )
    for _ in range(2):
        with closing(pool.connect()) as conn, conn.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert backend_of(conn) not in ended


def test_a_connection_that_is_lost_in_use_is_not_given_out_again(pool: ConnectionPool, other_conn: connection) -> None:
    """Its place is free for another."""
    with closing(pool.connect()) as conn, conn.cursor() as cursor:
        fetch(other_conn, "SELECT pg_terminate_backend(%(pid)s, 5000)", pid=backend_of(conn))
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 1")
    with closing(pool.connect()) as first, closing(pool.connect()) as second:
        assert conn not in (first, second)


def test_searches_can_write_nothing(pool: ConnectionPool) -> None:
    """Whatever a statement is made to say: the transaction is read-only; and no row is hidden from counts."""
    with closing(pool.connect()) as conn, conn.cursor() as cursor:
        with pytest.raises(errors.ReadOnlySqlTransaction):
            cursor.execute("DELETE FROM reviews")
        conn.rollback()
        cursor.execute("SHOW row_security")
        assert cursor.fetchone() == ("off",)


def test_the_end_of_the_service_ends_what_is_being_asked(pool: ConnectionPool, other_conn: connection) -> None:
    """A statement that would go on for an hour is canceled, and its connection closed when it is given back."""
    asked = pool.connect()
    idle = pool.connect()
    idle.close()
    canceled: list[BaseException] = []

    def ask() -> None:
        with closing(asked), asked.cursor() as cursor:
            try:
                cursor.execute("SELECT pg_sleep(3600)")
            except errors.QueryCanceled as error:
                canceled.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    pid = backend_of(asked)
    wait_until(lambda: fetch(other_conn, WAITS_FOR, pid=pid) == [("PgSleep",)], "the statement is at work")
    pool.close()
    asking.join(30)
    assert canceled
    assert asked.closed
    wait_until(lambda: fetch(other_conn, OTHERS) == [], "no connection is left")

"""One `up` works on a Dagster database; several on the same data know of each other; none outlives its process."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import sql

from steam_assets.store.dagster_database import connect_dagster
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.up_lock import ON_DAGSTER, ON_DATA, AlreadyUp, UpLocks, holders
from steam_assets_tests.databases import execute_on, new_database
from steam_assets_tests.rows import Connect

FIRST, SECOND = "steam_assets up: pid 1, port 3000, here", "steam_assets up: pid 2, port 3001, there"


@pytest.fixture
def dagster(dagster_url: str) -> Connect:
    """Connections to the test's Dagster database."""
    return lambda: psycopg2.connect(dagster_url)


@pytest.fixture
def other_dagster(server: EmbeddedServer) -> Iterator[Connect]:
    """Connections to another one."""
    with new_database(server) as url:
        yield lambda: psycopg2.connect(url)


def test_the_second_up_on_a_dagster_database_is_refused_and_told_who_the_first_is(
    connect: Connect, dagster: Connect
) -> None:
    """Exit code 2, with process, port, host and time; when the first has ended there is room."""
    with UpLocks(connect, dagster, FIRST), pytest.raises(AlreadyUp) as raised, UpLocks(connect, dagster, SECOND):
        pass
    said = str(raised.value)
    assert said.startswith("`steam-assets up` (pid 1, port 3000, here, since 20")
    assert "STEAM_ASSETS_DAGSTER_URL" in said
    assert raised.value.exit_code == 2
    with UpLocks(connect, dagster, SECOND) as locks:
        assert locks.others_on_data() == []


def test_ups_with_different_dagster_databases_on_the_same_data_know_of_each_other(
    connect: Connect, dagster: Connect, other_dagster: Connect
) -> None:
    """Both run; each sees the other."""
    with UpLocks(connect, dagster, FIRST) as first, UpLocks(connect, other_dagster, SECOND) as second:
        assert [other.name for other in second.others_on_data()] == ["pid 1, port 3000, here"]
        assert [other.name for other in first.others_on_data()] == ["pid 2, port 3001, there"]
        with closing(connect()) as conn:
            assert len(holders(conn, ON_DATA)) == 2
    with closing(connect()) as conn:
        assert holders(conn, ON_DATA) == []


def test_dagster_s_tables_may_be_in_the_database_of_the_data(connect: Connect) -> None:
    """One process is not taken for two."""
    with UpLocks(connect, connect, FIRST) as locks:
        assert locks.others_on_data() == []


def end_sessions(server: EmbeddedServer, name: str) -> None:
    """What a restart of the server does to the connections of an `up`."""
    end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = {}"
    execute_on(server, sql.SQL(end).format(sql.Literal(name)))


def test_locks_that_ended_with_their_connections_are_taken_again(
    connect: Connect, dagster: Connect, server: EmbeddedServer
) -> None:
    """After a restart of the server the next look has them, and a second `up` is refused as before."""
    with UpLocks(connect, dagster, FIRST) as locks:
        locks.keep()
        end_sessions(server, FIRST)
        with closing(dagster()) as conn:
            conn.autocommit = True  # a transaction would see the same sessions again
            assert holders(conn, ON_DAGSTER) == []
            locks.keep()
            locks.keep()
            assert [holder.name for holder in holders(conn, ON_DAGSTER)] == ["pid 1, port 3000, here"]
        with pytest.raises(AlreadyUp), UpLocks(connect, dagster, SECOND):
            pass


def test_an_up_whose_place_was_taken_while_the_server_was_away_ends(
    connect: Connect, dagster: Connect, server: EmbeddedServer
) -> None:
    """There is one at any time; a server that is away is waited for."""
    away = False

    def dagster_now() -> psycopg2.extensions.connection:
        if away:
            raise psycopg2.OperationalError("the server is away")
        return dagster()

    with UpLocks(connect, dagster_now, FIRST) as locks:
        end_sessions(server, FIRST)
        away = True
        locks.keep()
        away = False
        with UpLocks(connect, dagster, SECOND), pytest.raises(AlreadyUp, match="pid 2, port 3001, there"):
            locks.keep()


def test_a_user_without_the_right_to_see_others_sessions_still_learns_who_is_up(
    connect: Connect, dagster_url: str, server: EmbeddedServer
) -> None:
    """PostgreSQL hides their times, not their names."""
    execute_on(server, "CREATE ROLE second_user LOGIN")
    try:
        theirs = dagster_url.replace("postgres@", "second_user@")
        with (
            UpLocks(connect, connect_dagster, FIRST),
            pytest.raises(AlreadyUp, match=r"\(pid 1, port 3000, here\) already works"),
            UpLocks(connect, lambda: psycopg2.connect(theirs), SECOND),
        ):
            pass
    finally:
        execute_on(server, "DROP ROLE second_user")

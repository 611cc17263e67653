"""Locks of a session say which run is alive and who fills a range; the dead hold none."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.store.database import connect, find_database
from steam_assets.store.locks import is_run_alive, lost_runs, mark_lost, release_range_lock, run_lock, try_range_lock
from steam_assets.store.runs import find_or_create_run, start_range
from steam_assets_tests.databases import wait_until


@pytest.fixture
def other(database_url: str) -> Iterator[connection]:
    """A second session."""
    with closing(connect(find_database(database_url))) as opened:
        yield opened


def test_a_run_is_alive_while_any_of_its_connections_is(conn: connection, other: connection) -> None:
    """The lock ends with its session, however that ends, and not with a transaction; asking does not take it."""
    assert not is_run_alive(conn, "run-a")
    run_lock(other, "run-a")
    run_lock(conn, "run-a")
    other.rollback()
    assert is_run_alive(conn, "run-a")
    assert not is_run_alive(conn, "run-b")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock_all()")
    assert is_run_alive(other, "run-a")
    conn.close()
    wait_until(lambda: not is_run_alive(other, "run-a"), "the lock goes with its session")


def test_a_run_of_another_database_is_not_ours(conn: connection, empty_database_url: str) -> None:
    """Advisory locks of other databases of the server have equal keys."""
    with closing(connect(find_database(empty_database_url))) as elsewhere:
        run_lock(elsewhere, "run-a")
        assert not is_run_alive(conn, "run-a")


def test_a_range_is_filled_by_one_session_at_a_time(conn: connection, other: connection) -> None:
    """Of one column and key; it is free again when it is given back, and when its session ends."""
    assert try_range_lock(conn, REVIEWS, "~:~")
    conn.rollback()
    assert not try_range_lock(other, REVIEWS, "~:~")
    assert try_range_lock(other, REVIEWS, "a:~")
    assert try_range_lock(other, APPLICATIONS, "~:~")
    release_range_lock(conn, REVIEWS, "~:~")
    assert try_range_lock(other, REVIEWS, "~:~")
    other.close()
    wait_until(lambda: try_range_lock(conn, REVIEWS, "~:~"), "the lock goes with its session")


def test_a_run_is_lost_when_a_range_of_it_runs_and_nobody_holds_its_lock(conn: connection, other: connection) -> None:
    """Found without being changed; marked only where it is named, and not while it has its lock."""
    run_id = find_or_create_run(conn, "made-up", 8, True, {})
    for name in ("run-a", "run-b"):
        start_range(conn, REVIEWS, run_id, "~:~", name, "cpu", "fp32")
    run_lock(other, "run-b")
    assert lost_runs(conn) == lost_runs(conn) == ["run-a"]
    assert mark_lost(conn, ["run-b"]) == []
    assert mark_lost(conn, ["run-a", "run-b"]) == ["run-a"]
    assert lost_runs(conn) == []

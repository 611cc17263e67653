"""One session at a time is at the indexes of a column; the others are told which."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw_lock import IndexBeingBuilt, building, check_nobody_builds
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import NOTES, NUMBERED, fetch


def test_the_second_is_refused_until_the_first_is_done(conn: connection, other_conn: connection) -> None:
    """With the program, the user and the process; another column is nobody's business."""
    check_nobody_builds(conn, NUMBERED)
    with building(other_conn, NUMBERED):
        who = f"of postgres, process {other_conn.info.backend_pid} of the server"
        with pytest.raises(IndexBeingBuilt, match=who):
            check_nobody_builds(conn, NUMBERED)
        with pytest.raises(IndexBeingBuilt, match=who):
            enter(conn, NUMBERED)
        enter(conn, NOTES)
    enter(conn, NUMBERED)


def test_the_lock_ends_with_its_connection(conn: connection, other_conn: connection) -> None:
    """A killed builder keeps nobody waiting, and an error on the way out hides nothing."""
    process = other_conn.info.backend_pid
    with building(other_conn, NUMBERED):
        other_conn.close()
    wait_until(lambda: not fetch(conn, "SELECT FROM pg_stat_activity WHERE pid = %(p)s", p=process), "it is gone")
    enter(conn, NUMBERED)


def test_a_failed_transaction_does_not_keep_the_lock(conn: connection) -> None:
    """In autocommit, as builds are."""
    conn.autocommit = True
    with pytest.raises(ZeroDivisionError), building(conn, NUMBERED):
        raise ZeroDivisionError
    check_nobody_builds(conn, NUMBERED)


def enter(conn: connection, column: TextColumn) -> None:
    """Have it for a moment."""
    with building(conn, column):
        pass

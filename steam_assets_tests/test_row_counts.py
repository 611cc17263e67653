"""Counting rows now and then: the last count is told with its age, and one that fails leaves it as it is."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.row_counts import REST, RowCounts
from steam_assets.store.database import connect as connect_to
from steam_assets.store.database import find_database
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import Connect, add_rows


def test_rows_are_counted_again_when_the_last_count_is_old(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Between two counts the old one is told, with its age; who asks often costs no more."""
    add_rows(conn, numbered, {1: "one"})
    seldom, often = RowCounts(connect, [numbered], every_s=3600), RowCounts(connect, [numbered], every_s=0)
    for counts in (seldom, often):
        assert counts.latest(30)[numbered].rows["missing"] == 1
    add_rows(conn, numbered, {2: "two"})
    wait_until(lambda: often.latest(30)[numbered].rows["missing"] == 2, "it is counted again", 30)

    before = seldom.latest(30)[numbered]
    assert before.rows["missing"] == 1
    age = before.age_s
    wait_until(lambda: before.age_s > age, "it grows older")


def test_a_count_that_fails_leaves_the_last_one(
    conn: connection, database_url: str, numbered: TextColumn, caplog: pytest.LogCaptureFixture
) -> None:
    """The server goes away between two counts: the old one is told with its age, and the log says why."""
    url = database_url
    counts = RowCounts(lambda: connect_to(find_database(url)), [numbered], every_s=0)
    before = counts.latest(30)[numbered]
    url = database_url.replace("/test_", "/no_such_test_")
    wait_until(lambda: counts.latest(30)[numbered] is before and bool(caplog.messages), "a count has failed", 30)
    assert caplog.messages[0].startswith("Rows were not counted: Cannot open database no_such_test_")


def test_counting_rests_longer_than_it_took(
    conn: connection, other_conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """A scan that takes long, here because of a lock, is not begun again at once, whatever was asked for."""
    add_rows(conn, numbered, {1: "one"})
    counts = RowCounts(connect, [numbered], every_s=0)
    with conn, conn.cursor() as cursor:
        cursor.execute("LOCK TABLE numbered IN ACCESS EXCLUSIVE MODE")
        assert counts.latest(1.0) == {}
    first = counts.latest(30)[numbered]
    add_rows(conn, numbered, {2: "two"})
    assert counts.latest(30)[numbered] is first
    assert first.age_s < REST * 1.0


def test_a_column_without_a_model_is_not_counted(connect: Connect, conn: connection, numbered: TextColumn) -> None:
    """Before `init` chose one there is no run that its rows could be embedded for."""
    other = TextColumn(table="numbered", id="id", text="body", vector="another_vector", run="another_run_id")
    assert set(RowCounts(connect, [other, numbered]).latest(30)) == {numbered}

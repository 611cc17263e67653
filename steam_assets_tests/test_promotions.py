"""What searches read is one column of a text, whoever moves it at the same time."""

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.store.promotions import (
    column_rows,
    follow,
    lock_columns,
    mark_undone,
    newest_promotion,
    record_promotion,
    serve,
    serving_columns,
)
from steam_assets_tests.rivals import BOTH, RIVAL, add_rival, make_rivals, runs_of
from steam_assets_tests.rows import NOTES, Connect, change_recipe

TITLES = TextColumn(table="notes", id="id", text="title", vector="title_vector", run="title_run", id_type="text")
GROUP = [column.vector for column in BOTH]


def test_one_statement_moves_searches_from_one_column_to_the_other(conn: connection) -> None:
    """The rival serves, the former serves nothing, and columns of other tables are not touched."""
    first, second = make_rivals(conn)
    before = column_rows(conn, REVIEWS, [REVIEWS])
    assert serving_columns(conn, BOTH) == [NOTES]
    with conn:
        serve(conn, RIVAL, RIVAL.vector, second, GROUP)
    assert serving_columns(conn, BOTH) == [RIVAL]
    assert (runs_of(conn, NOTES), runs_of(conn, RIVAL)) == ((first, None), (second, second))
    assert column_rows(conn, REVIEWS, [REVIEWS]) == before


def test_a_column_of_another_text_of_the_table_is_no_rival(conn: connection) -> None:
    """Titles are searched beside bodies; a vector column whose entry is gone may still serve, and counts."""
    make_rivals(conn)
    conn.cursor().execute("ALTER TABLE notes ADD COLUMN title text")
    add_rival(conn, TITLES, "titles")
    assert set(column_rows(conn, NOTES, (NOTES, RIVAL, TITLES))) == set(GROUP)
    assert set(column_rows(conn, NOTES, (NOTES, TITLES))) == set(GROUP)
    assert set(column_rows(conn, TITLES, (NOTES, RIVAL, TITLES))) == {TITLES.vector}


def test_a_column_follows_its_target_only_while_it_serves(conn: connection, connect: Connect) -> None:
    """Whoever looked before a promotion, and writes after it, changes nothing: else two columns would serve."""
    first, rival_run = make_rivals(conn)
    second = change_recipe(conn, NOTES, "second")
    other = connect()
    with other:
        serve(other, RIVAL, RIVAL.vector, rival_run, GROUP)
    other.close()
    with conn:
        assert not follow(conn, NOTES, first, second)
    assert serving_columns(conn, BOTH) == [RIVAL]


def test_a_column_follows_the_target_it_has_now(conn: connection) -> None:
    """One that was chosen after the caller looked is not complete because the former was."""
    first, _ = make_rivals(conn)
    second = change_recipe(conn, NOTES, "second")
    third = change_recipe(conn, NOTES, "third")
    with conn:
        assert not follow(conn, NOTES, first, second)
        assert follow(conn, NOTES, first, third)
    assert runs_of(conn, NOTES) == (third, third)


def test_two_who_move_searches_of_a_table_go_one_after_the_other(conn: connection, connect: Connect) -> None:
    """The second waits for the first one's transaction, and sees what it has done."""
    _, rival_run = make_rivals(conn)
    rows = lock_columns(conn, RIVAL, BOTH)
    other = connect()
    with other.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    other.commit()
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        lock_columns(other, NOTES, BOTH)
    other.rollback()
    serve(conn, RIVAL, RIVAL.vector, rival_run, list(rows))
    conn.commit()
    assert lock_columns(other, NOTES, BOTH)[RIVAL.vector].serving_run_id == rival_run
    other.close()


def test_a_promotion_is_on_record_from_the_first_to_its_undoing(conn: connection) -> None:
    """Where from, where to and when; the newest of the text's columns is found, and others are not."""
    first, rival_run = make_rivals(conn)
    rows = column_rows(conn, NOTES, BOTH)
    assert newest_promotion(conn, NOTES, GROUP) is None
    record_promotion(conn, NOTES, None, first)
    number = record_promotion(conn, RIVAL, rows[NOTES.vector], rival_run)
    found = newest_promotion(conn, NOTES, GROUP)
    assert found is not None
    assert (found.promotion_id, found.from_vector, found.from_run_id) == (number, NOTES.vector, first)
    assert (found.to_vector, found.to_run_id, found.undone_at) == (RIVAL.vector, rival_run, None)
    mark_undone(conn, number)
    undone = newest_promotion(conn, NOTES, GROUP)
    assert undone is not None
    assert undone.undone_at is not None
    earlier = newest_promotion(conn, NOTES, [NOTES.vector])
    assert earlier is not None
    assert (earlier.from_vector, earlier.to_run_id) == (None, first)
    assert newest_promotion(conn, REVIEWS, GROUP) is None

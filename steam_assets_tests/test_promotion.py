"""Searches move to another column of the same text when it is complete, at once and for everybody, and back again."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ, connection

from steam_assets.columns import TextColumn
from steam_assets.errors import EXIT_INCOMPLETE, EXIT_USAGE
from steam_assets.promotion import NotPromoted, NotReady, promote, undo_promotion, what_is_wrong
from steam_assets.store.drop_column import drop_column
from steam_assets.store.promotions import serving_columns
from steam_assets.store.runs import EmbeddingRun, column_runs, get_run, set_serving, set_target
from steam_assets.store.variants import nearest_exactly
from steam_assets.targets import follow_target, run_to_search
from steam_assets_tests.rivals import BOTH, RIVAL, TEXTS, add_rival, make_rivals, runs_of
from steam_assets_tests.rows import NOTES, Connect, add_rows, change_recipe, embed, execute, fetch, set_text

THIRD = replace(NOTES, vector="third_vector", run="third_vector_run_id")


def promoted(conn: connection, column: TextColumn, columns: tuple[TextColumn, ...] = BOTH) -> None:
    """Promote and commit."""
    with conn:
        promote(conn, column, columns)


def records(conn: connection) -> list[tuple[object, ...]]:
    """From where to where searches were moved, and whether that was undone."""
    return fetch(
        conn,
        """
        SELECT from_vector_column, from_run_id, to_vector_column, to_run_id, undone_at IS NOT NULL
        FROM embedding_promotions
        ORDER BY promotion_id
        """,
    )


def test_a_complete_column_is_promoted_and_the_promotion_undone(conn: connection) -> None:
    """Searches move there and back; both moves are one record, and neither touches a vector."""
    first, rival_run = make_rivals(conn)
    before = fetch(conn, "SELECT t::text FROM notes AS t ORDER BY id")
    with conn:
        done = promote(conn, RIVAL, BOTH)
    assert (done.column, done.run_id) == ("notes.rival_vector", rival_run)
    assert (done.former, done.former_run_id) == ("notes.body_vector", first)
    assert serving_columns(conn, BOTH) == [RIVAL]
    assert run_to_search(conn, RIVAL).notice is None
    assert records(conn) == [(NOTES.vector, first, RIVAL.vector, rival_run, False)]

    with conn:
        undone = undo_promotion(conn, RIVAL, BOTH)
    assert (undone.column, undone.run_id) == ("notes.body_vector", first)
    assert (undone.former, undone.former_run_id) == ("notes.rival_vector", rival_run)
    assert serving_columns(conn, BOTH) == [NOTES]
    assert records(conn) == [(NOTES.vector, first, RIVAL.vector, rival_run, True)]
    assert fetch(conn, "SELECT t::text FROM notes AS t ORDER BY id") == before


def test_a_promotion_without_an_index_says_how_to_build_one(conn: connection) -> None:
    """Searches compare every row meanwhile."""
    make_rivals(conn)
    assert "`steam-assets index build notes.rival_vector`" in (promote(conn, RIVAL, BOTH).notice or "")


def test_a_half_done_column_is_not_promoted(conn: connection) -> None:
    """It says what is pending and which command fills it; searches stay where they are, and nothing is on record."""
    make_rivals(conn, complete=False)
    with pytest.raises(NotReady, match=r"not ready .*\. 3 rows pending \(a, b, c\): `steam-assets embed") as no:
        promote(conn, RIVAL, BOTH)
    conn.rollback()
    assert no.value.exit_code == EXIT_INCOMPLETE
    assert (serving_columns(conn, BOTH), records(conn)) == ([NOTES], [])


def test_one_changed_text_keeps_a_column_from_being_promoted(conn: connection) -> None:
    """Its vector is of another text."""
    make_rivals(conn)
    set_text(conn, NOTES, "a", "an avocado")
    with pytest.raises(NotReady, match=r" 1 row pending \(a\): `steam-assets embed"):
        promote(conn, RIVAL, BOTH)


def test_a_few_failed_rows_are_forgiven_as_the_complete_check_forgives_them(conn: connection) -> None:
    """One in a thousand, and no more."""
    _, rival_run = make_rivals(conn, complete=False)
    fail = "INSERT INTO embedding_failures SELECT 'notes', 'rival_vector', %(run)s, id, md5(body)::uuid, 'failed', "
    execute(conn, fail + "'nobody knows' FROM notes WHERE id = 'a'", run=rival_run)
    embed(conn, RIVAL)
    run = get_run(conn, rival_run)
    assert what_is_wrong(conn, RIVAL, run) == (
        "1 row could not be embedded (a (nobody knows)): `steam-assets failures notes.rival_vector` lists them, "
        "`steam-assets retry --column notes.rival_vector` has them tried again."
    )
    add_rows(conn, NOTES, {f"n{number}": f"note {number}" for number in range(1_000)})
    embed(conn, RIVAL)
    assert what_is_wrong(conn, RIVAL, run) is None


def test_a_vector_of_another_dimension_or_run_keeps_a_column_from_being_promoted(conn: connection) -> None:
    """Searches would fail on the one, and mix with the other."""
    first, rival_run = make_rivals(conn)
    run = get_run(conn, rival_run)
    execute(conn, "ALTER TABLE notes ALTER COLUMN rival_vector TYPE vector")
    execute(conn, "UPDATE notes SET rival_vector = '[1, 0]' WHERE id = 'b'")
    wrong = what_is_wrong(conn, RIVAL, run) or ""
    assert "1 row with a vector of another dimension than the run's (b): set their rival_vector to NULL" in wrong
    assert "1 row with a vector of no run, of another run or of another dimension than its run's (b): " in wrong
    execute(conn, "UPDATE notes SET rival_vector_run_id = %(run)s", run=first)
    assert "3 rows pending" in (what_is_wrong(conn, RIVAL, run) or "")
    execute(conn, "ALTER TABLE notes DROP COLUMN rival_vector")
    assert what_is_wrong(conn, RIVAL, run) == "notes has no column rival_vector: `steam-assets init` adds it."


def test_the_column_that_is_searched_is_not_promoted_again(conn: connection) -> None:
    """Doing it twice changes nothing, and says so; nor is there anything to undo before the first time."""
    make_rivals(conn)
    with pytest.raises(NotPromoted, match=r"Searches read notes\.body_vector already") as no:
        promote(conn, NOTES, BOTH)
    assert no.value.exit_code == EXIT_USAGE
    with pytest.raises(NotPromoted, match="No column of notes was promoted: there is nothing to undo"):
        undo_promotion(conn, NOTES, BOTH)
    promoted(conn, RIVAL)
    with pytest.raises(NotPromoted, match=r"Searches read notes\.rival_vector already"):
        promote(conn, RIVAL, BOTH)
    conn.rollback()
    assert len(records(conn)) == 1


def test_a_promotion_is_undone_once(conn: connection) -> None:
    """The second time says when the first was, and how to move searches otherwise."""
    make_rivals(conn)
    promoted(conn, RIVAL)
    with conn:
        undo_promotion(conn, NOTES, BOTH)
    with pytest.raises(NotPromoted, match=r"The promotion of notes\.rival_vector on .* is undone already"):
        undo_promotion(conn, RIVAL, BOTH)
    conn.rollback()
    assert serving_columns(conn, BOTH) == [NOTES]


def test_a_promotion_stays_when_the_former_column_has_fallen_behind(conn: connection) -> None:
    """New rows without a vector would be lost to searches; filled again it can be undone."""
    first, _ = make_rivals(conn)
    promoted(conn, RIVAL)
    add_rows(conn, NOTES, {"d": "a drum"})
    with pytest.raises(NotReady, match=rf"not hold all vectors of run {first}\. 1 row pending \(d\): `steam-a"):
        undo_promotion(conn, RIVAL, BOTH)
    conn.rollback()
    assert serving_columns(conn, BOTH) == [RIVAL]
    embed(conn, NOTES)
    with conn:
        assert undo_promotion(conn, RIVAL, BOTH).run_id == first


def test_a_promotion_stays_when_the_former_vectors_are_of_another_run_by_now(conn: connection) -> None:
    """What they were before is gone; the column can still be promoted as it is now."""
    first, _ = make_rivals(conn)
    promoted(conn, RIVAL)
    second = change_recipe(conn, NOTES, "second")
    embed(conn, NOTES)
    with pytest.raises(
        NotReady, match=rf"of run {first}\. It is filled with run {second} by now, which `steam-assets promote"
    ):
        undo_promotion(conn, RIVAL, BOTH)
    conn.rollback()
    promoted(conn, NOTES)
    assert runs_of(conn, NOTES) == (second, second)


def test_a_promotion_stays_when_the_former_column_was_dropped(conn: connection) -> None:
    """Whether its entry is still there or not."""
    make_rivals(conn)
    promoted(conn, RIVAL)
    with conn:
        drop_column(conn, NOTES)
    for columns in (BOTH, (RIVAL,)):
        with pytest.raises(NotPromoted, match=r"stays: notes\.body_vector was dropped, or has left columns\.py"):
            undo_promotion(conn, RIVAL, columns)
    conn.rollback()
    assert serving_columns(conn, BOTH) == [RIVAL]


def test_a_newer_run_of_the_same_column_is_promoted_in_place(conn: connection) -> None:
    """As a run that ends does it by itself; the vectors of the former run are gone, so that is not undone."""
    first, _ = make_rivals(conn)
    second = change_recipe(conn, NOTES, "second")
    with pytest.raises(NotReady, match="3 rows pending"):
        promote(conn, NOTES, BOTH)
    embed(conn, NOTES)
    promoted(conn, NOTES)
    assert (runs_of(conn, NOTES), records(conn)) == (
        (second, second),
        [(NOTES.vector, first, NOTES.vector, second, False)],
    )
    with pytest.raises(NotReady, match=rf"does not hold all vectors of run {first}\. It is filled with run {second}"):
        undo_promotion(conn, NOTES, BOTH)


def test_a_complete_challenger_does_not_begin_to_serve_by_itself(conn: connection) -> None:
    """Only a person moves searches to it; once it serves, it follows its target as any other column."""
    make_rivals(conn)
    with conn:
        assert not follow_target(conn, RIVAL)
    assert serving_columns(conn, BOTH) == [NOTES]
    promoted(conn, RIVAL)
    second = change_recipe(conn, RIVAL, "another rival")
    embed(conn, RIVAL)
    with conn:
        assert follow_target(conn, RIVAL)
    assert runs_of(conn, RIVAL) == (second, second)


def test_a_column_is_promoted_where_nothing_is_searched(conn: connection) -> None:
    """There is nothing to go back to."""
    _, rival_run = make_rivals(conn)
    execute(conn, "UPDATE embedding_columns SET serving_run_id = NULL")
    with conn:
        assert promote(conn, RIVAL, BOTH).former is None
    assert records(conn) == [(None, None, RIVAL.vector, rival_run, False)]
    with pytest.raises(NotPromoted, match="stays: nothing was searched before it"):
        undo_promotion(conn, RIVAL, BOTH)


def test_a_former_column_without_an_entry_stops_serving(conn: connection) -> None:
    """It was taken out of columns.py while it served; put back later, it must not serve beside the other."""
    make_rivals(conn)
    promoted(conn, RIVAL, (RIVAL,))
    assert serving_columns(conn, BOTH) == [RIVAL]


def test_a_model_chosen_during_the_look_is_not_promoted(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found complete is not what the column is filled with by now."""
    make_rivals(conn)

    def look(conn: connection, column: TextColumn, run: EmbeddingRun) -> str | None:
        with closing(connect()) as other, other:
            set_target(other, RIVAL, runs_of(other, NOTES)[0] or 0)
        return what_is_wrong(conn, column, run)

    monkeypatch.setattr("steam_assets.promotion.what_is_wrong", look)
    with pytest.raises(NotPromoted, match=r"Another model was chosen for notes\.rival_vector meanwhile"):
        promote(conn, RIVAL, BOTH)


def test_many_promotions_at_once_leave_one_column_serving(conn: connection, connect: Connect) -> None:
    """Three columns, a thread each, and runs that end meanwhile: each promotion follows another, none is lost."""
    make_rivals(conn)
    add_rival(conn, THIRD, "third")
    embed(conn, THIRD)
    columns = (*BOTH, THIRD)
    start = threading.Barrier(len(columns) + 1)

    def keep_promoting(column: TextColumn) -> None:
        with closing(connect()) as own:
            start.wait(30)
            for _ in range(8):
                try:
                    promoted(own, column, columns)
                except NotPromoted:
                    own.rollback()

    def keep_following() -> None:
        with closing(connect()) as own:
            start.wait(30)
            for _ in range(8):
                for column in columns:
                    with own:
                        follow_target(own, column)

    in_threads(*(partial(keep_promoting, column) for column in columns), keep_following)
    (served,) = serving_columns(conn, columns)
    moves = [(origin, end) for origin, _, end, _, _ in records(conn)]
    assert [origin for origin, _ in moves] == [NOTES.vector, *(end for _, end in moves[:-1])]
    assert moves[-1][1] == served.vector


def test_searches_during_promotions_read_all_of_one_column(conn: connection, connect: Connect) -> None:
    """In one snapshot a search finds exactly one column that serves, and all rows of its run."""
    make_rivals(conn)
    found: list[tuple[list[TextColumn], int]] = []
    stop = threading.Event()

    def keep_searching() -> None:
        with closing(connect()) as own:
            own.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
            while not stop.is_set():
                with own, own.cursor() as cursor:
                    serving = serving_columns(own, BOTH)
                    hits = 0
                    for column in serving:
                        run = column_runs(own, column).serving
                        assert run is not None
                        cursor.execute(nearest_exactly(column, run.run_id, [1.0] * 8, 10))
                        hits += len(cursor.fetchall())
                    found.append((serving, hits))

    def keep_promoting() -> None:
        try:
            for _ in range(10):
                promoted(conn, RIVAL)
                with conn:
                    undo_promotion(conn, RIVAL, BOTH)
        finally:
            stop.set()

    in_threads(keep_searching, keep_promoting)
    rows = len(TEXTS) - 1
    assert {(tuple(serving), hits) for serving, hits in found} == {((NOTES,), rows), ((RIVAL,), rows)}


def in_threads(*work: Callable[[], None]) -> None:
    """Do all of it at the same time; the first error of any of it."""
    with ThreadPoolExecutor(len(work)) as threads:
        for part in [threads.submit(part) for part in work]:
            part.result(120)


def test_a_search_that_names_a_challenger_reads_its_target_and_says_so(conn: connection) -> None:
    """And the serving run of the others; of a column without either the message says what to run."""
    first, rival_run = make_rivals(conn)
    assert (run_to_search(conn, NOTES).run.run_id, run_to_search(conn, NOTES).notice) == (first, None)
    named = run_to_search(conn, RIVAL)
    assert named.run.run_id == rival_run
    assert "`steam-assets promote notes.rival_vector`" in (named.notice or "")
    execute(conn, sql.SQL("DELETE FROM embedding_columns WHERE vector_column = {}").format(sql.Literal(RIVAL.vector)))
    with pytest.raises(Exception, match=r"serves no run yet\. Run `steam-assets init`"):
        run_to_search(conn, RIVAL)


def test_a_promotion_leaves_one_column_serving_where_two_did(conn: connection) -> None:
    """As a database may be left by hand; the former goes on being filled, so that it can be gone back to."""
    first, _ = make_rivals(conn)
    promoted(conn, RIVAL)
    with conn:
        set_serving(conn, NOTES, first)
    newer = change_recipe(conn, RIVAL, "newer")
    embed(conn, RIVAL)
    promoted(conn, RIVAL)
    assert (runs_of(conn, NOTES), runs_of(conn, RIVAL)) == ((first, None), (newer, newer))

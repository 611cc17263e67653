"""A column is searched as people search it, and what that took and found is told."""

from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.evaluation.rankings import RunMoved
from steam_assets.evaluation.side import search_all
from steam_assets.promotion import promote
from steam_assets.search import Searcher, SearchResult
from steam_assets.store.runs import set_serving, set_target
from steam_assets.targets import run_to_search
from steam_assets_tests.compared import NUMBERS, load, make_compared
from steam_assets_tests.rows import Connect

TEXTS = ["note 3", "note 4", " "]


def silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


def test_each_text_is_searched_by_the_model_and_preparation_of_the_run(
    conn: connection, connect: Connect, home: Path
) -> None:
    """The note that says so comes first; a blank text finds nothing."""
    first, _ = make_compared(conn, home)
    told: list[tuple[str, int, int]] = []
    side = search_all(connect, first, TEXTS, load, lambda *about: told.append(about))
    assert [hits[:1] for hits in side.hits] == [("n3",), ("n4",), ()]
    assert [len(hits) for hits in side.hits] == [10, 10, 0]
    assert (side.column, side.model_name, side.preparation) == ("notes.body_vector", "hashes", "steam_html@1")
    assert (side.run_id, side.dimension, side.how) == (run_to_search(conn, first).run.run_id, 8, "exact")
    assert (side.costs.vectors, side.costs.index_bytes) == (len(NUMBERS), None)
    assert 0 < side.encoding.p50 <= side.encoding.p95
    assert 0 < side.searching.p50 <= side.searching.p95
    assert told[-1] == ("searches of notes.body_vector", 2, 3)


def test_a_column_that_does_not_serve_is_searched_in_its_target(conn: connection, connect: Connect, home: Path) -> None:
    """That is what a challenger is compared by; it says which of the two serves."""
    first, second = make_compared(conn, home)
    side = search_all(connect, second, TEXTS, load, silent)
    assert (side.serves, side.run_id, len(side.hits[0])) == (False, run_to_search(conn, second).run.run_id, 10)
    conn.rollback()
    with conn:
        promote(conn, second, (first, second))
    assert search_all(connect, second, TEXTS, load, silent).serves
    assert not search_all(connect, first, TEXTS, load, silent).serves


def test_a_column_that_is_moved_to_another_run_meanwhile_is_not_half_of_each(
    conn: connection, connect: Connect, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hits of two runs are no answer."""
    first, second = make_compared(conn, home)
    other = run_to_search(conn, second).run.run_id
    conn.rollback()
    really = Searcher.search_vector

    def search_and_move(*about: object, **more: object) -> SearchResult:
        found = really(*about, **more)  # type: ignore[arg-type]
        with conn:
            set_target(conn, first, other)
            set_serving(conn, first, other)
        return found

    monkeypatch.setattr(Searcher, "search_vector", search_and_move)
    with pytest.raises(RunMoved, match=rf"was searched in run \d+, and now in run {other}: another model"):
        search_all(connect, first, TEXTS, load, silent)

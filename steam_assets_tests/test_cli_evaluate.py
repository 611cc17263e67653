"""`steam-assets evaluate`: tables for people, JSON for scripts, a history, and clear words for what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.encoder.encoder import Encoder
from steam_assets.store.evaluations import newest_evaluations
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.known_pages import add_known_pages, serve_vectors
from steam_assets_tests.query_sets import QRELS, folder_of
from steam_assets_tests.rows import Connect, execute
from steam_assets_tests.taken_devices import devices_taken

Run = Callable[..., Ended]


@pytest.fixture
def pages(conn: connection, named_database: str, minilm_encoder: Encoder) -> connection:
    """Six known pages with MiniLM's vectors."""
    add_known_pages(conn)
    serve_vectors(conn, minilm_encoder)
    return conn


def test_known_items_are_evaluated_without_a_word_more(steam_assets: Run, pages: connection, home: Path) -> None:
    """The column that searches read, stored, with a picture where one is asked for."""
    ended = steam_assets("evaluate", "--plot", "scores.png")
    assert ended.code == 0, ended
    assert ended.out.startswith("applications.description_embedding, run 1 (sentence-transformers/all-MiniLM-L6-v2)")
    assert "known-items, exact; 6 queries among 6 documents" in ended.out
    assert ended.err == ""
    assert (home / "scores.png").read_bytes().startswith(b"\x89PNG")
    (found,) = newest_evaluations(pages, APPLICATIONS)
    assert (found.query_set, found.queries, found.dagster_run_id) == ("known-items", 6, None)

    history = steam_assets("evaluate", "--history")
    assert history.out.splitlines()[1].split("  ")[1].startswith("known-items ")
    (as_json,) = json.loads(steam_assets("evaluate", "applications", "--history", "--json").out)
    assert as_json["evaluation_id"] == found.evaluation_id


def test_ways_to_search_are_compared_with_exact_search(steam_assets: Run, pages: connection) -> None:
    """Each once, however often it is named."""
    ended = steam_assets("evaluate", "--how", "hybrid", "--how", "hybrid", "--sample", "4")
    assert ended.code == 0, ended
    assert ended.out.count("known-items-in-column, hybrid; 4 queries among the column's rows") == 1
    assert "hybrid against exact" in ended.out
    found = json.loads(steam_assets("evaluate", "--how", "hybrid", "--json").out)
    assert [(one["query_set"], one["how"], one["queries"]) for one in found] == [
        ("known-items-in-column", "exact", 6),
        ("known-items-in-column", "hybrid", 6),
    ]
    assert set(found[0]["metrics"]["mrr@10"]) == {"mean", "low", "high", "queries"}


def test_a_set_with_unknown_ids_is_refused_in_one_line(steam_assets: Run, pages: connection, home: Path) -> None:
    """With the option that scores the rest of it."""
    folder = folder_of(home, qrels=QRELS + "q1\td8\t1\n")
    said = one_line(steam_assets("evaluate", "--queries", str(folder)), 2)
    assert said.startswith("Error: qrels/test.tsv: 1 documents are not there: 'd8'. ")
    ended = steam_assets("evaluate", "--queries", str(folder), "--ignore-unknown")
    assert (ended.code, "farms, exact; 2 queries among 2 documents" in ended.out) == (0, True)


def test_who_waits_for_a_device_is_told_and_only_for_what_can_be_evaluated(
    steam_assets: Run, pages: connection, connect: Connect
) -> None:
    """An `embed` may have it for hours; a mistyped path is told before."""
    with devices_taken(connect, 30):
        assert "nowhere is not there" in one_line(steam_assets("evaluate", "--queries", "nowhere"), 2)
        assert "none/scores.png cannot be written" in one_line(steam_assets("evaluate", "--plot", "none/scores.png"), 2)
    with devices_taken(connect, 1) as name:
        ended = steam_assets("evaluate", "--sample", "1")
    assert ended.code == 0, ended
    assert f"Waiting for {name}. {name} is with " in ended.err


def test_scores_are_shown_before_they_are_stored(steam_assets: Run, pages: connection) -> None:
    """They took minutes, and a disk that is full or a connection that is lost must not cost them."""
    execute(pages, "ALTER TABLE embedding_evaluations ADD CHECK (queries < 0) NOT VALID")
    ended = steam_assets("evaluate", "--sample", "1", "--documents", "2")
    assert ended.code == 70
    assert "known-items, exact; 1 queries among 2 documents" in ended.out


REFUSED = {
    "--queries nowhere": "nowhere is not there; expected a folder or a zip",
    "reviews": "reviews.review_embedding serves no run yet",
    "reviews.nothing": "names 0 columns",
    "--how index": "Build one with `steam-assets index build applications.description_embedding`",
}


def test_what_cannot_be_evaluated_is_told_in_one_line(steam_assets: Run, pages: connection) -> None:
    """No traceback, and nothing is stored that was not measured."""
    for arguments, said in REFUSED.items():
        ended = steam_assets("evaluate", *arguments.split())
        assert ended.code == 2, arguments
        assert said in ended.err.splitlines()[-1]
        assert "Traceback" not in ended.err


def test_nothing_evaluated_yet_says_what_to_run(steam_assets: Run, pages: connection) -> None:
    """An empty history is an answer."""
    ended = steam_assets("evaluate", "--history")
    assert (ended.code, ended.out) == (0, "Nothing has been evaluated yet. Run `steam-assets evaluate`.\n")

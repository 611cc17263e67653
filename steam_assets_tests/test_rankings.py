"""What searches find for each query: every document compared in memory, or the rows that searches of a column give."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.steam_html import steam_html
from steam_assets.evaluation import rankings
from steam_assets.evaluation.metrics import DEPTH
from steam_assets.evaluation.rankings import (
    How,
    NotServed,
    Rankings,
    RunMoved,
    encode_all,
    nearest,
    rank_documents,
    rank_rows,
)
from steam_assets.evaluation.score import say_nothing
from steam_assets.search import Searcher
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.known_pages import add_pages, serve_another_run, serve_vectors
from steam_assets_tests.rows import Connect, execute, fetch


@pytest.fixture
def encoder(minilm: Model) -> Encoder:
    """Vectors by hash: equal texts are near, all others far."""
    return hash_encoder(minilm)


def rows_found(connect: Connect, encoder: Encoder, run_id: int, queries: Sequence[str], how: How = "exact") -> Rankings:
    """What searches of the applications find."""
    searcher = Searcher(connect, lambda model: encoder)
    return rank_rows(searcher, APPLICATIONS, run_id, queries, steam_html, encoder, how, say_nothing)


def test_the_nearest_documents_come_first(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sorting all cosines gives them, a hundred at most, however few are computed at once."""
    monkeypatch.setattr(rankings, "COSINES_AT_ONCE", 700)
    monkeypatch.setattr(rankings, "TEXTS_AT_ONCE", 64)
    corpus = {f"d{n}": f"<b>text</b> {n}" for n in range(300)}
    queries = ["text 7", "text 250", "something else"]
    told: list[tuple[str, int, int]] = []
    found = rank_documents(corpus, queries, steam_html, encoder, lambda *one: told.append(one))
    vectors = encoder.encode([f"text {n}" for n in range(300)])
    for query, hits in zip(queries, found.found, strict=True):
        cosines = vectors @ encoder.encode([query])[0]
        assert hits == tuple(f"d{n}" for n in np.argsort(-cosines, kind="stable")[:DEPTH])
    assert (found.found[0][0], found.found[1][0], found.notices) == ("d7", "d250", ())
    assert [one for one in told if one[0] == "documents"] == [
        ("documents", min(n, 300), 300) for n in range(64, 321, 64)
    ]


def test_blank_documents_are_never_found_and_blank_queries_find_nothing(encoder: Encoder) -> None:
    """Once prepared: a tag alone is nothing to read."""
    found = rank_documents({"a": "<br>", "b": "text"}, ["text", "<i></i>"], steam_html, encoder, say_nothing)
    assert found.found == (("b",), ())
    assert found.notices == ("1 queries are blank once prepared, and find nothing.",)
    assert rank_documents({"a": " "}, ["text"], steam_html, encoder, say_nothing).found == ((),)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=1, max_size=4), st.integers(0, 9))
def test_the_highest_values_come_highest_first(rows: list[list[int]], k: int) -> None:
    """As sorting gives them, whatever ties there are."""
    cosines = np.array(rows, dtype=np.float32)
    found = nearest(cosines, k)
    assert found.shape == (len(rows), min(k, 7))
    for row, places in zip(rows, found.tolist(), strict=True):
        assert len(set(places)) == len(places)
        assert [row[place] for place in places] == sorted(row, reverse=True)[:k]
        assert all(row[a] > row[b] or a < b for a, b in pairwise(places))


def test_vectors_come_in_the_order_of_the_texts(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are encoded at once."""
    texts = [f"text {n}" for n in range(10)]
    monkeypatch.setattr(rankings, "TEXTS_AT_ONCE", 3)
    assert np.array_equal(encode_all(encoder, texts, "texts", say_nothing), encoder.encode(texts))
    assert encode_all(encoder, [], "texts", say_nothing).shape == (0, 384)


def test_rows_are_found_as_documents_are(conn: connection, connect: Connect, encoder: Encoder) -> None:
    """Exact search in the database and in memory agree, to the hundredth hit."""
    add_pages(conn, [(f"Game {n}", f"plays like number {n}", None) for n in range(150)])
    run_id = serve_vectors(conn, encoder)
    texts = {str(appid): str(text) for appid, text in fetch(conn, "SELECT appid, combined_text FROM applications")}
    queries = [texts["10"], "somewhere <b>else</b>", "<br>"]
    found = rows_found(connect, encoder, run_id, queries)
    assert found.found == rank_documents(texts, queries, steam_html, encoder, say_nothing).found
    assert [len(hits) for hits in found.found] == [DEPTH, DEPTH, 0]
    assert found.found[0][0] == "10"


def test_hybrid_search_finds_by_words_too(conn: connection, connect: Connect, encoder: Encoder) -> None:
    """Hashes know nothing of meaning; the page with the word comes first. A query is encoded to be searched only."""
    add_pages(conn, [(f"Game {n}", "a quiet walk" if n != 70 else "a loud locomotive", None) for n in range(150)])
    run_id = serve_vectors(conn, encoder)
    (exact,) = rows_found(connect, encoder, run_id, ["locomotive"]).found
    before = encoder.work
    (hybrid,) = rows_found(connect, encoder, run_id, ["locomotive"], "hybrid").found
    assert encoder.work.since(before).tokens == 2  # once for ten hits, once for a hundred
    assert exact[0] != "710"
    assert "710" in hybrid[:5]


def test_an_index_that_is_not_there_is_not_evaluated(conn: connection, connect: Connect, encoder: Encoder) -> None:
    """Exact search would pass for it, and look perfect; the message says how to build one, or why it is gone."""
    add_pages(conn, [("Game", "plays well", None)])
    run_id = serve_vectors(conn, encoder)
    with pytest.raises(NotServed, match=r"searched without an index\. Build one with `steam-assets index build appl"):
        rows_found(connect, encoder, run_id, ["x"], "index")
    execute(conn, "CREATE INDEX near ON applications USING hnsw (description_embedding vector_cosine_ops)")
    drop_for_bulk(conn, APPLICATIONS, "a-run")
    with pytest.raises(NotServed, match=r"without an index \(exact scan of every row: near was dropped for bulk work"):
        rows_found(connect, encoder, run_id, ["x"], "index")


def test_a_run_that_is_promoted_meanwhile_ends_the_evaluation(
    conn: connection, connect: Connect, encoder: Encoder
) -> None:
    """Half of the queries would be answered by another model."""
    add_pages(conn, [("Game", "plays well", None)])
    run_id = serve_vectors(conn, encoder)

    def promote(what: str, done: int, total: int) -> None:
        if (what, done) == ("searches", 1):
            execute(conn, "UPDATE embedding_runs SET recipe_digest = 'another', recipe = recipe || '{\"a\": 1}'")
            serve_another_run(conn, encoder)

    searcher = Searcher(connect, lambda model: encoder)
    with pytest.raises(RunMoved, match=f"was searched in run {run_id}, and now in run {run_id + 1}: another model"):
        rank_rows(searcher, APPLICATIONS, run_id, ["x", "y"], steam_html, encoder, "exact", promote)

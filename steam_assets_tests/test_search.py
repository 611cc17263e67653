"""Searching by meaning: one run, its own model, and honest about what is left out."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model, find_model
from steam_assets.errors import SteamAssetsError
from steam_assets.search import (
    Group,
    NoSuchRow,
    NothingServed,
    Searcher,
    SearchError,
    SearchResult,
    SearchTimeout,
    open_searcher,
    searcher,
)
from steam_assets.search.question import LONGEST_QUERY, MOST_HITS
from steam_assets.store.database import connect, find_database
from steam_assets.store.runs import column_runs, set_serving, set_target
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets.targets import ModelUnavailable, run_of_model
from steam_assets_tests.games import REVIEWED, add_games, add_index, fill, fill_games, text_of
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import execute, fetch

TEXTS = {
    "cozy": "A relaxing farming game to play with friends: plant <b>crops</b>,\n milk cows.",
    "scary": "Terrifying horror in an abandoned hospital full of ghosts.",
    "trains": "Lay tracks, run locomotives and manage a railway company.",
}


@pytest.fixture
def opened(database_url: str) -> Callable[[], connection]:
    """Connections as the commands open them."""
    return lambda: connect(find_database(database_url))


@pytest.fixture
def searches(opened: Callable[[], connection], minilm_encoder: Encoder) -> Searcher:
    """A searcher with the packaged model."""
    return Searcher(opened, lambda model: minilm_encoder)


@pytest.fixture
def reviews(conn: connection, minilm: Model, minilm_encoder: Encoder) -> TextColumn:
    """Three reviews with MiniLM's vectors."""
    execute(conn, "INSERT INTO applications (appid, name) VALUES (1, 'Lantern Valley')")
    for id_, text in TEXTS.items():
        insert = "INSERT INTO reviews (recommendationid, appid, review_text) VALUES (%(id)s, 1, %(text)s)"
        execute(conn, insert, id=id_, text=text)
    fill(conn, REVIEWS, minilm, minilm_encoder)
    return REVIEWS


@pytest.fixture
def games(conn: connection, minilm: Model, opened: Callable[[], connection]) -> Searcher:
    """Four store pages and their reviews, embedded by a hash, and a searcher for them."""
    fill_games(conn, minilm)
    return Searcher(opened, hash_encoder)


def only(results: Sequence[SearchResult]) -> SearchResult:
    """The result of the only column."""
    (result,) = results
    return result


def ids(result: SearchResult) -> list[str]:
    """The ids of the hits in their order."""
    return [hit.id for hit in result.hits]


def test_the_nearest_in_meaning_comes_first(
    reviews: TextColumn, searches: Searcher, minilm: Model, minilm_encoder: Encoder
) -> None:
    """With its cosine, a line of its text without markup, and the game it is about."""
    found = only(searches.search("cozy farm life", k=2, per_group=None))
    assert (found.column, found.model_name, found.left_out, found.how) == (str(reviews), minilm.name, 0, "exact")
    assert ids(found) == ["cozy", "trains"] or ids(found) == ["cozy", "scary"]
    assert found.hits[0].text == "A relaxing farming game to play with friends: plant crops, milk cows."
    assert found.hits[0].score == found.hits[0].cosine
    expected = minilm_encoder.encode(["cozy farm life", TEXTS["cozy"]])
    assert found.hits[0].cosine == pytest.approx(float(expected[0] @ expected[1]), abs=1e-5)
    grouped = only(searches.search("cozy farm life"))
    assert {hit.group for hit in grouped.hits} == {Group("1", "Lantern Valley")}
    assert found.notice is None


def test_every_column_that_serves_is_searched(games: Searcher, conn: connection) -> None:
    """In the order of columns.py; a challenger that serves nothing is searched when it is named."""
    assert [result.column for result in games.search("turnips")] == [str(column) for column in COLUMNS]
    assert list(games.serving()) == list(COLUMNS)
    execute(conn, "UPDATE embedding_columns SET serving_run_id = NULL WHERE table_name = 'applications'")
    assert [result.column for result in games.search("turnips")] == [str(REVIEWS)]
    named = only(games.search("turnips", column=APPLICATIONS))
    assert "it serves no searches until `steam-assets promote" in (named.notice or "")
    assert len(named.hits) == 4


def test_hits_have_titles_and_groups(games: Searcher, conn: connection) -> None:
    """A page is called by its name, which is not repeated; reviews stand below their game, three at most."""
    (hit, *_) = only(games.search(text_of(conn, APPLICATIONS, "10"), column=APPLICATIONS)).hits
    assert (hit.id, hit.title, hit.text, hit.group) == ("10", "Lantern Valley", "Plant turnips with friends.", None)
    found = only(games.search("Signals are hard.", column=REVIEWS, k=2))
    assert (found.hits[0].id, found.hits[0].group) == ("r7", Group("30", "Iron Tracks"))
    groups = [hit.group for hit in found.hits]
    assert len(set(groups)) == 2
    assert max(map(groups.count, groups)) <= 3


def test_a_search_that_has_nothing_to_read_says_what_to_run(opened: Callable[[], connection], conn: connection) -> None:
    """No model was chosen yet."""
    nothing = Searcher(opened, hash_encoder)
    with pytest.raises(NothingServed, match=r"serves no run yet\. Run `steam-assets init`"):
        nothing.search("farm")
    with pytest.raises(SteamAssetsError, match=r"serves no run yet\. Run `steam-assets init`"):
        nothing.search("farm", column=REVIEWS)
    with pytest.raises(SteamAssetsError, match=r"serves no run yet\. Run `steam-assets init`"):
        nothing.like("1", column=REVIEWS)


def test_a_search_of_which_nothing_is_left_is_refused(games: Searcher) -> None:
    """Without its markup it is blank, and its vector would be near nothing in particular."""
    for text in ("<br><br>", "&nbsp;"):
        with pytest.raises(SearchError, match="blank; expected some words"):
            games.search(text, column=APPLICATIONS)


FILLED_ANEW = "being filled with another run: rows that have its vectors are left out"
MANY_REVIEWS = """
    INSERT INTO reviews (recommendationid, appid, review_text)
    SELECT 'many ' || n, 10, '' FROM generate_series(1, 100000) AS n
"""

WORDS = {
    "scripts": "农场 🎮 ферма",
    "escape": "\x1b[31m'; DROP TABLE reviews; --",
    "markup": "<script>alert(1)</script> x",
    "nul": "a\0b",
    "placeholders": "%s %(x)s {x} \\",
    "direction": "\u202ex",
    "megabyte": "x" * 1_000_000,
}


def test_any_words_are_answered(games: Searcher, conn: connection) -> None:
    """Hostile, enormous or of any script: a search is a search."""
    for text in WORDS.values():
        for hybrid in (False, True):
            assert all(result.hits for result in games.search(text, hybrid=hybrid, k=3)), text[:40]
    assert fetch(conn, "SELECT count(*) FROM reviews") == [(len(REVIEWED),)]


def test_what_is_no_text_is_refused(games: Searcher) -> None:
    """Bytes that a shell handed on, and more than anybody reads."""
    with pytest.raises(SearchError, match="search text holds bytes that are not UTF-8"):
        games.search("a \udcff")
    with pytest.raises(SearchError, match="filter holds bytes that are not UTF-8"):
        games.search("a", where="genre = \udcff")
    with pytest.raises(SearchError, match="id holds bytes that are not UTF-8"):
        games.like("\udcff", column=REVIEWS)
    with pytest.raises(SearchError, match="expected at most 2,000,000"):
        games.search("x" * (LONGEST_QUERY + 1))


def test_the_number_of_hits_has_bounds(games: Searcher) -> None:
    """The error names them."""
    for k in (0, -1, 1_001, 10_000_000):
        with pytest.raises(SearchError, match="expected 1 to 1,000"):
            games.search("x", k=k)
        with pytest.raises(SearchError, match="expected 1 to 1,000"):
            games.like("r1", column=REVIEWS, k=k)
    assert len(only(games.search("x", column=REVIEWS, k=MOST_HITS, per_group=None)).hits) == len(REVIEWED)


def test_a_text_that_the_model_does_not_read_to_its_end_is_said_to_be_cut(
    searches: Searcher, reviews: TextColumn
) -> None:
    """What stands behind the model's maximum finds nothing."""
    found = only(searches.search("farm " * 200_000, column=reviews))
    assert found.notice == "the model reads the first 256 tokens of the search text, which has more"
    assert only(searches.search("farm " * 200, column=reviews)).notice is None


def test_games_like_one_are_found_by_its_vector(games: Searcher) -> None:
    """Itself left out, and everything else as in any search."""
    found = games.like(10, column=APPLICATIONS, k=2)
    assert len(found.hits) == 2
    assert "10" not in ids(found)
    assert ids(games.like("10", column=APPLICATIONS, k=10)) == ids(found) + sorted(
        {"20", "30", "40"} - set(ids(found)), key=int
    )
    assert ids(games.like(" 010 ", column=APPLICATIONS, k=2)) == ids(found)
    assert ids(games.like("10", column=APPLICATIONS, where="type = music")) == ["40"]
    reviews = games.like("r7", column=REVIEWS, k=10)
    assert "r7" not in ids(reviews)
    assert "r6" in ids(reviews)


def test_a_row_that_has_no_vector_has_no_neighbours(games: Searcher, conn: connection) -> None:
    """It is not there, or not embedded, or no id at all."""
    execute(conn, "UPDATE applications SET description_embedding = NULL, embedding_run_id = NULL WHERE appid = 20")
    for row_id in ("20", "21", "ten", "10; DROP TABLE reviews", "", "9" * 30):
        with pytest.raises(NoSuchRow, match=r"has no row .* with a vector of run .*`steam-assets status`"):
            games.like(row_id, column=APPLICATIONS)
    with pytest.raises(NoSuchRow):
        games.like("r1\0", column=REVIEWS)


def test_the_only_row_has_no_neighbours_and_that_is_said(games: Searcher, conn: connection) -> None:
    """No hits, and why."""
    execute(conn, "DELETE FROM applications WHERE appid <> 10")
    alone = games.like("10", column=APPLICATIONS)
    assert (alone.hits, alone.notice) == ([], "nothing else is embedded yet")
    filtered = only(games.search("x", column=APPLICATIONS, where="type = music"))
    assert (filtered.hits, filtered.notice) == ([], "no embedded row fits the filter")


def test_a_filter_leaves_what_fits(games: Searcher) -> None:
    """As many as there are; a wrong one is a wrong question, with the place of the fault."""
    assert set(ids(only(games.search("x", column=APPLICATIONS, where="genre = simulation")))) == {"10", "30"}
    assert set(ids(only(games.search("x", column=REVIEWS, where="not voted_up")))) == {"r3", "r7"}
    assert len(only(games.search("x", column=APPLICATIONS, where="  ")).hits) == 4
    with pytest.raises(SearchError, match=r"wrong at character 8, 'game': expected a year"):
        games.search("x", where="year = game")
    with pytest.raises(SearchError, match="applications has no voted_up"):
        games.search("x", where="voted_up")


def test_a_hybrid_search_finds_names(games: Searcher) -> None:
    """Which say nothing of the meaning."""
    found = only(games.search("turnips", column=REVIEWS, hybrid=True, per_group=None))
    assert found.hits[0].id == "r3"
    assert found.how == "exact + full text"
    assert found.hits[0].score > found.hits[1].score > 0
    assert -1 <= found.hits[0].cosine < 0.9


def test_a_vector_of_one_s_own_is_searched_for(games: Searcher, conn: connection, minilm: Model) -> None:
    """One that cannot be compared is refused."""
    vector = hash_encoder(minilm).encode([text_of(conn, REVIEWS, "r6")])[0].tolist()
    assert ids(games.search_vector(vector, column=REVIEWS, k=3))[0] == "r6"
    for wrong, what in (
        (vector[:-1], "383 numbers; expected 384"),
        ([*vector[:-1], float("nan")], "no direction"),
        ([0.0] * 384, "no direction"),
        ([], "0 numbers"),
    ):
        with pytest.raises(SearchError, match=what):
            games.search_vector(wrong, column=REVIEWS)


def test_a_search_without_its_runs_model_is_refused_with_both_names(
    conn: connection, reviews: TextColumn, searches: Searcher, bge_shaped: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of one model are never looked up among the vectors of another."""
    with conn:
        set_serving(conn, reviews, run_of_model(conn, reviews, bge_shaped))
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "all-MiniLM-L6-v2")
    with pytest.raises(
        ModelUnavailable, match=r"the model bge-shaped, which cannot be had here: all-MiniLM-L6-v2 is an"
    ):
        searches.search("farm")


def test_a_query_is_prepared_as_the_texts_of_its_run_were(games: Searcher, conn: connection) -> None:
    """Markup in the words finds what is marked up in the texts, whatever columns.py says by now."""
    text = text_of(conn, APPLICATIONS, "10")
    for column in (APPLICATIONS, replace(APPLICATIONS, preparation="plain")):
        found = only(games.search(f"<h1>{text}</h1>", column=column))
        assert found.hits[0].cosine == pytest.approx(1, abs=1e-5)


class Promoting:
    """An encoder during whose work another run is promoted."""

    def __init__(self, encoder: Encoder, promote: Callable[[], None]) -> None:
        self.model = encoder.model
        self.count_tokens = encoder.count_tokens
        self._encoder = encoder
        self._promote = promote

    def encode(self, texts: Sequence[str]) -> Vectors:
        """The vectors, when searches read another run already."""
        self._promote()
        return self._encoder.encode(texts)


def test_a_run_that_is_promoted_while_the_query_is_encoded_is_the_one_that_is_searched(
    conn: connection,
    opened: Callable[[], connection],
    minilm: Model,
    another_minilm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its own model: a query of the first is never compared with vectors of the second."""
    monkeypatch.setenv("STEAM_ASSETS_MODEL", str(another_minilm))
    add_games(conn)
    fill(conn, REVIEWS, minilm)
    with conn:
        second = run_of_model(conn, REVIEWS, find_model(str(another_minilm)))
    execute(conn, "UPDATE reviews SET embedding_run_id = %(run)s WHERE appid = 30", run=second)
    asked: list[int] = []

    def promote() -> None:
        with closing(opened()) as other, other:
            set_serving(other, REVIEWS, second)

    def load(model: Model) -> Promoting:
        asked.append(model.max_seq_length)
        return Promoting(hash_encoder(model), promote)

    found = only(Searcher(opened, load).search("x", column=REVIEWS))
    assert (found.run_id, asked) == (second, [256, 64])
    assert set(ids(found)) == {"r6", "r7"}
    assert found.left_out == len(REVIEWED) - 2


def test_a_model_is_loaded_once(conn: connection, opened: Callable[[], connection], minilm: Model) -> None:
    """However many searches there are, and however many columns it filled."""
    fill_games(conn, minilm)
    loaded: list[str] = []

    def load(model: Model) -> Encoder:
        loaded.append(model.name)
        return hash_encoder(model)

    many = Searcher(opened, load)
    for _ in range(3):
        many.search("x")
    assert loaded == [minilm.name]


def test_a_search_goes_through_the_index_unless_it_is_asked_not_to(
    games: Searcher, conn: connection, minilm: Model
) -> None:
    """The same hits either way; `how` says which."""
    serving = column_runs(conn, REVIEWS).serving
    assert serving is not None
    conn.rollback()
    add_index(conn, REVIEWS, serving.run_id, minilm.dimension)
    text = "Signals are hard."
    through = only(games.search(text, column=REVIEWS, k=3, per_group=None))
    exact = only(games.search(text, column=REVIEWS, k=3, per_group=None, exact=True))
    assert (through.how, exact.how) == ("hnsw halfvec", "exact")
    assert through.hits == exact.hits
    assert through.notice is exact.notice is None
    hybrid = only(games.search(text, column=REVIEWS, k=3, hybrid=True))
    assert hybrid.how == "exact + full text"  # a hundred rows of either ranking are fused, and there are eight


def test_a_search_says_that_it_scans_because_the_index_was_dropped(conn: connection, games: Searcher) -> None:
    """It finds the same rows, and the person who wonders why it takes longer learns how to build the index again."""
    execute(conn, "CREATE INDEX near ON reviews USING hnsw (review_embedding vector_cosine_ops)")
    before = only(games.search("carrots", column=REVIEWS))
    assert before.notice is None

    drop_for_bulk(conn, REVIEWS, "a-run")
    after = only(games.search("carrots", column=REVIEWS))
    assert after.hits == before.hits
    assert "near was dropped for bulk work" in (after.notice or "")
    assert only(games.search("carrots", column=REVIEWS, exact=True)).notice is None


def test_a_count_of_left_out_rows_that_takes_long_holds_no_search_up(
    games: Searcher, conn: connection, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is answered without it, and says so where the column is being filled anew."""
    monkeypatch.setattr(searcher, "LEFT_OUT_WITHIN_S", 0.001)
    execute(conn, MANY_REVIEWS)
    found = only(games.search("x", column=REVIEWS, per_group=None, k=5))
    assert (len(found.hits), found.left_out, FILLED_ANEW in (found.notice or "")) == (5, None, False)

    set_target(conn, REVIEWS, run_of_model(conn, REVIEWS, replace(minilm, max_seq_length=64)))
    conn.commit()
    monkeypatch.setattr(searcher, "LEFT_OUT_KNOWN_S", -1.0)
    found = only(games.search("x", column=REVIEWS))
    assert (found.left_out, FILLED_ANEW in (found.notice or "")) == (None, True)


def test_a_title_of_nothing_is_none(games: Searcher, conn: connection) -> None:
    """The text stands in its place."""
    execute(conn, "UPDATE applications SET name = E' \\t ' WHERE appid = 10")
    hits = only(games.search("x", column=APPLICATIONS)).hits
    assert [hit.title for hit in hits if hit.id == "10"] == [None]
    groups = [hit.group for hit in only(games.search("x", column=REVIEWS)).hits if hit.group]
    assert {group.name for group in groups if group.id == "10"} == {None}


def test_a_half_done_column_is_searched_as_far_as_it_is(games: Searcher, conn: connection, minilm: Model) -> None:
    """Rows of the next recipe are left out and counted; the count is believed for a while."""
    second = run_of_model(conn, REVIEWS, replace(minilm, max_seq_length=64))
    conn.commit()
    execute(conn, "UPDATE reviews SET embedding_run_id = %(run)s WHERE appid = 10", run=second)
    found = only(games.search("x", column=REVIEWS, per_group=None))
    assert (len(found.hits), found.left_out) == (len(REVIEWED) - 4, 4)
    execute(conn, "UPDATE reviews SET embedding_run_id = %(run)s WHERE appid = 20", run=second)
    assert only(games.search("x", column=REVIEWS)).left_out == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searcher, "LEFT_OUT_KNOWN_S", -1.0)
        assert only(games.search("x", column=REVIEWS)).left_out == 5


def test_a_search_that_takes_too_long_ends_with_a_way_out(
    conn: connection, minilm: Model, opened: Callable[[], connection]
) -> None:
    """Here because somebody holds the table."""
    fill_games(conn, minilm)
    hasty = Searcher(opened, hash_encoder, timeout_s=0.2)
    with conn.cursor() as cursor:
        cursor.execute("LOCK TABLE reviews")
        with pytest.raises(SearchTimeout, match=r"statement timeout\. Build an index with `steam-assets index build"):
            hasty.search("x", column=REVIEWS)
    conn.rollback()
    assert hasty.search("x", column=REVIEWS)


def test_a_connection_is_given_back_whatever_happens(
    conn: connection, minilm: Model, opened: Callable[[], connection]
) -> None:
    """Each search closes what it opened, an answer or not."""
    fill_games(conn, minilm)
    given: list[connection] = []

    def lend() -> connection:
        given.append(opened())
        return given[-1]

    lender = Searcher(lend, hash_encoder)
    lender.search("x")
    lender.like("10", column=APPLICATIONS)
    with pytest.raises(SearchError):
        lender.search("x", where="nonsense")
    with pytest.raises(NoSuchRow):
        lender.like("11", column=APPLICATIONS)
    assert len(given) >= 6
    assert all(connection.closed for connection in given)


def test_a_notebook_needs_one_call(reviews: TextColumn, named_database: str) -> None:
    """Database and model are what the environment names."""
    assert only(open_searcher().search("cozy farm life")).hits[0].id == "cozy"


def test_titles_and_names_are_harmless_to_a_terminal(games: Searcher, conn: connection) -> None:
    """A game may be called anything."""
    execute(conn, "UPDATE applications SET name = E'Evil\\x1b[2J\\nGame'")
    (hit, *_) = only(games.search("x", column=APPLICATIONS)).hits
    assert hit.title == "Evil [2J Game"
    (review, *_) = only(games.search("x", column=REVIEWS)).hits
    assert review.group is not None
    assert review.group.name == "Evil [2J Game"

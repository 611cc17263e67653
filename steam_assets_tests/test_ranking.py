"""Which rows answer, in which order: fused with words where asked, and grouped by game."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.encoder.models import Model
from steam_assets.search import ranking
from steam_assets.search.question import Question
from steam_assets.search.ranking import FUSION_RANK, RankedRow, Ranking, fuse, group_rows, rank
from steam_assets.store.search import snapshot
from steam_assets_tests.games import REVIEWED, fill_games, text_of
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import execute


def test_ranks_are_fused_by_the_sum_of_their_reciprocals() -> None:
    """A row that is second in both comes before one that is first in one: 2/62 > 1/61."""
    fused = fuse([["a", "b", "c"], ["d", "b"]])
    assert list(fused) == ["b", "a", "d", "c"]
    assert fused["b"] == pytest.approx(2 / (FUSION_RANK + 2))
    assert fused["a"] == fused["d"] == 1 / (FUSION_RANK + 1)
    assert fuse([["a", "b"], []]) == {"a": 1 / 61, "b": 1 / 62}
    assert fuse([[], []]) == {}


def row(name: str, score: float) -> RankedRow:
    """A row with a score."""
    return RankedRow(name, score, score)


def test_rows_of_a_group_stand_together_that_of_the_best_row_first() -> None:
    """The best few of each; a group that is one too many is left out, and rows of the others behind it are not."""
    rows = [row("a1", 0.9), row("b1", 0.8), row("c1", 0.7), row("a2", 0.6), row("a3", 0.5), row("b2", 0.4)]
    found = group_rows(rows, {name.id: name.id[0] for name in rows}, groups=2, per_group=2)
    assert [(kept.id, kept.group) for kept in found] == [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")]
    assert group_rows([], {}, 3, 3) == []


@pytest.fixture
def games(conn: connection, minilm: Model) -> connection:
    """Four store pages and their reviews, embedded."""
    fill_games(conn, minilm)
    return conn


def ranked(conn: connection, model: Model, question: Question, text: str, words: str | None = None) -> Ranking:
    """Reviews that answer a question."""
    vector = hash_encoder(model).encode([text])[0].tolist()
    with conn, conn.cursor() as cursor:
        cursor.execute("SELECT serving_run_id FROM embedding_columns WHERE table_name = 'reviews'")
        ((run_id,),) = cursor.fetchall()
    with snapshot(conn):
        return rank(conn, REVIEWS, run_id, vector, question, words)


def test_without_groups_there_are_as_many_rows_as_were_asked_for(games: connection, minilm: Model) -> None:
    """Of whatever games."""
    found = ranked(games, minilm, Question(k=5), "Signals are hard.")
    assert (len(found.rows), found.rows[0].id, found.how) == (5, "r7", "exact")
    assert {row.group for row in found.rows} == {None}
    assert len(ranked(games, minilm, Question(k=1000), "x").rows) == len(REVIEWED)


def test_reviews_are_those_of_as_many_games_as_were_asked_for(games: connection, minilm: Model) -> None:
    """Of the best game first, three of each at most."""
    found = ranked(games, minilm, Question(k=3, per_group=3), "Signals are hard.")
    groups = [row.group for row in found.rows]
    assert len(set(groups)) == 3
    assert groups[0] == "30"
    assert groups == sorted(groups, key=groups.index)
    assert max(map(groups.count, groups)) <= 3
    everything = ranked(games, minilm, Question(k=10, per_group=3), "x")
    assert sorted(row.group or "" for row in everything.rows) == ["10"] * 3 + ["20"] + ["30"] * 2 + ["40"]


def test_a_game_with_nearly_all_reviews_does_not_hide_the_others(
    games: connection, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are looked through until there are games enough, up to a limit."""
    execute(games, "UPDATE reviews SET appid = 10 WHERE recommendationid <> 'r8'")
    monkeypatch.setattr(ranking, "ROWS_FOR_A_GROUP", 1)
    far = next(text for _, _, _, _, text in REVIEWED if text.startswith("I planted"))
    found = ranked(games, minilm, Question(k=2, per_group=1), far)
    assert {row.group for row in found.rows} == {"10", "40"}
    monkeypatch.setattr(ranking, "MOST_ROWS", 2)
    assert len(ranked(games, minilm, Question(k=2, per_group=1), far).rows) <= 2


def test_a_hybrid_search_finds_rows_by_either(games: connection, minilm: Model) -> None:
    """What has the word and what has the meaning come first, what has both before them."""
    found = ranked(games, minilm, Question(k=3, hybrid=True), "Signals are hard.", words="turnips")
    assert {row.id for row in found.rows[:2]} == {"r7", "r3"}
    assert found.how == "exact + full text"
    assert found.rows[0].score == pytest.approx(1 / 61 + 1 / 68, abs=0.002)
    both = ranked(games, minilm, Question(k=3, hybrid=True), "Signals are hard.", words="signals")
    assert both.rows[0].id == "r7"
    assert both.rows[0].cosine == pytest.approx(1, abs=1e-5)
    assert both.rows[0].score == pytest.approx(2 / 61)
    nothing = ranked(games, minilm, Question(k=3, hybrid=True), "Signals are hard.", words="nowhere")
    assert nothing.rows[0].id == "r7"


def test_a_filter_holds_for_words_too(games: connection, minilm: Model) -> None:
    """Neither way brings a row that does not fit."""
    question = Question(k=10, where="voted_up", hybrid=True)
    found = ranked(games, minilm, question, "Signals are hard.", words="turnips")
    assert {row.id for row in found.rows} == {id_ for id_, _, _, voted_up, _ in REVIEWED if voted_up}


def test_the_row_whose_neighbours_are_asked_for_is_none_of_them(games: connection, minilm: Model) -> None:
    """And the number of hits stays."""
    vector = hash_encoder(minilm).encode([text_of(games, APPLICATIONS, "10")])[0].tolist()
    with games, games.cursor() as cursor:
        cursor.execute("SELECT serving_run_id FROM embedding_columns WHERE table_name = 'applications'")
        ((run_id,),) = cursor.fetchall()
    with snapshot(games):
        with_it = rank(games, APPLICATIONS, run_id, vector, Question(k=2))
        without = rank(games, APPLICATIONS, run_id, vector, Question(k=2), without="10")
    assert with_it.rows[0].id == "10"
    assert without.rows[0].id == with_it.rows[1].id
    assert len(without.rows) == 2

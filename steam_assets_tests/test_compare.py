"""Two columns of one table are asked the same queries, and the better one is told from the one that only seems so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS
from steam_assets.evaluation.compare import (
    COMPARED,
    Comparison,
    NotComparable,
    compare,
    differences,
    overlap,
    table_rows,
    verdict,
)
from steam_assets.evaluation.score import evaluate
from steam_assets.evaluation.significance import Difference
from steam_assets_tests.compared import NUMBERS, QUERIES, load, make_compared
from steam_assets_tests.rows import Connect


def test_the_better_column_is_told_with_its_significance(compared: Comparison) -> None:
    """Every query finds its note first in the one; in the other it is among ten of 24 by chance."""
    assert set(compared.differences) == set(COMPARED)
    for found in compared.differences.values():
        assert (found.first, found.queries) == (1.0, len(NUMBERS))
        assert found.second < 0.5
        assert found.high < 0
        assert found.p_value < 0.001
    assert all("notes.body_vector is better" in said for said in compared.verdicts)


def test_the_other_way_round_the_same_is_found(conn: connection, connect: Connect, home: Path) -> None:
    """The sign turns, and neither the p-value nor what searches share."""
    first, second = make_compared(conn, home)
    one = compare(connect, first, second, QUERIES, load)
    other = compare(connect, second, first, QUERIES, load)
    for name in COMPARED:
        there, back = one.differences[name], other.differences[name]
        assert back.difference == pytest.approx(-there.difference)
        assert back.p_value == there.p_value
    assert other.overlap == one.overlap
    assert (other.first.column, other.first.serves, other.second.serves) == ("notes.rival_vector", False, True)


def test_what_searches_share_is_the_share_of_their_first_ten_hits(compared: Comparison) -> None:
    """Neither all of them nor none here; the queries of both sides are the same."""
    assert 0.1 < compared.overlap < 0.8
    assert compared.searches == len(NUMBERS) == len(compared.first.hits) == len(compared.second.hits)
    assert overlap([["a", "b"]], [["b", "c"]]) == 0.5
    assert overlap([["a", "b"], ["a"]], [["b", "a"], ["b"]]) == 0.5
    assert overlap([[], ["a", "b", "c", "d"]], [[], ["a"]]) == pytest.approx((1 + 0.25) / 2)


def test_a_large_set_is_searched_in_part_and_scored_whole(
    conn: connection, connect: Connect, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some queries tell how fast searches are; all of them tell how good."""
    monkeypatch.setattr("steam_assets.evaluation.compare.SEARCHES", 5)
    first, second = make_compared(conn, home)
    found = compare(connect, first, second, QUERIES, load)
    assert (found.searches, found.differences["mrr@10"].queries) == (5, len(NUMBERS))


def test_a_comparison_is_json_without_the_hits(compared: Comparison) -> None:
    """What a script reads: both sides with their costs, and each metric's difference."""
    told = json.loads(json.dumps(compared.as_json()))
    assert told["first"]["column"] == "notes.body_vector"
    assert "hits" not in told["first"]
    assert told["second"]["costs"]["vectors"] == len(NUMBERS)
    assert told["differences"]["ndcg@10"]["is_significant"] is True
    assert told["query_set_digest"] == QUERIES.digest


def test_both_columns_are_a_row_of_cells_each(compared: Comparison) -> None:
    """What they score, what they are, what they cost and how fast they are."""
    rows = {name: (first, second) for name, first, second in table_rows(compared)}
    assert rows["ndcg@10"][0] == "1.0000"
    assert rows["preparation"] == ("steam_html@1", "plain@1")
    assert rows["rows with a vector"] == ("24", "24")
    assert rows["index, MB"] == ("none", "none")
    assert rows["run"][0].endswith(" (serves)")
    assert not rows["run"][1].endswith(" (serves)")


def test_columns_of_two_tables_are_not_compared(conn: connection, connect: Connect, home: Path) -> None:
    """Nor a column with itself: its rows have the same ids, and nothing to tell."""
    first, _ = make_compared(conn, home)
    for other in (REVIEWS, first):
        with pytest.raises(NotComparable, match="expected two vector columns of one table"):
            compare(connect, first, other, QUERIES, load)


def test_only_queries_that_both_were_asked_are_paired(conn: connection, connect: Connect, home: Path) -> None:
    """In one order, whichever way round they were asked; without any there is nothing to compare."""
    _, column = make_compared(conn, home)
    evens, odds = (QUERIES.having({f"q{n}": {f"n{n}": 1} for n in NUMBERS if n % 2 == rest}) for rest in (0, 1))
    evens = replace(evens, queries={q: evens.queries[q] for q in reversed([*evens.queries])})
    whole, part = (evaluate(connect, column, query_set, load) for query_set in (QUERIES, evens))
    paired = differences(whole, part)["mrr@10"]
    assert part.scores.values["mrr@10"].std() > 0
    assert (paired.queries, paired.low, paired.high) == (len(NUMBERS) // 2, 0, 0)
    with pytest.raises(NotComparable, match="no query of words of notes in common"):
        differences(evaluate(connect, column, odds, load), part)


def test_a_difference_that_chance_may_have_given_is_not_called_one(compared: Comparison) -> None:
    """However large it looks; a significant one names the column that has more."""
    unsure = Difference(0.4, 0.6, 0.2, -0.1, 0.5, 0.2, 12)
    said = verdict("mrr@10", unsure, compared.first, compared.second)
    assert said.startswith("mrr@10: no difference that 12 queries can show (+0.2000, 95 % interval -0.1000 to +0.5000")
    sure = replace(unsure, low=0.1, p_value=0.01)
    assert "notes.rival_vector is better" in verdict("mrr@10", sure, compared.first, compared.second)

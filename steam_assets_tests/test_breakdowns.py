"""Scores are told for each language and length of queries, and every query is in one group of each."""

import pytest

from steam_assets.evaluation import breakdowns as breakdowns_module
from steam_assets.evaluation.breakdowns import breakdowns, length_of
from steam_assets.evaluation.metrics import QueryScores, score_queries
from steam_assets.evaluation.query_set import QuerySet


def scored(queries: dict[str, str], languages: dict[str, str], hit: set[str]) -> tuple[QuerySet, QueryScores]:
    """A set of these queries, of which some find their document."""
    qrels = {query_id: {"d": 1} for query_id in queries}
    found = [["d"] if query_id in hit else [] for query_id in queries]
    return QuerySet("some", queries, qrels, languages=languages), score_queries(list(queries), found, [*qrels.values()])


def test_a_query_is_of_the_language_it_names_or_of_its_script() -> None:
    """Most queries first; each group has a mean of its own."""
    queries = {"a": "a farm", "b": "trains", "c": "ферма", "d": "une ferme", "e": "2048"}
    found = breakdowns(*scored(queries, {"d": "French"}, {"a", "c"}))["language"]
    assert list(found) == ["Latin script", "Cyrillic script", "French", "no letters"]
    assert [found[group]["mrr@10"].mean for group in found] == [0.5, 1.0, 0.0, 0.0]
    assert [found[group]["mrr@10"].queries for group in found] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("characters", "group"),
    [(1, "1 to 50"), (50, "1 to 50"), (51, "51 to 150"), (300, "151 to 300"), (301, "301 and more")],
)
def test_a_length_is_in_characters(characters: int, group: str) -> None:
    """Each bound belongs to the group it ends."""
    assert length_of("x" * characters) == group


def test_lengths_are_told_from_short_to_long() -> None:
    """Whichever has the most queries."""
    queries = {"a": "x" * 400, "b": "x" * 200, "c": "x" * 180, "d": "x"}
    found = breakdowns(*scored(queries, {}, {"b"}))["length"]
    assert list(found) == ["1 to 50", "151 to 300", "301 and more"]
    assert sum(group["mrr@10"].queries for group in found.values()) == 4


def test_rare_languages_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set may name any number of them."""
    monkeypatch.setattr(breakdowns_module, "MOST_LANGUAGES", 1)
    queries = {"a": "x", "b": "x", "c": "x", "d": "x"}
    found = breakdowns(*scored(queries, {"a": "en", "b": "en", "c": "fr", "d": "de"}, {"c"}))["language"]
    assert {group: metrics["mrr@10"].mean for group, metrics in found.items()} == {"en": 0.0, "others": 0.5}

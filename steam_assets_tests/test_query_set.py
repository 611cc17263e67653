"""A query set is what it holds: its digest follows from that, samples are drawn by seed, and nothing is empty."""

from dataclasses import replace

import pytest

from steam_assets.evaluation.query_set import BadQuerySet, QuerySet, shortened, unknown_ids

SET = QuerySet(
    "farms",
    {"q1": "a cozy farm", "q2": "trains"},
    {"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 2}},
    {"d1": "Grow turnips.", "d2": "Lay tracks."},
)


def test_the_digest_is_of_queries_judgements_and_documents() -> None:
    """Not of its name or of the order in which a file had them."""
    queries = {query_id: SET.queries[query_id] for query_id in ("q2", "q1")}
    qrels = {query_id: SET.qrels[query_id] for query_id in ("q2", "q1")}
    same = QuerySet("other", queries, qrels, dict(SET.corpus or {}))
    assert same.digest == SET.digest
    others = [
        replace(SET, queries={**SET.queries, "q2": "train"}),
        replace(SET, qrels={**SET.qrels, "q2": {"d2": 1}}),
        replace(SET, corpus={"d1": "Grow turnips.", "d2": "Lay rails."}),
        replace(SET, corpus=None),
        replace(SET, corpus={}),
    ]
    assert len({SET.digest, *(one.digest for one in others)}) == 1 + len(others)


def test_a_set_without_a_query_to_score_says_what_was_left_out() -> None:
    """Its mean would be of nothing."""
    with pytest.raises(BadQuerySet, match=r"farms: no query is left .* All were blank\. Expected queries with text"):
        QuerySet("farms", {}, {}, notices=("All were blank.",))


def test_queries_and_judgements_are_of_the_same_ids() -> None:
    """A query without a judgement has no score."""
    with pytest.raises(ValueError, match="differ"):
        QuerySet("farms", {"q1": "x"}, {"q2": {"d": 1}})


def test_a_sample_is_the_same_for_everyone_who_draws_it() -> None:
    """Each query once, with its judgements, and the set says that it is a sample."""
    big = QuerySet("many", {str(n): "x" for n in range(100)}, {str(n): {"d": 1} for n in range(100)})
    drawn = big.sample(10, seed=5)
    assert drawn.queries.keys() == drawn.qrels.keys() == big.sample(10, seed=5).queries.keys()
    assert len(drawn.queries) == 10
    assert drawn.queries.keys() != big.sample(10, seed=6).queries.keys()
    assert drawn.notices == ("10 of 100 queries, drawn with seed 5.",)
    assert big.sample(100) is big


def test_unknown_ids_are_an_error_with_the_first_of_them_unless_ignored() -> None:
    """However many there are, the message stays readable, and no terminal obeys it."""
    ids = ["a\x1b[31m", *(f"d{n}" for n in range(1000))]
    with pytest.raises(BadQuerySet) as refused:
        unknown_ids("qrels", "documents", ids, ignored=False)
    assert r"qrels: 1,001 documents are not there: 'a\x1b[31m', 'd0', 'd1', 'd2', 'd3', ..." in str(refused.value)
    assert "--ignore-unknown" in str(refused.value)
    assert "left out" in unknown_ids("qrels", "documents", ids, ignored=True)


def test_a_value_of_a_file_is_shown_short_and_in_plain_letters() -> None:
    """Messages quote files that anybody may have written."""
    assert shortened("é\n") == r"'\xe9\n'"
    assert len(shortened("x" * 1000)) == 60

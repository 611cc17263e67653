"""nDCG, MRR and recall are what trec_eval and scikit-learn compute, and their intervals are those of the bootstrap."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_assets.evaluation import metrics
from steam_assets.evaluation.metrics import METRICS, QueryScores, interval, resampled_means, score_queries


def scores_of(hits: list[str], grades: dict[str, int]) -> dict[str, float]:
    """The scores of one query."""
    return {name: float(values[0]) for name, values in score_queries(["q"], [hits], [grades]).values.items()}


def test_a_graded_ranking_scores_as_computed_by_hand() -> None:
    """Grades count as they are, discounted by log2(rank + 1), against the best order of all that was judged."""
    found = scores_of(["a", "b", "c"], {"a": 0, "b": 2, "c": 1, "d": 3})
    gained = 2 / math.log2(3) + 1 / math.log2(4)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg@10"] == pytest.approx(gained / best)
    assert found["mrr@10"] == 1 / 2
    assert found["recall@1"] == 0
    assert found["recall@10"] == found["recall@100"] == pytest.approx(2 / 3)


def test_the_right_document_first_scores_one_and_nothing_found_scores_zero() -> None:
    """In every metric."""
    assert set(scores_of(["a", "b"], {"a": 1}).values()) == {1.0}
    assert set(scores_of(["b", "c"], {"a": 1}).values()) == {0.0}
    assert set(scores_of([], {"a": 1}).values()) == {0.0}


def test_what_stands_behind_the_tenth_hit_counts_for_recall_at_100_only() -> None:
    """The eleventh and the hundredth are found, the hundred-and-first is not."""
    hits = [f"x{n}" for n in range(200)]
    for place, recall in ((9, 1.0), (10, 1.0), (99, 1.0), (100, 0.0)):
        found = scores_of(hits, {hits[place]: 1})
        assert found["recall@100"] == recall
        assert found["mrr@10"] == (0.1 if place == 9 else 0)
        assert (found["ndcg@10"] > 0) is (place == 9)


def test_a_query_with_more_answers_than_ten_can_reach_one() -> None:
    """The ideal order is cut at ten as well; recall is of all answers."""
    found = scores_of([f"a{n}" for n in range(10)], {f"a{n}": 1 for n in range(20)})
    assert found["ndcg@10"] == pytest.approx(1)
    assert found["recall@10"] == 0.5


def test_a_grade_below_one_is_no_answer() -> None:
    """trec_eval's judgements hold negative grades for junk."""
    assert scores_of(["junk", "a"], {"junk": -2, "a": 1})["mrr@10"] == 1 / 2


@pytest.mark.parametrize(
    ("hits", "grades", "said"),
    [(["a"], {"a": 0}, "query q has no relevant document"), (["a", "a"], {"a": 1}, "query q found a document twice")],
)
def test_what_cannot_be_scored_is_refused(hits: list[str], grades: dict[str, int], said: str) -> None:
    """A query without an answer would make every search look worse, a repeated hit better."""
    with pytest.raises(ValueError, match=said):
        score_queries(["q"], [hits], [grades])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_ndcg_is_scikit_learn_s(grades: list[int], random: Random) -> None:
    """For any grades and any order without ties."""
    from sklearn.metrics import ndcg_score

    if not any(grades):
        return
    order = list(range(len(grades)))
    random.shuffle(order)
    cosines = np.zeros(len(grades))
    cosines[order] = np.arange(len(grades), 0, -1)
    judged = {str(document): grade for document, grade in enumerate(grades)}
    ours = scores_of([str(document) for document in order], judged)["ndcg@10"]
    assert ours == pytest.approx(ndcg_score([grades], [cosines], k=10))


def test_scores_of_some_queries_are_theirs_in_the_order_asked() -> None:
    """Groups of queries and pairs of evaluations are cut out so."""
    scores = score_queries(["a", "b", "c"], [["x"], [], ["y", "x"]], [{"x": 1}] * 3)
    assert scores.of(["c", "a"]).values["mrr@10"].tolist() == [0.5, 1.0]
    assert list(scores.values) == list(METRICS)


def test_scores_have_one_value_for_each_query() -> None:
    """A shorter array belongs to other queries."""
    with pytest.raises(ValueError, match=r"mrr@10 has shape \(1,\) for 2 queries"):
        QueryScores(("a", "b"), {"mrr@10": np.ones(1)})


def test_an_interval_is_as_wide_as_the_normal_distribution_says() -> None:
    """Of 1,000 queries of which 3 in 10 succeed: 1.96 standard errors to each side."""
    found = interval(np.array([1.0] * 300 + [0.0] * 700))
    expected = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert (found.mean, found.queries) == (0.3, 1000)
    assert found.mean - found.low == pytest.approx(expected, rel=0.1)
    assert found.high - found.mean == pytest.approx(expected, rel=0.1)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Over 300 samples of 100 queries, within what chance allows around 95 %."""
    random = np.random.default_rng(1)
    found = [interval(random.beta(2, 3, size=100)) for _ in range(300)]
    assert 0.90 <= np.mean([one.low <= 0.4 <= one.high for one in found]) <= 0.985


def test_the_same_queries_are_drawn_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in smaller parts, so that the memory there is does not change an interval."""
    values = np.random.default_rng(0).random(500)
    whole = resampled_means(values)
    assert resampled_means(1 - values) == pytest.approx(1 - whole)
    monkeypatch.setattr(metrics, "NUMBERS_AT_ONCE", 1_700)
    assert resampled_means(values).tolist() == whole.tolist()


def test_one_query_has_no_width_and_none_no_mean() -> None:
    """An interval of nothing would be a number that nobody measured."""
    assert (interval(np.array([0.5])).low, interval(np.array([0.5])).high) == (0.5, 0.5)
    with pytest.raises(ValueError, match="a mean of no query"):
        interval(np.array([]))

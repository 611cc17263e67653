"""How good rankings are: nDCG, MRR and recall of each query, and their means with intervals. Numbers only, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

METRICS = ("ndcg@10", "mrr@10", "recall@1", "recall@10", "recall@100")
"""The first two are what retrieval benchmarks report; recall@100 says what re-ranking the hits could still reach."""

DEPTH = 100
"""Hits of a query that are looked at."""

CUT = 10
RESAMPLES = 2_000
SEED = 0
LEVEL = 0.95
NUMBERS_AT_ONCE = 4_000_000
"""Of a bootstrap: 32 MB of row numbers, however many queries there are."""


@dataclass(frozen=True)
class Interval:
    """A mean over queries, and the interval in which 95 % of its bootstrap resamples lie."""

    mean: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True)
class QueryScores:
    """What each query scored, by metric: arrays in the order of ``query_ids``."""

    query_ids: tuple[str, ...]
    values: Mapping[str, Scores]

    def __post_init__(self) -> None:
        for name, values in self.values.items():
            if values.shape != (len(self.query_ids),):
                raise ValueError(f"{name} has shape {values.shape} for {len(self.query_ids)} queries")

    def of(self, query_ids: Sequence[str]) -> "QueryScores":
        """The scores of these queries, in this order."""
        places = {query_id: place for place, query_id in enumerate(self.query_ids)}
        rows = np.array([places[query_id] for query_id in query_ids], dtype=np.intp)
        return QueryScores(tuple(query_ids), {name: values[rows] for name, values in self.values.items()})

    def means(self) -> dict[str, Interval]:
        """Each metric's mean and interval."""
        return {name: interval(values) for name, values in self.values.items()}


def score_queries(
    query_ids: Sequence[str], found: Sequence[Sequence[str]], judged: Sequence[Mapping[str, int]]
) -> QueryScores:
    """Score each query's hits, best first and each once, by the grades of the documents that were judged for it.

    A document that was not judged, or is graded below 1, is not relevant; recall is of all relevant ones. Raises
    ValueError for a query that has none: no search could answer it.
    """
    gains = np.zeros((len(query_ids), DEPTH))
    ideal = np.zeros((len(query_ids), CUT))
    relevant = np.zeros(len(query_ids))
    for row, (query_id, hits, grades) in enumerate(zip(query_ids, found, judged, strict=True)):
        best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
        if not best:
            raise ValueError(f"query {query_id} has no relevant document")
        if len(set(hits)) != len(hits):
            raise ValueError(f"query {query_id} found a document twice")
        relevant[row] = len(best)
        ideal[row, : len(best[:CUT])] = best[:CUT]
        gains[row, : len(hits[:DEPTH])] = [max(0, grades.get(hit, 0)) for hit in hits[:DEPTH]]
    values = {
        "ndcg@10": _discounted(gains[:, :CUT]) / _discounted(ideal),
        "mrr@10": _reciprocal_rank(gains[:, :CUT]),
        **{f"recall@{k}": (gains[:, :k] > 0).sum(axis=1) / relevant for k in (1, 10, 100)},
    }
    return QueryScores(tuple(query_ids), {name: values[name] for name in METRICS})


def _discounted(gains: Scores) -> Scores:
    """Discounted cumulative gain of each row: the grade at rank r, over log2(r + 1).

    The grade itself, not 2^grade - 1: so do trec_eval's ndcg_cut (m_ndcg_cut.c), and with it BEIR's published figures,
    and scikit-learn's ndcg_score. For grades of 0 and 1 the two are the same. Järvelin and Kekäläinen, 2002.
    """
    discounts: Scores = 1 / np.log2(np.arange(2, gains.shape[1] + 2))
    total: Scores = gains @ discounts
    return total


def _reciprocal_rank(gains: Scores) -> Scores:
    """1 over the rank of the first relevant hit of each row, 0 where there is none. Voorhees, 1999."""
    relevant = gains > 0
    return np.where(relevant.any(axis=1), 1 / (1.0 + relevant.argmax(axis=1)), 0.0)


def interval(values: Scores) -> Interval:
    """The mean, and its bootstrap percentile interval. Raises ValueError where there is no value."""
    if not len(values):
        raise ValueError("a mean of no query")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled_means(values), [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def resampled_means(values: Scores) -> Scores:
    """Means of as many queries, drawn with replacement, (RESAMPLES,): Efron, 1979.

    The same queries are drawn for any array of that length; the resamples of a paired difference are those of
    ``a - b``.
    """
    random = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    step = max(1, NUMBERS_AT_ONCE // len(values))
    for start in range(0, RESAMPLES, step):
        stop = min(start + step, RESAMPLES)
        means[start:stop] = values[random.integers(len(values), size=(stop - start, len(values)))].mean(axis=1)
    return means

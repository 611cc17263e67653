"""The nearest rows of queries by comparing every row, page by page, and the recall of answers beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EQUAL_COSINE = 2e-6
"""The server adds up single-precision numbers in another order than numpy does; texts that repeat are equally near."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """For each query the cosines of its nearest rows, (queries, k) and descending."""

    cosines: NDArray[np.float32]

    def recall(self, found: Sequence[Sequence[float]], k: int) -> float:
        """The share of the ``k`` nearest places that answers fill, of the queries that were answered.

        A row counts when it is as near as the k-th nearest: of equally near rows any will do, as ann-benchmarks counts.
        """
        k = min(k, self.cosines.shape[1])
        shares = [
            min(k, sum(cosine >= nearest[k - 1] - EQUAL_COSINE for cosine in cosines[:k])) / k
            for nearest, cosines in zip(self.cosines.tolist(), found, strict=False)
        ]
        return float(np.mean(shares)) if shares else 0.0


def exact_neighbours(pages: Iterable[NDArray[np.float32]], queries: NDArray[np.float32], k: int) -> Neighbours:
    """Compare ``queries`` (queries, dimension) with every row of every page; one page is in memory at a time."""
    queries = _unit(queries)
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for page in pages:
        both = np.concatenate([best, queries @ _unit(page).T], axis=1)
        best = np.partition(both, -k, axis=1)[:, -k:]
    return Neighbours(-np.sort(-best, axis=1))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit

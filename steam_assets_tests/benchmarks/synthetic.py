"""Vectors that nobody's model made: clusters in a space of few effective dimensions, as many as real ones have."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PAGE_ROWS = 10_000
ROWS_OF_A_CLUSTER = 100
SHARE_OF_CLUSTERS = 0.5
"""Of the variance: what lies between clusters, and the rest within them."""
STEEPEST = 8.0


def spectrum(vectors: Floats) -> NDArray[np.float64]:
    """Eigenvalues of the covariance, longest first, as shares of their sum."""
    centred = vectors - vectors.mean(axis=0)
    values = np.clip(np.linalg.eigvalsh(centred.T @ centred)[::-1].astype(np.float64), 0, None)
    shares: NDArray[np.float64] = values / values.sum()
    return shares


def effective_rank(shares: NDArray[np.float64]) -> float:
    """The exponential of the spectrum's entropy (Roy and Vetterli 2007): of n equal eigenvalues n."""
    positive = shares[shares > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def power_law(dimension: int, rank: float) -> NDArray[np.float64]:
    """A falling spectrum of this effective rank: shares of i to the power of minus something, found by halving."""
    flat, steep = 0.0, STEEPEST
    places = np.arange(1, dimension + 1)
    for _ in range(60):
        middle = (flat + steep) / 2
        shares: NDArray[np.float64] = places**-middle / (places**-middle).sum()
        flat, steep = (middle, steep) if effective_rank(shares) > rank else (flat, middle)
    return shares


@dataclass(frozen=True)
class Mixture:
    """``rows`` unit vectors of ``dimension`` numbers around as many centres as make clusters of a hundred rows."""

    rows: int
    dimension: int
    rank: float
    seed: int = 0

    def pages(self) -> Iterator[Floats]:
        """The rows, a page at a time, the same each time; turned at random, so that no number matters most."""
        random = np.random.default_rng(self.seed)
        scale = np.sqrt(power_law(self.dimension, self.rank)).astype(np.float32)
        turn = np.linalg.qr(random.standard_normal((self.dimension, self.dimension)))[0].astype(np.float32)
        centres = max(1, self.rows // ROWS_OF_A_CLUSTER)
        middles = random.standard_normal((centres, self.dimension), dtype=np.float32)
        for start in range(0, self.rows, PAGE_ROWS):
            rows = min(PAGE_ROWS, self.rows - start)
            around = random.standard_normal((rows, self.dimension), dtype=np.float32)
            of = random.integers(centres, size=rows)
            made = np.sqrt(SHARE_OF_CLUSTERS) * middles[of] + np.sqrt(1 - SHARE_OF_CLUSTERS) * around
            page: Floats = (made * scale).astype(np.float32) @ turn.T
            yield page / np.linalg.norm(page, axis=1, keepdims=True)

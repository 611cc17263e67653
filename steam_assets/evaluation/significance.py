"""Whether one search is better than another on the same queries, or only seems so. Numbers only, no I/O."""

from dataclasses import dataclass

import numpy as np

from steam_assets.evaluation.metrics import NUMBERS_AT_ONCE, SEED, Scores, interval

PERMUTATIONS = 10_000
SIGNIFICANT = 0.05
"""A p-value below this is told as a difference."""


@dataclass(frozen=True)
class Difference:
    """The means of two searches over the same queries, and how much more the ``second`` has.

    ``low`` and ``high`` bound 95 % of the paired bootstrap's differences; ``p_value`` is how often chance alone gives
    one as large, in either direction.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    queries: int

    @property
    def is_significant(self) -> bool:
        """Whether chance alone is an unlikely reason for it."""
        return self.p_value < SIGNIFICANT


def paired_difference(first: Scores, second: Scores) -> Difference:
    """Compare two searches' scores of the same queries, which are in the same order."""
    if first.shape != second.shape or not len(first):
        raise ValueError(f"scores of {len(first)} and of {len(second)} queries are no pairs")
    gained = interval(second - first)
    return Difference(
        first=float(first.mean()),
        second=float(second.mean()),
        difference=gained.mean,
        low=gained.low,
        high=gained.high,
        p_value=randomization_p_value(second - first),
        queries=gained.queries,
    )


def randomization_p_value(differences: Scores, permutations: int = PERMUTATIONS) -> float:
    """How often the mean is as far from 0 when each query's difference has the sign of a coin; two-sided.

    Fisher's randomization test, which Smucker, Allan and Carterette (2007) recommend for retrieval: it assumes no
    distribution. The observed signs count as one of the draws, so that p is never 0 (Phipson and Smyth, 2010).
    """
    drawn = np.abs(differences[differences != 0])  # a tie has no sign; it only makes the sum of nothing longer
    if not len(drawn):
        return 1.0
    # The same sum in another order differs in its last bits.
    observed = abs(float(differences.sum())) * (1 - 1e-9)
    random = np.random.default_rng(SEED)
    as_far = 0
    step = max(1, NUMBERS_AT_ONCE // len(drawn))
    for start in range(0, permutations, step):
        count = min(step, permutations - start)
        signs = random.integers(0, 2, size=(count, len(drawn)), dtype=np.int8) * np.int8(2) - np.int8(1)
        as_far += int(np.count_nonzero(np.abs(signs @ drawn) >= observed))
    return (as_far + 1) / (permutations + 1)

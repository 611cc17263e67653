"""How texts become packs: longest first, cut by a budget of padded tokens that learns what fits. No torch."""

import numpy as np
from numpy.typing import NDArray

CPU_BATCH_TOKENS = 4096
"""Measured on MiniLM: 4,096 is faster than 8,192 on a CPU, where a forward costs nothing to launch."""
CUDA_BATCH_TOKENS = 16_384
"""The default of text-embeddings-inference."""
CPU_PAD_SHARE = 0.05
"""With 4,096 tokens: 2.2 times the tokens/s of batches of 16 sorted by characters (research/encoder.md 4)."""

SHRINK = 0.6
GROW = 1.15
CEILING = 0.9
"""Of the padded tokens that failed last: how far the budget grows back."""
GROW_AFTER_PACKS = 64
FORGET_AFTER_PACKS = 512
"""At the ceiling this long, the failure counts for less: whatever else held the memory may be gone."""


def padded_tokens(rows: int, longest: int) -> int:
    """What a pack costs: memory and time follow the rectangle, not the texts in it."""
    return rows * longest


def longest_first(lengths: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order in which texts are packed; equal lengths keep theirs."""
    # Longest first: if the widest pack fits in memory, every later one does.
    return np.argsort(-lengths, kind="stable")


def pack_size(lengths: NDArray[np.int64], start: int, budget: int, pad_share: float | None = None) -> int:
    """How many texts from ``start`` on make the next pack; ``lengths`` are longest first.

    [9, 4, 4, 3, 1] with 12 gives 1 from 0, 3 from 1, 1 from 4. A text above the budget is a pack of its own.
    ``pad_share`` ends a pack earlier, where more of it would be padding, but not below an eighth of the budget.
    """
    longest = max(1, int(lengths[start]))
    most = max(1, min(len(lengths) - start, budget // longest))
    if pad_share is None or most == 1:
        return most
    real = np.cumsum(lengths[start : start + most])
    padded = longest * np.arange(1, most + 1)
    # Lengths only fall, so the share of padding only rises: the sizes within the cap are the first ones.
    within_cap = int(np.count_nonzero(real >= (1 - pad_share) * padded))
    return min(most, max(1, within_cap, budget // 8 // longest))


class TokenBudget:
    """The padded tokens a pack may have: ``limit`` until memory runs out, then what was seen to hold.

    Every failure makes the next pack at least 40 % smaller, so retries end. Packs that hold let it grow back,
    slowly, and not to where it failed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tokens = limit
        self.failed: int | None = None
        self._clean_packs = 0

    def shrink(self, failed: int) -> None:
        """A pack of ``failed`` padded tokens did not fit."""
        self.failed = failed
        self.tokens = max(1, min(self.tokens, int(failed * SHRINK)))
        self._clean_packs = 0

    def held(self, cost: int) -> None:
        """A pack of ``cost`` padded tokens went through."""
        if self.failed is None or 2 * cost < self.tokens:  # a small pack says nothing about a larger one
            return
        self._clean_packs += 1
        ceiling = min(self.limit, int(self.failed * CEILING))
        if self.tokens < ceiling:
            if self._clean_packs >= GROW_AFTER_PACKS:
                self.tokens = min(ceiling, int(self.tokens * GROW) + 1)
                self._clean_packs = 0
        elif self.tokens >= self.limit:
            self.failed = None
        elif self._clean_packs >= FORGET_AFTER_PACKS:
            self.failed = int(self.failed * GROW) + 1
            self._clean_packs = 0

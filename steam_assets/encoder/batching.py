"""How texts become packs: longest first, cut by a budget of tokens that learns what fits. No torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHRINK = 0.6
GROW = 1.15
CEILING = 0.9
"""Of the tokens that failed last: how far the budget grows back."""
GROW_AFTER_PACKS = 64
FORGET_AFTER_PACKS = 512
"""At the ceiling this long, the failure counts for less: whatever else held the memory may be gone."""


def longest_first(lengths: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order in which texts are packed; equal lengths keep theirs."""
    # Longest first: if the widest pack fits in memory, every later one does.
    return np.argsort(-lengths, kind="stable")


@dataclass(frozen=True)
class Packing:
    """What a pack costs in tokens: the rectangle around its texts, or only the texts where none is padded.

    ``pad_share`` ends a padded pack where more of it would be padding, but not below a sixteenth of the budget.
    """

    padded: bool
    pad_share: float | None = None

    def cost(self, lengths: NDArray[np.int64]) -> int:
        """Tokens of a pack, padding included where there is any: time and memory follow them."""
        return len(lengths) * int(lengths.max()) if self.padded else int(lengths.sum())

    def size(self, lengths: NDArray[np.int64], budget: int) -> int:
        """How many texts make the next pack; ``lengths`` are longest first, and one text always does.

        Padded, [9, 4, 4, 3, 1] with 12 gives 1, [4, 4, 3, 1] then 3, [1] then 1. Without padding it gives 1, 3, 1 too.
        """
        if not self.padded:
            return max(1, int(np.searchsorted(np.cumsum(lengths), budget, side="right")))
        longest = max(1, int(lengths[0]))
        most = max(1, min(len(lengths), budget // longest))
        if self.pad_share is None or most == 1:
            return most
        real = np.cumsum(lengths[:most])
        padded = longest * np.arange(1, most + 1)
        # Lengths only fall, so the share of padding only rises: the sizes within the cap are the first ones.
        within_cap = int(np.count_nonzero(real >= (1 - self.pad_share) * padded))
        return min(most, max(1, within_cap, budget // 16 // longest))


UNPADDED = Packing(padded=False)
PADDED = Packing(padded=True, pad_share=0.05)
"""A cap of 5 % gave 2.2 times the tokens/s of batches of 16 sorted by characters (research/encoder.md 4)."""


@dataclass(frozen=True)
class MemoryEvent:
    """Memory ran out on a pack of ``failed`` tokens in so many texts, and the budget became ``budget``."""

    failed: int
    texts: int
    budget: int
    reason: str

    def __str__(self) -> str:
        return (
            f"out of memory with {self.failed:,} tokens in {self.texts} texts; budget {self.budget:,} ({self.reason})"
        )


class TokenBudget:
    """The tokens a pack may have: ``limit`` until memory runs out, then what was seen to hold.

    Every failure makes the next pack at least 40 % smaller, so retries end. Packs that hold let it grow back,
    slowly, and not to where it failed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tokens = limit
        self.failed: int | None = None
        self._clean_packs = 0

    def shrink(self, failed: int) -> None:
        """A pack of ``failed`` tokens did not fit."""
        self.failed = failed
        self.tokens = max(1, min(self.tokens, int(failed * SHRINK)))
        self._clean_packs = 0

    def held(self, cost: int) -> None:
        """A pack of ``cost`` tokens went through."""
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

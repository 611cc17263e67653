"""How texts are cut into batches: the predecessor's rule, two of its kind, and ours by Packing. Nothing is run here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.batching import Packing, longest_first

PREDECESSOR_ROWS = 16
PREDECESSOR_CHUNK = 10_000

Order = Callable[[Sequence[str], NDArray[np.int64]], NDArray[np.intp]]
Batches = Iterator[NDArray[np.int64]]
"""The token counts of one batch after the other."""


@dataclass(frozen=True)
class Waste:
    """What batches came to: ``real`` over ``padded`` tokens, and forwards."""

    real: int
    padded: int
    forwards: int

    @property
    def share(self) -> float:
        """Padding in what is computed, 0 to 1."""
        return 1 - self.real / self.padded if self.padded else 0.0


def measure_waste(batches: Sequence[NDArray[np.int64]], padded: bool = True) -> Waste:
    """The padding of batches; without padding there is none."""
    real = int(sum(lengths.sum() for lengths in batches))
    computed = int(sum(len(lengths) * lengths.max() for lengths in batches)) if padded else real
    return Waste(real, computed, len(batches))


def as_they_come(texts: Sequence[str], lengths: NDArray[np.int64]) -> NDArray[np.intp]:
    """No order."""
    return np.arange(len(texts))


def by_characters(texts: Sequence[str], lengths: NDArray[np.int64]) -> NDArray[np.intp]:
    """Most characters first, as SentenceTransformer.encode sorts."""
    return np.argsort([-len(text) for text in texts])


def by_tokens(texts: Sequence[str], lengths: NDArray[np.int64]) -> NDArray[np.intp]:
    """Most tokens first."""
    return longest_first(lengths)


def fixed_batches(
    texts: Sequence[str],
    lengths: NDArray[np.int64],
    order: Order = by_characters,
    rows: int = PREDECESSOR_ROWS,
    chunk: int = PREDECESSOR_CHUNK,
) -> Batches:
    """So many texts a batch, sorted within chunks; the defaults are the predecessor's."""
    for start in range(0, len(texts), chunk):
        there = lengths[start : start + chunk]
        in_order = there[order(texts[start : start + chunk], there)]
        yield from (in_order[first : first + rows] for first in range(0, len(in_order), rows))


def sample_of_batches(texts: Sequence[str], rows: int) -> NDArray[np.intp]:
    """About so many rows of the predecessor's first chunk: evenly spaced batches of it, whole.

    Sorted again these are the same batches, with the padding that all rows together have; of fewer rows taken at random
    the neighbours are less alike.
    """
    chunk = texts[:PREDECESSOR_CHUNK]
    order = by_characters(chunk, np.zeros(len(chunk), dtype=np.int64))
    starts = np.arange(0, len(chunk), PREDECESSOR_ROWS)
    wanted = min(len(starts), max(1, rows // PREDECESSOR_ROWS))
    chosen = starts[np.linspace(0, len(starts) - 1, wanted).astype(np.intp)]
    return np.sort(np.concatenate([order[start : start + PREDECESSOR_ROWS] for start in chosen]))


def packed_batches(lengths: NDArray[np.int64], packing: Packing, budget: int, window: int) -> Batches:
    """What an encoder makes of windows of so many rows."""
    for start in range(0, len(lengths), window):
        there = lengths[start : start + window]
        rest = there[longest_first(there)]
        while len(rest):
            size = packing.size(rest, budget)
            yield rest[:size]
            rest = rest[size:]


def padding_ceiling(texts: Sequence[str], lengths: NDArray[np.int64]) -> float:
    """The predecessor's padded tokens over real ones: what leaving out the padding can gain at most."""
    waste = measure_waste(list(fixed_batches(texts, lengths)))
    return waste.padded / waste.real

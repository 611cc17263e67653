"""An encoder without a model: each text's unit vector is made from its hash, the same bits in any batch. No torch."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from steam_assets.encoder.backend import Pack, Vectors
from steam_assets.encoder.batching import UNPADDED
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.tokens import TextTokenizer, TokenizedTexts, why_unreadable

POOL = 1 << 12
SUMMANDS = 4
"""Vectors of the pool that make one: 2^48 sums, so two texts hardly ever share theirs."""
PACK_TEXTS = 500


class OneToken(TextTokenizer):
    """A tokenizer that takes no time: every text is one token."""

    def __init__(self) -> None:
        """Without the tokenizer of a model."""

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """As many tokens as texts."""
        count = len(texts)
        return TokenizedTexts(
            texts=texts,
            ids=np.zeros(count, dtype=np.int32),
            starts=np.arange(count + 1, dtype=np.int64),
            counts=np.ones(count, dtype=np.int64),
            unreadable={row: why for row, text in enumerate(texts) if (why := why_unreadable(text)) is not None},
        )


class HashBackend:
    """Vectors by hash, as fast as the processor makes them, or at ``rows_per_s``, one pack after the other as on a GPU.

    ``busy_s`` is how long it was at work, waiting for the next pack not counted.
    """

    name = "torch"  # the precision gate has nothing to compare
    device = "cpu"
    device_name = "a hash of the text"
    dtype = "fp32"
    packing = UNPADDED
    in_flight = 1

    def __init__(self, dimension: int, rows_per_s: float | None = None, pack_texts: int = PACK_TEXTS) -> None:
        self.dimension = dimension
        self.batch_tokens = pack_texts
        self.rows_per_s = rows_per_s
        self.busy_s = 0.0
        self._pool = vector_pool(dimension)

    def start(self, pack: Pack) -> Callable[[], Vectors]:
        """The vectors of a pack, when they are due."""
        started = time.monotonic()
        vectors = self.vectors_of(pack.texts)
        if self.rows_per_s is not None:
            threading.Event().wait(max(0.0, started + len(pack) / self.rows_per_s - time.monotonic()))
        self.busy_s += time.monotonic() - started
        return lambda: vectors

    def vectors_of(self, texts: Sequence[str]) -> Vectors:
        """A vector (texts, dimension) for each text."""
        return hash_vectors(texts, self._pool)

    def release_memory(self) -> None:
        """There is none to give back."""

    def peak_memory_bytes(self) -> int | None:
        """Not measured here."""
        return None

    def reset_peak_memory(self) -> None:
        """Not measured here."""


@cache
def vector_pool(dimension: int) -> Vectors:
    """Normal vectors (POOL, dimension), the same in every process."""
    return np.random.default_rng(0).standard_normal((POOL, dimension), dtype=np.float32)


def hash_vectors(texts: Sequence[str], pool: Vectors) -> Vectors:
    """A vector (texts, dimension) for each text: the sum of those of the pool that the text's hash names."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=2 * SUMMANDS).digest() for text in texts)
    chosen = np.frombuffer(digests, dtype=np.uint16).reshape(len(texts), SUMMANDS) % POOL
    vectors = pool[chosen[:, 0]]
    for summand in range(1, SUMMANDS):
        vectors = vectors + pool[chosen[:, summand]]
    return vectors


def hash_encoder(model: Model, rows_per_s: float | None = None, pack_texts: int = PACK_TEXTS) -> Encoder:
    """An encoder that passes for ``model``: its vectors have the model's dimension."""
    return Encoder(model, OneToken(), HashBackend(model.dimension, rows_per_s, pack_texts))

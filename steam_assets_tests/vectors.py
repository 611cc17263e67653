"""Comparing vectors: what sentence-transformers makes of the same texts, and how near two matrices are."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.models import Model

MIXED = [
    "cozy farming game with friends",
    "",
    "   \n",
    "👍🏽🔥🎮",
    "日本語のレビューです。とても面白い。" * 8,
    "Отличная игра про космос и ферму " * 6,
    "[h1]Great[/h1] [b]game[/b] </s> <pad> [SEP] & &amp;",
    "a",
    *(" ".join(["explore", "survive", "craft"] * n) for n in (1, 2, 5, 9, 14)),
]


def reference(model: Model, texts: Sequence[str], batch_size: int = 4) -> NDArray[np.float32]:
    """What sentence-transformers itself makes of the texts."""
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(model.location, device="cpu")
    vectors = plain.encode(list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors)


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row, in double precision."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def page(texts: Sequence[str], first_id: int = 0) -> SourceTexts:
    """A page as the store reads it."""
    digests = [hashlib.md5(text.encode(), usedforsecurity=False).digest() for text in texts]
    return SourceTexts(range(first_id, first_id + len(texts)), texts, [7] * len(texts), digests)


def by_id(batches: Sequence[EncodedBatch]) -> dict[Any, NDArray[np.float32]]:
    """Every vector of a stream."""
    return {i: v for batch in batches for i, v in zip(batch.embeddings.ids, batch.embeddings.vectors, strict=True)}

"""What embedding a column would take, before it is done: exact rows, a histogram of tokens, time and disk."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.store.read import read_pending
from steam_assets.targets import model_to_fill, target_run

TIMED_TEXTS = 64
VECTOR_OVERHEAD_BYTES = 60
"""A vector's own header and TOAST, and the row's new version without its text, which stays where it is."""


@dataclass(frozen=True)
class Estimate:
    """A column's pending work; ``histogram`` maps a number of tokens to the texts of at most so many."""

    column: str
    model_name: str
    rows: int
    tokens: int
    truncated: int
    histogram: dict[int, int]
    seconds_low: float
    seconds_high: float
    disk_bytes: int


def estimate(connect: Callable[[], connection], column: TextColumn, load: Callable[[Model], Encoder]) -> Estimate:
    """Count every pending row and its tokens, and time the model on a sample of them; nothing is written.

    A text that many rows have is counted with each of them, though a window encodes it once.

    The interval is the sample's time per token, from its faster half to its slower half.
    """
    with closing(connect()) as conn:
        conn.autocommit = True
        run = target_run(conn, column)
        encoder = load(model_to_fill(run, column))
        prepare = find_preparation(column.preparation).prepare
        counts = [np.zeros(0, dtype=np.int64)]
        sample: list[str] = []
        for page in read_pending(conn, column, run.run_id):
            texts = [prepare(text) for text in page.texts]
            counts.append(encoder.count_tokens(texts))
            sample += texts[:: max(1, len(texts) // 16)]
    tokens = np.concatenate(counts)
    read = np.minimum(tokens, encoder.model.max_seq_length)
    speeds = _seconds_per_token(encoder, sample[:: max(1, len(sample) // TIMED_TEXTS)][:TIMED_TEXTS])
    return Estimate(
        column=str(column),
        model_name=run.model_name,
        rows=len(tokens),
        tokens=int(read.sum()),
        truncated=int((tokens > encoder.model.max_seq_length).sum()),
        histogram=token_histogram(tokens),
        seconds_low=float(read.sum() * speeds[0]),
        seconds_high=float(read.sum() * speeds[1]),
        disk_bytes=len(tokens) * (4 * run.dimension + VECTOR_OVERHEAD_BYTES),
    )


def token_histogram(tokens: NDArray[np.int64]) -> dict[int, int]:
    """Texts per power of two of tokens: [3, 4, 5, 20] -> {4: 2, 8: 1, 32: 1}."""
    buckets = np.maximum(1, 2 ** np.ceil(np.log2(np.maximum(tokens, 1))).astype(np.int64))
    found, texts = np.unique(buckets, return_counts=True)
    return {int(bucket): int(count) for bucket, count in zip(found, texts, strict=True)}


def _seconds_per_token(encoder: Encoder, texts: list[str]) -> tuple[float, float]:
    """The quartiles of the seconds a token takes, over a few small batches."""
    if not texts:
        return 0.0, 0.0
    speeds = []
    for start in range(0, len(texts), 8):
        batch = texts[start : start + 8]
        tokens = np.minimum(encoder.count_tokens(batch), encoder.model.max_seq_length).sum()
        started = time.perf_counter()
        encoder.encode(batch)
        speeds.append((time.perf_counter() - started) / max(1, int(tokens)))
    low, high = np.percentile(speeds, [25, 75])
    return float(low), float(high)

"""The precision gate's sample: the same texts each time, of every length that the model reads, at a known price."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from steam_assets.encoder.precision import buckets_of
from steam_assets.gate_sample import BUCKET_TEXTS, ROWS, choose_sample

CHARACTERS_PER_TOKEN = 4


def estimate(texts: Sequence[str]) -> NDArray[np.int64]:
    """Tokens by a rule of thumb."""
    return np.array([2 + len(text) // CHARACTERS_PER_TOKEN for text in texts])


@pytest.mark.parametrize(("max_seq_length", "most_tokens"), [(256, 60_000), (512, 60_000), (8_192, 60_000)])
def test_a_sample_has_ten_texts_of_every_length_and_costs_what_it_may(max_seq_length: int, most_tokens: int) -> None:
    """A hundred neighbours in each bucket, up to what the model reads at most, without a single row."""
    chosen = choose_sample([], estimate, max_seq_length, most_tokens)
    assert len(set(chosen.texts)) == len(chosen.texts) >= 256
    counts = np.bincount(buckets_of(chosen.tokens))
    assert len(counts) == buckets_of(np.array([max_seq_length]))[0] + 1
    assert counts.min() >= 10
    assert chosen.tokens.max() == max_seq_length
    assert chosen.tokens.sum() <= most_tokens
    assert chosen.texts == choose_sample([], estimate, max_seq_length, most_tokens).texts


def test_a_sample_takes_rows_first() -> None:
    """The column's own texts decide, up to a hundred of each length; made-up ones fill what is missing."""
    rows = [f"row {number} " * (1 + number % 200) for number in range(600)]
    chosen = choose_sample([*rows, *rows], estimate, 512, 10**6)
    assert set(np.array(chosen.texts)[chosen.is_row]) <= set(rows[:ROWS])
    there = np.bincount(buckets_of(np.minimum(estimate(rows[:ROWS]), 512)))
    taken = np.bincount(buckets_of(chosen.tokens[chosen.is_row]))
    # But one: a bucket's longest text is always there, and may be made up.
    assert (taken >= np.minimum(there, BUCKET_TEXTS) - 1).all()
    assert np.bincount(buckets_of(chosen.tokens)).tolist() == [BUCKET_TEXTS] * 3


def test_rows_of_thousands_of_tokens_stay_within_the_budget() -> None:
    """A column of books is compared on a few of them, and on shorter texts."""
    rows = [f"{number}: " + "once upon a time " * 2_000 for number in range(50)]
    chosen = choose_sample(rows, estimate, 8_192, 60_000)
    assert chosen.tokens.sum() <= 60_000
    assert chosen.is_row.sum() >= 1
    assert np.bincount(buckets_of(chosen.tokens)).min() >= 10

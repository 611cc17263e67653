"""What benchmarks count without a model, by hand-made examples: padding, arithmetic, and a GPU's peak."""

from typing import Any

import numpy as np
import pytest

from steam_assets.encoder.batching import UNPADDED, Packing
from steam_assets_tests.benchmarks.flops import BGE_M3, TransformerShape, peak_flops
from steam_assets_tests.benchmarks.rules import (
    as_they_come,
    by_characters,
    by_tokens,
    fixed_batches,
    measure_waste,
    packed_batches,
    sample_of_batches,
)

TEXTS = ["x" * characters for characters in (6, 1, 4, 2, 5, 3)]
LENGTHS = np.array([10, 1, 8, 2, 6, 4])
"""Tokens that characters do not foretell, as where a tokenizer knows a script less: by characters 10 6 8 4 2 1."""


@pytest.mark.parametrize(
    ("order", "padded"),
    [(as_they_come, 20 + 16 + 12), (by_characters, 20 + 16 + 4), (by_tokens, 20 + 12 + 4)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_padding_of_batches_of_two_is_what_one_counts_by_hand(order: Any, padded: int) -> None:
    """31 tokens in pairs: each costs twice its longer text."""
    waste = measure_waste(list(fixed_batches(TEXTS, LENGTHS, order, rows=2)))
    assert (waste.real, waste.padded, waste.forwards, waste.share) == (31, padded, 3, 1 - 31 / padded)


def test_the_predecessor_sorts_within_its_chunks_only() -> None:
    """Chunks of three texts, two a batch: 10 8, 1 and 6 4, 2."""
    batches = fixed_batches(TEXTS, LENGTHS, rows=2, chunk=3)
    assert [batch.tolist() for batch in batches] == [[10, 8], [1], [6, 4], [2]]


def test_a_sample_of_the_predecessors_batches_pads_as_they_do() -> None:
    """48 of 160 rows are three of its ten batches, the first and the last among them, and sort into the same again."""
    lengths = np.random.default_rng(0).permutation(160) + 1
    texts = ["x" * int(characters) for characters in np.random.default_rng(1).permutation(160)]
    every = [batch.tolist() for batch in fixed_batches(texts, lengths)]
    rows = sample_of_batches(texts, 48)
    some = [batch.tolist() for batch in fixed_batches([texts[row] for row in rows], lengths[rows])]
    assert some == [every[0], every[4], every[9]]


@pytest.mark.parametrize(
    ("packing", "window", "expected"),
    [
        (Packing(padded=True), 6, [[10, 8], [6, 4, 2], [1]]),
        (UNPADDED, 6, [[10, 8], [6, 4, 2, 1]]),
        (UNPADDED, 3, [[10, 8, 1], [6, 4, 2]]),
    ],
)
def test_a_budget_of_twenty_tokens_is_spent_window_by_window(
    packing: Packing, window: int, expected: list[list[int]]
) -> None:
    """What the product's own Packing gives, longest first."""
    batches = list(packed_batches(LENGTHS, packing, 20, window))
    assert [batch.tolist() for batch in batches] == expected


def test_arithmetic_is_counted_as_the_formula_says() -> None:
    """One layer of width 2 and 3: 56 a token and 8 a pair; bge-m3 has 604 million a token (research/encoder.md 2)."""
    small = TransformerShape(layers=1, hidden=2, feed_forward=3)
    assert small.flops(np.array([3, 1])) == 4 * 56 + (9 + 1) * 8
    assert small.padded_flops([np.array([3, 1])]) == 6 * 56 + (9 + 9) * 8
    assert BGE_M3.flops(np.array([1])) == 603_979_776 + 98_304


def test_a_gpu_that_the_table_does_not_have_has_no_peak() -> None:
    """Names that only look alike are other devices."""
    assert peak_flops("NVIDIA H200", "bf16") == peak_flops("NVIDIA H100 80GB HBM3", "fp16") == 989.4e12
    assert peak_flops("NVIDIA H100 PCIe", "tf32") == 378e12
    assert peak_flops("NVIDIA A10", "fp32") == 31.2e12
    assert [peak_flops(name, "bf16") for name in ("NVIDIA A10G", "NVIDIA L40S", "Tesla T4")] == [None] * 3

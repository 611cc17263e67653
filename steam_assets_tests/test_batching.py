"""Packs of texts, and the budget that learns from failures."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from steam_assets.encoder.batching import (
    FORGET_AFTER_PACKS,
    GROW_AFTER_PACKS,
    PADDED,
    UNPADDED,
    Packing,
    TokenBudget,
    longest_first,
)

lengths = st.lists(st.integers(min_value=1, max_value=9000), min_size=1, max_size=300).map(
    lambda found: np.array(found, dtype=np.int64)
)
budgets = st.integers(min_value=1, max_value=20_000)
UNCAPPED = Packing(padded=True)
packings = st.sampled_from([UNPADDED, PADDED, UNCAPPED, Packing(padded=True, pad_share=0.5)])


def packed(found: NDArray[np.int64], budget: int, packing: Packing) -> list[NDArray[np.intp]]:
    """All packs, as the encoder takes them."""
    order = longest_first(found)
    packs = []
    while len(order):
        size = packing.size(found[order], budget)
        packs.append(order[:size])
        order = order[size:]
    return packs


@given(lengths, budgets, packings)
def test_every_text_is_in_exactly_one_pack(found: NDArray[np.int64], budget: int, packing: Packing) -> None:
    """Nothing is dropped and nothing is encoded twice."""
    rows = np.concatenate(packed(found, budget, packing))
    assert sorted(rows) == list(range(len(found)))


@given(lengths, budgets, packings)
def test_a_pack_stays_within_the_budget_unless_it_is_one_text(
    found: NDArray[np.int64], budget: int, packing: Packing
) -> None:
    """A text above the budget runs alone."""
    for pack in packed(found, budget, packing):
        assert packing.cost(found[pack]) <= budget or len(pack) == 1


@given(lengths, budgets, packings)
def test_the_longest_texts_come_first(found: NDArray[np.int64], budget: int, packing: Packing) -> None:
    """If the first pack fits in memory, so does every later one."""
    assert [int(n) for pack in packed(found, budget, packing) for n in found[pack]] == sorted(found, reverse=True)


@given(lengths, budgets)
def test_a_pack_takes_as_many_texts_as_the_budget_allows(found: NDArray[np.int64], budget: int) -> None:
    """Without a cap on padding, or without any, one more text would not fit."""
    for packing in (UNPADDED, UNCAPPED):
        for pack, following in pairwise(packed(found, budget, packing)):
            assert packing.cost(found[np.append(pack, following[0])]) > budget


@given(lengths, budgets)
def test_a_capped_pack_is_mostly_text(found: NDArray[np.int64], budget: int) -> None:
    """At most 5 % of it is padding, except in packs that are small anyway."""
    for pack in packed(found, budget, PADDED):
        cost = PADDED.cost(found[pack])
        assert found[pack].sum() >= 0.95 * cost or cost <= budget / 16


def test_without_padding_only_the_texts_cost() -> None:
    """A rectangle around [9, 4, 1] has 27 tokens, the texts have 14."""
    found = np.array([9, 4, 1], dtype=np.int64)
    assert (PADDED.cost(found), UNPADDED.cost(found)) == (27, 14)
    assert [UNPADDED.size(found, budget) for budget in (8, 9, 13, 14)] == [1, 1, 2, 3]


def test_equal_lengths_keep_their_order() -> None:
    """So that the same rows make the same packs."""
    assert list(longest_first(np.array([3, 9, 4, 4, 1]))) == [1, 2, 3, 0, 4]


@given(st.integers(min_value=1, max_value=100_000), st.integers(min_value=1, max_value=64))
def test_retries_of_a_pack_end_whatever_fails(longest: int, rows: int) -> None:
    """Each failure cuts the pack, so a device that holds nothing is known after a few tries."""
    budget = TokenBudget(longest * rows)
    found = np.full(rows, longest, dtype=np.int64)
    sizes = [UNCAPPED.size(found, budget.tokens)]
    while sizes[-1] > 1:
        budget.shrink(UNCAPPED.cost(found[: sizes[-1]]))
        sizes.append(UNCAPPED.size(found, budget.tokens))
    assert all(later < earlier for earlier, later in pairwise(sizes))
    assert len(sizes) <= 10  # 64 * 0.6^9 < 1


def test_a_budget_remembers_what_failed() -> None:
    """It grows back slowly, and stays below."""
    budget = TokenBudget(16_000)
    budget.shrink(10_000)
    assert budget.tokens == 6000

    seen = set()
    for _ in range(GROW_AFTER_PACKS * 6):
        budget.held(budget.tokens)
        seen.add(budget.tokens)
    assert seen == {6000, 6900, 7935, 9000}


def test_a_budget_without_failures_stays_at_its_limit() -> None:
    """What the user set is a limit, not a start."""
    budget = TokenBudget(4096)
    for _ in range(FORGET_AFTER_PACKS * 2):
        budget.held(4096)
    assert budget.tokens == 4096


def test_a_budget_returns_to_its_limit_when_the_memory_comes_back() -> None:
    """A failure long ago counts for less and less."""
    budget = TokenBudget(16_000)
    budget.shrink(10_000)
    for _ in range(20 * FORGET_AFTER_PACKS):
        budget.held(budget.tokens)
    assert budget.tokens == 16_000


@pytest.mark.parametrize("cost", [1, 2999])
def test_small_packs_prove_nothing_about_larger_ones(cost: int) -> None:
    """The rest of a page does not make the budget grow."""
    budget = TokenBudget(16_000)
    budget.shrink(10_000)
    for _ in range(GROW_AFTER_PACKS * 2):
        budget.held(cost)
    assert budget.tokens == 6000

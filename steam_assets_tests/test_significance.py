"""A difference between two searches is told with its interval and with how often chance alone gives it."""

from itertools import product

import numpy as np
import pytest

from steam_assets.evaluation.significance import SIGNIFICANT, paired_difference, randomization_p_value

FEW = np.array([0.5, 0.25, -0.1, 0.3, 0.0, 0.05, 0.4, -0.2])


def exact_p_value(differences: list[float]) -> float:
    """The share of all assignments of signs whose sum is as far from 0 as the one observed."""
    observed = abs(sum(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((-1, 1), repeat=8)]
    return sum(total >= observed - 1e-12 for total in sums) / len(sums)


def test_the_p_value_is_that_of_all_assignments_of_signs() -> None:
    """Drawn ones, so within what 10,000 draws may be off: three standard errors."""
    exact = exact_p_value(FEW.tolist())
    assert abs(randomization_p_value(FEW) - exact) < 3 * np.sqrt(exact * (1 - exact) / 10_000)


def test_the_p_value_does_not_know_which_of_the_two_came_first() -> None:
    """It is two-sided; ties tell nothing, and add nothing."""
    assert randomization_p_value(FEW) == randomization_p_value(-FEW)
    assert randomization_p_value(np.concatenate([FEW, np.zeros(1_000)])) == randomization_p_value(FEW[FEW != 0])


def test_no_difference_at_all_is_no_evidence() -> None:
    """p is 1, and the interval is a point."""
    found = paired_difference(np.full(50, 0.7), np.full(50, 0.7))
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert not found.is_significant


def test_a_difference_of_every_query_is_beyond_chance_and_never_certain() -> None:
    """The observed order counts as one of the draws: p is not 0."""
    before = np.linspace(0, 0.5, 100)
    found = paired_difference(before, before + 0.25)
    assert found.difference == pytest.approx(0.25)
    assert [found.low, found.high] == pytest.approx([0.25, 0.25])
    assert 0 < found.p_value < 0.001
    assert [found.first, found.second] == pytest.approx([0.25, 0.5])
    assert found.queries == 100


def test_pairs_tell_what_means_alone_would_hide() -> None:
    """Queries differ far more than the searches do: the interval is that of the differences."""
    random = np.random.default_rng(1)
    hard = random.random(400)
    found = paired_difference(hard, hard + random.normal(0.01, 0.02, 400))
    assert found.is_significant
    assert 0 < found.low < found.difference < found.high < 0.015


def test_equal_searches_seem_different_as_often_as_the_level_says() -> None:
    """Of 300 pairs of alike searches some 5 % come out below 0.05."""
    random = np.random.default_rng(2)
    found = [randomization_p_value(random.normal(0, 1, 40), permutations=500) < SIGNIFICANT for _ in range(300)]
    assert 0.02 < np.mean(found) < 0.09


def test_what_was_drawn_is_drawn_again() -> None:
    """The same scores give the same numbers, in any process."""
    assert paired_difference(FEW, FEW**2) == paired_difference(FEW, FEW**2)


def test_scores_of_other_queries_are_no_pairs() -> None:
    """Nor is nothing."""
    with pytest.raises(ValueError, match="scores of 8 and of 3 queries are no pairs"):
        paired_difference(FEW, FEW[:3])
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference(FEW[:0], FEW[:0])

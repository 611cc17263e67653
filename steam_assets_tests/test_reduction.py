"""Fewer numbers keep what a map is made of: which vectors are alike."""

import numpy as np
import pytest

from steam_assets.pictures.reduction import fit_reduction
from steam_assets_tests.maps import blobs


def test_vectors_in_few_directions_keep_their_cosines() -> None:
    """Nothing is lost of vectors that need no more numbers than are kept."""
    vectors = np.hstack([blobs(200, dimension=20), np.zeros((200, 44), dtype=np.float32)])
    reduction = fit_reduction(vectors, numbers=20)
    reduced = reduction.apply(vectors)

    assert reduced.shape == (200, 20)
    assert reduced.dtype == np.float32
    assert reduction.kept == pytest.approx(1.0)
    np.testing.assert_allclose(reduced @ reduced.T, vectors @ vectors.T, atol=1e-5)


def test_the_longest_directions_are_kept() -> None:
    """What is dropped is the least there is, and ``kept`` says how much is left."""
    vectors = np.diag([3.0, 1.0, 2.0]).astype(np.float32)
    reduction = fit_reduction(vectors, numbers=2)

    np.testing.assert_allclose(reduction.apply(vectors), [[3, 0], [0, 0], [0, 2]], atol=1e-6)
    assert reduction.kept == pytest.approx(13 / 14)


def test_short_vectors_stay_as_long_as_they_are() -> None:
    """A column of eight numbers has eight directions, and no more are made up."""
    vectors = blobs(30, dimension=8)
    assert fit_reduction(vectors).apply(vectors).shape == (30, 8)

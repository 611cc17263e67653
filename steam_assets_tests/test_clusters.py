"""Clusters are of the vectors, whatever the map looks like."""

import numpy as np
import pytest

from steam_assets.pictures.clusters import MOST_CLUSTERS, cluster_count, find_clusters
from steam_assets_tests.maps import blobs


def test_rows_of_one_direction_are_one_cluster() -> None:
    """Four directions, four clusters, each of one of them."""
    found = find_clusters(blobs(400, directions=6))
    assert len(set(found.tolist())) == cluster_count(400) == 6
    for direction in range(6):
        assert len(set(found[direction::6].tolist())) == 1


def test_how_long_a_vector_is_does_not_matter() -> None:
    """Meaning is a direction; half a vector means the same."""
    vectors = blobs(400, directions=6)
    lengths = np.linspace(0.2, 5, 400, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(find_clusters(vectors), find_clusters(vectors * lengths))


def test_the_largest_cluster_is_the_first() -> None:
    """Its name and its colour are the first that are given."""
    vectors = np.vstack([blobs(15, directions=1), blobs(45, directions=1, seed=5), blobs(30, directions=1, seed=9)])
    sizes = np.bincount(find_clusters(vectors))
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True) == [45, 30, 15]


def test_the_same_vectors_have_the_same_clusters() -> None:
    """Nothing is left to chance."""
    vectors = blobs(300, directions=9)
    assert find_clusters(vectors).tobytes() == find_clusters(vectors.copy()).tobytes()


def test_fewer_different_vectors_than_clusters_are_no_error() -> None:
    """A thousand rows with one text are one cluster."""
    assert set(find_clusters(np.tile(blobs(1), (1000, 1))).tolist()) == {0}


@pytest.mark.parametrize(("rows", "count"), [(3, 2), (120, 3), (5_858, 24), (250_000, MOST_CLUSTERS)])
def test_more_rows_have_more_clusters(rows: int, count: int) -> None:
    """But never more than there is room for on a map."""
    assert cluster_count(rows) == count

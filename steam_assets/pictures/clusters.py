"""Groups of rows that mean something alike, found among the vectors, not on the map. Their names are words.py's."""

import math
import warnings

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

MOST_CLUSTERS = 36
"""More names than these have no room on a map."""
ROWS_PER_CLUSTER = 10
ITERATIONS = 60
SEED = 42


def cluster_count(rows: int) -> int:
    """More clusters for more rows, but slower: 120 -> 3, 5,858 -> 24, 250,000 -> 36."""
    return min(MOST_CLUSTERS, rows, max(2, int(math.sqrt(rows / ROWS_PER_CLUSTER))))


def find_clusters(vectors: Matrix) -> NDArray[np.uint8]:
    """The cluster of each row by k-means over directions, the largest cluster being 0.

    Every row is in one. HDBSCAN leaves rows out, and scikit-learn's takes time by the square of the rows.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # scikit-learn's annotations know n_init as a word only.
    k_means = KMeans(cluster_count(len(vectors)), n_init=2, max_iter=ITERATIONS, random_state=SEED)  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():
        # Fewer different vectors than clusters: there are fewer clusters then.
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        found = k_means.fit_predict(vectors / np.maximum(lengths, 1e-12))
    sizes = np.bincount(found, minlength=k_means.n_clusters)
    place = np.empty(len(sizes), dtype=np.uint8)
    place[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.asarray(place[found], dtype=np.uint8)

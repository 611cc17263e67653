"""Exact neighbours do not depend on pages, and recall is fair to rows that are equally near."""

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.indexes.neighbours import Neighbours, exact_neighbours
from steam_assets.store.variants import nearest_exactly
from steam_assets_tests.made_up_vectors import BY_NUMBER, clustered, make_vectors
from steam_assets_tests.rows import fetch

VECTORS = clustered(200)
QUERIES = clustered(5, seed=9)


@pytest.mark.parametrize("pages", [1, 3, 50])
def test_the_nearest_rows_are_those_the_server_finds(conn: connection, pages: int) -> None:
    """Whatever the pages are; a page may have fewer rows than are looked for."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    found = exact_neighbours(np.array_split(VECTORS, pages), QUERIES, 10)
    for query, cosines in zip(QUERIES.tolist(), found.cosines.tolist(), strict=True):
        rows = fetch(conn, nearest_exactly(BY_NUMBER, run.run_id, query, 10))
        assert cosines == pytest.approx([float(str(cosine)) for _, cosine in rows], abs=1e-6)


def test_vectors_of_any_length_are_compared_by_direction() -> None:
    """As the server's cosine does; one of zeros is near nothing."""
    scaled = VECTORS * np.linspace(0.5, 2, 200, dtype=np.float32)[:, None]
    plain, longer = exact_neighbours([VECTORS], QUERIES, 5), exact_neighbours([scaled], 3 * QUERIES, 5)
    assert np.abs(plain.cosines - longer.cosines).max() < 1e-6
    assert np.isfinite(exact_neighbours([np.zeros((5, 32), dtype=np.float32)], QUERIES, 5).cosines).all()


def test_recall_is_the_share_of_places_that_are_filled() -> None:
    """A row counts once, however many others were found; what was not found is missed."""
    nearest = Neighbours(np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]], dtype=np.float32))
    assert nearest.recall([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]], 3) == 1
    assert nearest.recall([[0.9, 0.8, 0.1], [0.6]], 3) == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert nearest.recall([[0.9, 0.8, 0.7]], 2) == 1
    assert nearest.recall([[], []], 3) == 0
    assert nearest.recall([], 3) == 0


def test_any_of_several_equally_near_rows_will_do() -> None:
    """Texts that repeat have the same vector: which one of them is found is no matter of recall."""
    nearest = Neighbours(np.array([[0.9, 0.5, 0.5]], dtype=np.float32))
    assert nearest.recall([[0.9, 0.5 - 1e-7]], 2) == 1
    assert nearest.recall([[0.9, 0.5 - 1e-4]], 2) == 0.5


def test_of_fewer_rows_than_are_asked_for_all_are_the_nearest() -> None:
    """A column of seven rows has no hundred neighbours."""
    nearest = exact_neighbours([VECTORS[:7]], QUERIES, 7)
    assert nearest.recall([list(row) for row in nearest.cosines], 100) == 1

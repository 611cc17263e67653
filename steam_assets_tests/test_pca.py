"""Projections are the principal components of a run's own vectors, the same whenever they are fitted."""

from functools import partial

import numpy as np
import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.indexes.pca import drop_old_projections, ensure_projection, fit, fit_projection
from steam_assets.store.hnsw_lock import IndexBeingBuilt
from steam_assets.store.side_tables import claimed
from steam_assets_tests.made_up_vectors import BY_NUMBER, NUMBERS, clustered, make_vectors
from steam_assets_tests.rows import Connect, fetch

VECTORS = clustered(500)


def test_the_fit_is_the_singular_value_decomposition_whatever_the_pages() -> None:
    """Rows in one page or in many: the same axes, longest first, and the same share of the lengths."""
    whole, paged = fit([VECTORS], NUMBERS, 5), fit(np.array_split(VECTORS, 7), NUMBERS, 5)
    _, lengths, axes = np.linalg.svd(VECTORS, full_matrices=False)
    assert np.abs(np.abs((whole.matrix * axes[:5]).sum(axis=1)) - 1).max() < 1e-3
    assert whole.explained == pytest.approx((lengths[:5] ** 2).sum() / (lengths**2).sum(), abs=1e-4)
    assert np.abs(whole.matrix - paged.matrix).max() < 1e-3
    assert whole.rows == paged.rows == 500


def test_a_projection_keeps_neighbours_that_truncation_loses() -> None:
    """Turned at random, no number of a vector matters more than another; its principal components do."""
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(NUMBERS, NUMBERS)))[0].astype(np.float32)
    turned = VECTORS @ turn
    fitted = fit([turned], NUMBERS, 8)

    def recall(short: np.ndarray) -> float:
        unit = short / np.linalg.norm(short, axis=1, keepdims=True)
        nearest = np.argsort(-(unit @ unit.T), axis=1)[:, 1:11]
        exact = np.argsort(-(turned @ turned.T), axis=1)[:, 1:11]
        return float(np.mean([len({*a} & {*b}) / 10 for a, b in zip(nearest.tolist(), exact.tolist(), strict=True)]))

    assert recall(fitted.project_rows(turned)) > recall(turned[:, :8]) + 0.2


def test_a_projection_keeps_the_direction_that_all_vectors_share() -> None:
    """It varies the least of all, so axes of the covariance would drop it first, and every cosine with it."""
    shifted = VECTORS + 2 * VECTORS[0]
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    fitted = fit([shifted], NUMBERS, NUMBERS - 1)
    unit = fitted.project_rows(shifted)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert np.abs(unit @ unit.T - shifted @ shifted.T).max() < 0.02


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_fewer_rows_than_components_are_no_error(rows: int) -> None:
    """The matrix has its shape and is finite."""
    fitted = fit([VECTORS[:rows]], NUMBERS, 16)
    assert fitted.matrix.shape == (16, NUMBERS)
    assert np.isfinite(fitted.matrix).all()
    assert np.isfinite(fitted.project(VECTORS[0].tolist())).all()


def test_a_large_run_is_fitted_on_a_share_of_its_rows(conn: connection) -> None:
    """By hash; all rows where they are few."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    assert 60 <= fit_projection(conn, BY_NUMBER, run.run_id, NUMBERS, 500, most_rows=100).rows <= 150
    assert fit_projection(conn, BY_NUMBER, run.run_id, NUMBERS, 500).rows == 500


def test_a_projection_that_is_up_to_date_is_not_made_again(conn: connection, connect: Connect) -> None:
    """A build that was killed after it goes on from there."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    told: list[str] = []
    first = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS, told.append)
    assert ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS, told.append).projection_id == first.projection_id
    assert len(told) == 2
    assert "500 rows" in told[0]
    count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(first.table))
    assert fetch(conn, count) == [(500,)]


def test_a_column_is_projected_by_one_session_at_a_time(
    conn: connection, other_conn: connection, database_url: str
) -> None:
    """The second is told so; what is to be dropped the first one drops, and no build fails for it."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    impatient = partial(psycopg2.connect, database_url, options="-c lock_timeout=50ms")
    with claimed(other_conn, f"projections of {BY_NUMBER}"):
        with pytest.raises(IndexBeingBuilt, match=r"is projecting the vectors of by_number\.body_embedding"):
            ensure_projection(impatient, BY_NUMBER, run.run_id, NUMBERS)
        drop_old_projections(impatient, BY_NUMBER)
    assert ensure_projection(impatient, BY_NUMBER, run.run_id, NUMBERS).projection_id


def test_a_run_without_vectors_is_refused_with_the_next_command(conn: connection, connect: Connect) -> None:
    """There is nothing to fit a matrix on."""
    run = make_vectors(conn, BY_NUMBER, VECTORS[:0].reshape(0, NUMBERS))
    with pytest.raises(SteamAssetsError, match=r"no vectors of run \d+\. Next: `steam-assets embed by_number"):
        ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)

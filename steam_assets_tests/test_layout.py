"""Layouts put like beside like, the same way each time, and say how they were made."""

import numpy as np
import pytest
from numpy.typing import NDArray

from steam_assets.errors import SteamAssetsError
from steam_assets.pictures import layout
from steam_assets.pictures.layout import Method, lay_out
from steam_assets_tests.maps import blobs

ROWS, DIRECTIONS = 120, 4
UMAP = pytest.param("umap", marks=pytest.mark.slow)
"""Its first map of a process takes 15 s of compiling."""


def own_kind_nearest(places: NDArray[np.float32]) -> float:
    """The share of rows whose nearest row on the map is one of their own direction."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    kinds = np.arange(len(places)) % DIRECTIONS
    return float((kinds[apart.argmin(axis=1)] == kinds).mean())


def without_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "umap_is_installed", lambda: False)


@pytest.mark.parametrize("method", [UMAP, "pca"])
def test_rows_of_one_kind_lie_together(method: Method) -> None:
    """The nearest on the map is alike among the vectors too."""
    assert own_kind_nearest(lay_out(blobs(ROWS, DIRECTIONS), method).places) > 0.9


@pytest.mark.parametrize("method", [UMAP, "pca"])
def test_the_same_vectors_have_the_same_map(method: Method) -> None:
    """A map drawn again can be compared with the one before."""
    vectors = blobs(ROWS, DIRECTIONS)
    first, second = lay_out(vectors, method), lay_out(vectors.copy(), method)
    assert first.places.shape == (ROWS, 2)
    assert first.places.tobytes() == second.places.tobytes()


@pytest.mark.slow
def test_umap_is_used_where_it_is_installed() -> None:
    """Nobody has to ask for it, and nothing is to be said about it."""
    found = lay_out(blobs(ROWS))
    assert (found.method, found.notice) == ("UMAP", None)


def test_without_umap_there_is_a_pca_and_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is there, and says what it would take to have a better one."""
    without_umap(monkeypatch)
    found = lay_out(blobs(ROWS))
    assert found.method == "PCA"
    assert found.notice is not None
    assert "pip install 'steam-assets[map]'" in found.notice


def test_umap_that_was_asked_for_and_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says umap does not get something else."""
    without_umap(monkeypatch)
    with pytest.raises(SteamAssetsError, match=r"umap-learn, which is not installed\. pip install"):
        lay_out(blobs(ROWS), "umap")


@pytest.mark.parametrize("method", ["auto", "pca"])
def test_two_rows_are_no_map(method: Method) -> None:
    """The error says how many there are and how many are needed."""
    with pytest.raises(SteamAssetsError, match="at least 3 rows with vectors; found 2"):
        lay_out(blobs(2), method)


@pytest.mark.parametrize("rows", [3, 15, pytest.param(16, marks=pytest.mark.slow)])
def test_small_tables_have_a_map(rows: int) -> None:
    """UMAP looks at fifteen neighbours; with fewer rows it is a PCA, and says so."""
    found = lay_out(blobs(rows))
    assert np.isfinite(found.places).all()
    assert found.method == ("UMAP" if rows > 15 else "PCA")
    assert (found.notice is None) == (rows > 15)


@pytest.mark.parametrize("rows", [4, 40])
def test_equal_vectors_lie_at_one_place(rows: int) -> None:
    """There is nothing to tell them apart, and no division by their spread."""
    found = lay_out(np.tile(blobs(1), (rows, 1)))
    assert len(np.unique(found.places, axis=0)) == 1
    assert found.notice == "every vector is the same"


@pytest.mark.slow
def test_many_equal_vectors_among_others_keep_to_finite_places() -> None:
    """A thousand copies of one text are no reason to draw nothing."""
    vectors = np.vstack([np.tile(blobs(1), (100, 1)), blobs(30, seed=1)])
    assert np.isfinite(lay_out(vectors).places).all()


def test_vectors_of_one_number_are_laid_out_on_a_line() -> None:
    """A second direction is not made up."""
    places = lay_out(np.array([[-1.0], [1.0], [0.5]], dtype=np.float32), "pca").places
    assert places.shape == (3, 2)
    assert not places[:, 1].any()

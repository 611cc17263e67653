"""Where each row lies on a map: by UMAP, or by PCA where umap-learn is not installed."""

import importlib.util
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steam_assets.errors import SteamAssetsError

Matrix = NDArray[np.float32]
Method = Literal["auto", "umap", "pca"]

FEWEST_ROWS = 3
NEIGHBOURS = 15
MIN_DISTANCE = 0.1
SEED = 42
INSTALL = "pip install 'steam-assets[map]'"


@dataclass(frozen=True)
class Layout:
    """A place (rows, 2) for each row, how it was found, and what a person should know about that."""

    places: Matrix
    method: str
    notice: str | None = None


def lay_out(vectors: Matrix, method: Method = "auto") -> Layout:
    """Neighbours by cosine side by side, the same places each time; raises SteamAssetsError below three rows."""
    rows = len(vectors)
    if rows < FEWEST_ROWS:
        raise SteamAssetsError(f"A map needs at least {FEWEST_ROWS} rows with vectors; found {rows}.")
    if method == "umap" and not umap_is_installed():
        raise SteamAssetsError(f"UMAP needs umap-learn, which is not installed. {INSTALL}, or use the method pca.")
    if not np.ptp(vectors, axis=0).any():
        return Layout(np.zeros((rows, 2), dtype=np.float32), "PCA", "every vector is the same")
    if method == "pca":
        return Layout(by_pca(vectors), "PCA")
    if not umap_is_installed():
        return Layout(by_pca(vectors), "PCA", f"UMAP, which shows neighbours better, is missing: {INSTALL}")
    if rows <= NEIGHBOURS:
        return Layout(
            by_pca(vectors), "PCA", f"{rows} rows are too few for UMAP, which looks at {NEIGHBOURS} neighbours"
        )
    return Layout(by_umap(vectors), "UMAP")


def umap_is_installed() -> bool:
    """Whether the extra `map` is here; looks without importing it, which takes seconds."""
    return importlib.util.find_spec("umap") is not None


def by_pca(vectors: Matrix) -> Matrix:
    """The two directions in which the vectors differ most."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, columns = np.linalg.eigh(centred.T @ centred)
    directions = columns[:, ::-1][:, :2]
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    places = np.zeros((len(vectors), 2), dtype=np.float32)
    places[:, : directions.shape[1]] = centred @ directions
    return places


def by_umap(vectors: Matrix) -> Matrix:
    """UMAP of McInnes, Healy and Melville (2018), on one core: with more of them a seed does not fix the result."""
    with warnings.catch_warnings():
        # Its optional part for tensorflow says that there is none.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        from umap import UMAP
    with warnings.catch_warnings():
        # Of rows far from everything, and of many equal ones: the map is drawn all the same, and nothing can be done.
        for said in ("A (few|large number) of your vertices were disconnected", "Failed to correctly find n_neighbors"):
            warnings.filterwarnings("ignore", said, UserWarning)
        # Begun from PCA, not from eigenvectors of the neighbours' graph, whose solver fails on many equal vectors.
        umap = UMAP(
            n_neighbors=NEIGHBOURS,
            min_dist=MIN_DISTANCE,
            metric="cosine",
            init="pca",
            random_state=SEED,
            n_jobs=1,
            low_memory=True,
        )
        places = np.asarray(umap.fit_transform(vectors), dtype=np.float32)
    # A row without neighbours has no place of its own.
    return np.nan_to_num(places, nan=0.0)

"""Principal components of a run's vectors: fitted page by page, stored, and a side table filled with what they leave.

The shorter vectors are indexed; the stored ones put what is found in order again (store/variants.py).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import numpy as np
from numpy.typing import NDArray
from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.hnsw_lock import IndexBeingBuilt
from steam_assets.store.projected_rows import drop_unused_projections, fill_projection
from steam_assets.store.projections import Fitted, Projection, newest_projection, record_projection
from steam_assets.store.side_tables import claimed
from steam_assets.store.variants import short_dimension
from steam_assets.store.vector_pages import count_vectors, vector_pages

FIT_ROWS = 50_000
"""Rows that a matrix is fitted on, at most: of 20,000 and more the leading components hardly change."""


def ensure_projection(
    connect: Callable[[], connection],
    column: TextColumn,
    run_id: int,
    dimension: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Projection:
    """The projection of a run that has every row as it is now: the one that is there, or a new one.

    Projections that nothing uses any more are dropped. Raises SteamAssetsError while a run writes to the column, and
    IndexBeingBuilt while another session projects it for long.
    """
    with _projecting(connect, column) as conn:
        return _ensure(conn, column, run_id, dimension, tell)


def drop_old_projections(connect: Callable[[], connection], column: TextColumn) -> None:
    """Drop the projections that no index of the column goes through any more; whoever projects it drops them, too."""
    with suppress(IndexBeingBuilt), _projecting(connect, column) as conn:
        drop_unused_projections(conn, column)


@contextmanager
def _projecting(connect: Callable[[], connection], column: TextColumn) -> Iterator[connection]:
    """A connection in autocommit that is the only one to project the column."""
    with closing(connect()) as conn, ExitStack() as claim:
        conn.autocommit = True
        try:
            claim.enter_context(claimed(conn, f"projections of {column}"))
        except errors.LockNotAvailable:
            raise IndexBeingBuilt(
                f"Another session is projecting the vectors of {column}, for an index of it. Wait for that one; "
                "`steam-assets index list` shows when it is there."
            ) from None
        yield conn


def _ensure(
    conn: connection, column: TextColumn, run_id: int, dimension: int, tell: Callable[[str], None]
) -> Projection:
    drop_unused_projections(conn, column)
    if (present := newest_projection(conn, column, run_id)) is not None:
        return present
    rows = count_vectors(conn, column, run_id)
    if not rows:
        raise SteamAssetsError(f"{column} has no vectors of run {run_id}. Next: `steam-assets embed {column}`.")
    fitted = fit_projection(conn, column, run_id, dimension, rows)
    tell(
        f"{column}: {fitted.matrix.shape[0]} of {dimension} components, fitted on {fitted.rows:,} rows, keep "
        f"{fitted.explained:.1%} of their lengths; projecting {rows:,} rows."
    )
    projection = record_projection(conn, column, run_id, fitted)
    filled = fill_projection(conn, column, projection)
    tell(f"{column}: {filled:,} rows projected into {projection.table}.")
    return projection


def fit_projection(
    conn: connection, column: TextColumn, run_id: int, dimension: int, rows: int, most_rows: int = FIT_ROWS
) -> Fitted:
    """The principal components of a run's vectors, fitted on ``most_rows`` of them, or on all there are."""
    pages = vector_pages(conn, column, run_id, dimension, share=min(1.0, most_rows / rows))
    return fit((page.vectors for page in pages), dimension, short_dimension(dimension))


def fit(pages: Iterable[NDArray[np.float32]], dimension: int, components: int) -> Fitted:
    """The axes that keep most of the vectors' lengths, longest first; one page is in memory at a time.

    Not of the covariance: cosines are angles at the origin, and the direction that all vectors of a model share has
    little variance, but much of each cosine. From the mean, 256 of MiniLM's 384 numbers find 0.73 of the 10 nearest
    before they are ordered again, from the origin 0.96 (2026-11, 5,858 applications).
    """
    rows, products = 0, np.zeros((dimension, dimension))
    for vectors in pages:
        rows += len(vectors)
        products += vectors.T @ vectors
    lengths, axes = np.linalg.eigh(products / max(rows, 1))
    lengths = np.clip(lengths[::-1], 0, None)
    matrix = axes.T[::-1][:components]
    # An axis points either way; with its largest number positive the same rows give the same matrix.
    largest = np.abs(matrix).argmax(axis=1)
    matrix = matrix * np.sign(matrix[np.arange(len(matrix)), largest])[:, None]
    whole = float(lengths.sum())
    explained = float(lengths[:components].sum()) / whole if whole > 0 else 1.0
    return Fitted(np.ascontiguousarray(matrix, dtype=np.float32), rows, explained)

"""Projections: matrices that shorten the vectors of a run, and whether their side tables are up to date.

Fitting is indexes/pca.py's, filling a side table projected_rows.py's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.locks import LOST

Floats = NDArray[np.float32]

MATRICES_KEPT = 8
"""By a process that searches: one of 256 x 1,024 numbers is 1 MB, and takes some 10 ms to read."""

PROJECTED = "embedding_projected_"
"""Side tables are called so, and then by the projection's number."""

# Every attempt at a range is recorded before it writes a vector, and taking over another tool's vectors is noted with
# the run. Attempts are counted too: one may get its number, and be seen only after a later one. One that has ended
# without a forward and without a row changed nothing; of one with forwards, the server may have kept a chunk and been
# lost before it said so.
STATE = """
    SELECT jsonb_build_object(
        'attempts', count(*),
        'last_attempt', max(range_id),
        'notes', (SELECT md5(notes) FROM public.embedding_runs WHERE run_id = %(run_id)s))
    FROM public.embedding_run_ranges
    WHERE table_name = %(table)s
      AND vector_column = %(vector)s
      AND run_id = %(run_id)s
      AND (rows_written = 0 AND details ->> 'forwards' = '0') IS NOT TRUE
"""

# In one statement, which sees one moment: a run that begins after it is not in the state.
RECORD = f"""
    INSERT INTO public.embedding_projections
           (table_name, vector_column, run_id, dimension, components, matrix, digest, rows_fitted, explained,
            state)
    SELECT %(table)s, %(vector)s, %(run_id)s, %(dimension)s, %(components)s, %(matrix)s, %(digest)s,
           %(rows_fitted)s, %(explained)s, ({STATE})
    WHERE NOT EXISTS (
        SELECT
        FROM public.embedding_run_ranges
        WHERE table_name = %(table)s
          AND vector_column = %(vector)s
          AND run_id = %(run_id)s
          AND status = 'running'
          AND NOT ({LOST}))
    RETURNING projection_id
"""  # noqa: S608 (a constant)

INDEXED = """
    SELECT projection_id
    FROM public.embedding_indexes
    WHERE table_name = %(table)s
      AND vector_column = %(vector)s
      AND run_id = %(run_id)s
      AND projection_id IS NOT NULL
"""

# The one that searches go through, if an index is recorded over one; a newer one gets its index first.
FIND = f"""
    SELECT p.projection_id, p.run_id, p.digest, p.rows_fitted, p.explained,
           p.state = ({STATE}) AND to_regclass('public.{PROJECTED}' || p.projection_id) IS NOT NULL
    FROM public.embedding_projections AS p
    WHERE p.table_name = %(table)s
      AND p.vector_column = %(vector)s
      AND p.run_id = %(run_id)s
      AND p.filled_at IS NOT NULL
      AND (%(newest)s OR p.projection_id = coalesce(({INDEXED}), p.projection_id))
    ORDER BY p.projection_id DESC
    LIMIT 1
"""  # noqa: S608 (a constant)

MATRIX = "SELECT matrix, components, dimension FROM public.embedding_projections WHERE projection_id = %s"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A projection as fitted on so many ``rows``: its ``matrix`` (components, dimension), which needs no mean.

    ``explained`` is the share of the vectors' squared lengths that is left, 0 to 1.
    """

    matrix: Floats
    rows: int
    explained: float

    def project(self, query: Sequence[float]) -> list[float]:
        """A query as the side table has its rows."""
        return [float(number) for number in self.project_rows(np.asarray([query], dtype=np.float32))[0]]

    def project_rows(self, vectors: Floats) -> Floats:
        """Vectors (rows, dimension) shortened to (rows, components)."""
        return np.asarray(vectors @ self.matrix.T, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Projection:
    """A projection of a run that is stored, with its side table."""

    projection_id: int
    run_id: int
    fitted: Fitted

    @property
    def table(self) -> str:
        """The side table: id and projected, in the schema public."""
        return projection_table(self.projection_id)

    def project(self, query: Sequence[float]) -> list[float]:
        """A query as the side table has its rows."""
        return self.fitted.project(query)


def projection_table(projection_id: int) -> str:
    """The side table of a projection, in the schema public: 7 -> embedding_projected_7."""
    return f"{PROJECTED}{projection_id}"


def current_projection(conn: connection, column: TextColumn, run_id: int) -> Projection | None:
    """The projection that searches of a run may go through: it has every row, as it is now. None where there is none.

    Where the run has an index over a projection it is that one, or none: queries and rows must be projected alike.
    """
    return _find(conn, column, run_id, newest=False)


def newest_projection(conn: connection, column: TextColumn, run_id: int) -> Projection | None:
    """The newest projection that is filled, if nothing was written to the column since; an index may be missing."""
    return _find(conn, column, run_id, newest=True)


def record_projection(conn: connection, column: TextColumn, run_id: int, fitted: Fitted) -> Projection:
    """Store a projection that is yet to be filled, and what was true of the column now; for a read of it that follows.

    Raises SteamAssetsError while a run is writing to the column.
    """
    components, dimension = fitted.matrix.shape
    matrix = fitted.matrix.astype("<f4").tobytes()
    values = {
        **_of(column, run_id),
        "dimension": dimension,
        "components": components,
        "matrix": matrix,
        "digest": hashlib.sha256(matrix).hexdigest(),
        "rows_fitted": fitted.rows,
        "explained": fitted.explained,
    }
    with conn.cursor() as cursor:
        cursor.execute(RECORD, values)
        recorded = cursor.fetchone()
    if recorded is None:
        raise SteamAssetsError(
            f"{column} is being written by a run; a projection of it would lack rows. Try again when it has ended."
        )
    return Projection(int(recorded[0]), run_id, fitted)


def _find(conn: connection, column: TextColumn, run_id: int, *, newest: bool) -> Projection | None:
    with conn.cursor() as cursor:
        cursor.execute(FIND, {**_of(column, run_id), "newest": newest})
        found = cursor.fetchone()
    if found is None:
        return None
    number, of_run, digest, rows_fitted, explained, is_current = found
    if not is_current:
        return None
    return Projection(number, of_run, Fitted(_matrix(conn, number, digest), rows_fitted, explained))


_matrices: dict[str, Floats] = {}


def _matrix(conn: connection, projection_id: int, digest: str) -> Floats:
    """A matrix, kept by what it is: the same number may be another projection in another database."""
    if (known := _matrices.get(digest)) is not None:
        return known
    with conn.cursor() as cursor:
        cursor.execute(MATRIX, (projection_id,))
        found = cursor.fetchone()
    assert found is not None
    matrix, components, dimension = found
    if hashlib.sha256(bytes(matrix)).hexdigest() != digest:
        raise SteamAssetsError(f"The matrix of projection {projection_id} is not the one that was stored.")
    read = np.frombuffer(matrix, dtype="<f4").astype(np.float32).reshape(components, dimension)
    if len(_matrices) >= MATRICES_KEPT:
        _matrices.clear()
    _matrices[digest] = read
    return read


def _of(column: TextColumn, run_id: int) -> dict[str, object]:
    return {"table": column.qualified_table, "vector": column.vector, "run_id": run_id}

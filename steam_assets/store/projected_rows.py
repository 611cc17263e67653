"""Side tables of projected vectors: made, filled in pages by binary COPY, read back, dropped. Who fits: pca.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Ids
from steam_assets.errors import SteamAssetsError
from steam_assets.store.binary_copy import HEADER, TRAILER
from steam_assets.store.limits import unlimited
from steam_assets.store.projections import PROJECTED, STATE, Fitted, Projection, projection_table
from steam_assets.store.side_tables import claimed, create_table, drop_leftovers, drop_table
from steam_assets.store.states import names
from steam_assets.store.vector_pages import vector_pages

PATTERN = f"^{PROJECTED}[0-9]+$"

# AS SELECT, so that a text id keeps its type and collation; COPY sends int8. Rows are short enough to stay inline.
CREATE = sql.SQL("""
    CREATE TABLE {projected} AS
    SELECT t.{id}{widened} AS id, NULL::halfvec({components}) AS projected
    FROM {table} AS t
    WITH NO DATA
""")
ADD_KEY = sql.SQL("ALTER TABLE {projected} ALTER COLUMN projected SET NOT NULL, ADD PRIMARY KEY (id)")
COPY = sql.SQL("COPY {projected} (id, projected) FROM STDIN (FORMAT binary)")
ANALYZE = sql.SQL("ANALYZE {projected}")
GRANT = sql.SQL("GRANT SELECT ON {projected} TO {role}")

# Of the table or of the column; the role without a number is PUBLIC.
READERS = """
    SELECT DISTINCT pg_get_userbyid(nullif(granted.grantee, 0))
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = c.oid
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) AS granted
    WHERE n.nspname = %s
      AND c.relname = %s
      AND a.attname = %s
      AND granted.privilege_type = 'SELECT'
"""

MISSING = sql.SQL("""
    SELECT count(*)
    FROM {table} AS t
    WHERE t.{run} = {run_id}
      AND t.{vector} IS NOT NULL
      AND NOT EXISTS (SELECT FROM {projected} AS p WHERE p.id = t.{id})
""")
COUNT = sql.SQL("SELECT count(*) FROM {projected}")

FINISH = f"""
    UPDATE public.embedding_projections
    SET rows = %(rows)s, filled_at = clock_timestamp()
    WHERE projection_id = %(projection_id)s
      AND state = ({STATE})
"""  # noqa: S608 (a constant)

FORGET = "DELETE FROM public.embedding_projections WHERE projection_id = %s"

# Of this column: those an index is recorded over, and the newest that is filled, which may be about to get one.
UNUSED = """
    SELECT projection_id
    FROM public.embedding_projections AS p
    WHERE p.table_name = %(table)s
      AND p.vector_column = %(vector)s
      AND NOT EXISTS (SELECT FROM public.embedding_indexes AS i WHERE i.projection_id = p.projection_id)
      AND p.projection_id IS DISTINCT FROM (
          SELECT max(newest.projection_id)
          FROM public.embedding_projections AS newest
          WHERE newest.table_name = %(table)s
            AND newest.vector_column = %(vector)s
            AND newest.filled_at IS NOT NULL)
    ORDER BY p.projection_id
"""

KNOWN = "SELECT projection_id FROM public.embedding_projections"


class WrittenMeanwhile(SteamAssetsError):
    """The column was written to while its vectors were being projected: rows would be missing."""


def fill_projection(conn: connection, column: TextColumn, projection: Projection) -> int:
    """Make the side table of a projection that was just recorded, and project every vector of its run into it.

    Returns how many rows it has, counted there. Raises WrittenMeanwhile where vectors were written since it was
    recorded; then, and on any other error, table and record are gone. The connection is in autocommit.
    """
    with claimed(conn, projection.table), forgotten_on_error(conn, projection), unlimited(conn):
        project_rows(conn, column, projection.run_id, projection.fitted, projection.table)
        _grant(conn, column, projection)
        return _finish(conn, column, projection)


def project_rows(conn: connection, column: TextColumn, run_id: int, fitted: Fitted, table: str) -> None:
    """Make a side table of this name with every vector of a run as ``fitted`` shortens it; a transaction a page."""
    components, dimension = fitted.matrix.shape
    naming = {"projected": sql.Identifier("public", table), **names(column)}
    widened = sql.SQL("::bigint" if column.id_type == "bigint" else "")
    create_table(conn, CREATE.format(**naming, widened=widened, components=sql.Literal(components)))
    with conn.cursor() as cursor:
        for page in vector_pages(conn, column, run_id, dimension):
            rows = BytesIO(payload(page.ids, fitted.project_rows(page.vectors)))
            cursor.copy_expert(COPY.format(**naming), rows)
        cursor.execute(ADD_KEY.format(**naming))
        cursor.execute(ANALYZE.format(**naming))


def _grant(conn: connection, column: TextColumn, projection: Projection) -> None:
    """Whoever may read the vectors may read what was made of them: searches of other roles go through it too."""
    with conn.cursor() as cursor:
        cursor.execute(READERS, (column.schema, column.table, column.vector))
        for (role,) in cursor.fetchall():
            to = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
            cursor.execute(GRANT.format(projected=sql.Identifier("public", projection.table), role=to))


def _finish(conn: connection, column: TextColumn, projection: Projection) -> int:
    """Read back that every vector of the run has its row, and say so in the record."""
    table = {"projected": sql.Identifier("public", projection.table), **names(column)}
    with conn.cursor() as cursor:
        cursor.execute(MISSING.format(**table, run_id=sql.Literal(projection.run_id)))
        (missing,) = cursor.fetchone() or (0,)
        cursor.execute(COUNT.format(**table))
        (rows,) = cursor.fetchone() or (0,)
        of = {"table": column.qualified_table, "vector": column.vector, "run_id": projection.run_id}
        if not missing:
            cursor.execute(FINISH, {**of, "rows": rows, "projection_id": projection.projection_id})
        if missing or not cursor.rowcount:
            lacking = f", and {missing:,} rows are missing from the projection" if missing else ""
            raise WrittenMeanwhile(
                f"{column} was written to while its vectors were projected{lacking}. Run `steam-assets index build "
                f"{column} --variant pca` again when no run writes to it."
            )
    return int(rows)


@contextmanager
def forgotten_on_error(conn: connection, projection: Projection) -> Iterator[None]:
    """Leave neither the side table nor the record of a projection that did not get done."""
    try:
        yield
    except BaseException:
        if not conn.closed:
            drop_projection(conn, projection.projection_id)
        raise


def drop_projection(conn: connection, projection_id: int) -> None:
    """Drop a side table, with an index that it may have, and forget its matrix."""
    drop_table(conn, projection_table(projection_id))
    forget_projection(conn, projection_id)


def forget_projection(conn: connection, projection_id: int) -> None:
    """Delete the matrix; a side table without one goes with the next drop_unused_projections."""
    with conn.cursor() as cursor:
        cursor.execute(FORGET, (projection_id,))


def drop_unused_projections(conn: connection, column: TextColumn) -> list[int]:
    """Drop what no search goes through and no build waits for, what killed processes left included; their numbers.

    Tables without a record, of whichever column, go too. The connection is in autocommit, and nobody else is projecting
    this column.
    """
    with conn.cursor() as cursor:
        cursor.execute(UNUSED, {"table": column.qualified_table, "vector": column.vector})
        unused = [number for (number,) in cursor.fetchall()]
        cursor.execute(KNOWN)
        kept = {projection_table(number) for (number,) in cursor.fetchall() if number not in unused}
    gone = drop_leftovers(conn, PATTERN, kept)
    dropped = []
    for number in unused:
        # One that belongs to somebody else stays, and its record with it.
        if projection_table(number) in gone or not _exists(conn, number):
            forget_projection(conn, number)
            dropped.append(number)
    return dropped


def _exists(conn: connection, projection_id: int) -> bool:
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"public.{projection_table(projection_id)}",))
        return cursor.fetchone() == (True,)


def payload(ids: Ids, projected: NDArray[np.float32]) -> bytes:
    """Rows of id and halfvec in binary COPY format: int16 dimension, int16 unused, half floats; big-endian."""
    pieces = [HEADER]
    if all(isinstance(id_, int) for id_ in ids):
        pieces.append(_records(">i8", np.asarray(ids, dtype=np.int64), projected))
    else:
        encoded = [str(id_).encode() for id_ in ids]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            same = np.frombuffer(b"".join(encoded[row] for row in rows), dtype=f"V{length}") if length else None
            pieces.append(_records(f"V{length}", same, projected[rows]))
    return b"".join([*pieces, TRAILER])


def _records(id_type: str, ids: NDArray[np.int64] | NDArray[np.void] | None, projected: NDArray[np.float32]) -> bytes:
    rows, components = projected.shape
    record = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", id_type),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f2", (components,)),
        ]
    )
    table = np.zeros(rows, dtype=record)
    table["fields"] = 2
    table["id_bytes"] = record["id"].itemsize
    if ids is not None:
        table["id"] = ids
    table["vector_bytes"], table["dimension"] = 4 + 2 * components, components
    table["vector"] = projected
    return table.tobytes()

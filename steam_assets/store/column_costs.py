"""What a run's vectors of a column take: rows, bytes, and the time it took to make them. Reads only."""

from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import serving_record
from steam_assets.store.states import names

# The size as it is stored, compressed or not: looking at it reads no vector that lies outside its row.
VECTORS = sql.SQL("""
    SELECT count(*), coalesce(sum(pg_column_size(t.{vector})), 0)
    FROM {table} AS t
    WHERE t.{vector} IS NOT NULL
      AND t.{run} = {run_id}
""")

ATTEMPTS = """
    SELECT coalesce(sum(rows_written), 0), coalesce(sum(seconds), 0)
    FROM public.embedding_run_ranges
    WHERE table_name = %s
      AND vector_column = %s
      AND run_id = %s
      AND status = 'done'
"""


@dataclass(frozen=True)
class ColumnCosts:
    """Rows with a vector of the run, their bytes and those of the index that searches go through; None without one.

    ``rows_encoded`` in ``embed_seconds`` are of all finished attempts, so a row that changed counts each time.
    """

    vectors: int
    vector_bytes: int
    index_bytes: int | None
    rows_encoded: int
    embed_seconds: float


def column_costs(conn: connection, column: TextColumn, run_id: int) -> ColumnCosts:
    """What the vectors of a run cost; one pass over the table."""
    with conn.cursor() as cursor:
        cursor.execute(VECTORS.format(**names(column), run_id=sql.Literal(run_id)))
        vectors, vector_bytes = cursor.fetchone() or (0, 0)
        cursor.execute(ATTEMPTS, (column.qualified_table, column.vector, run_id))
        rows_encoded, seconds = cursor.fetchone() or (0, 0.0)
    index = serving_record(conn, column, run_id)
    return ColumnCosts(
        int(vectors), int(vector_bytes), None if index is None else index.bytes, int(rows_encoded), float(seconds)
    )

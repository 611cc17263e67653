"""Rows that get no vector, kept by name with the reason until their text or the recipe changes, or someone retries."""

from collections.abc import Sequence

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow

FAILED_ROWS_ALLOWED = 0.001
"""Quarantined rows per row of a range that are no reason to stop: what is downstream may go on."""

RECORD_UNEMBEDDABLE = """
    INSERT INTO public.embedding_failures AS known
           (table_name, vector_column, run_id, id, source_md5, kind, reason)
    VALUES (%s, %s, %s, %s, %s::uuid, %s, %s)
    ON CONFLICT (table_name, vector_column, run_id, id) DO UPDATE
    SET source_md5 = EXCLUDED.source_md5,
        kind = EXCLUDED.kind,
        reason = EXCLUDED.reason,
        attempts = CASE WHEN known.source_md5 = EXCLUDED.source_md5 THEN known.attempts + 1 ELSE 1 END,
        last_at = now(),
        released_at = NULL
"""


def record_unembeddable(conn: connection, column: TextColumn, run_id: int, rows: Sequence[UnembeddableRow]) -> None:
    """Remember rows that get no vector, with the reason, for their present text and this run. Does not commit."""
    with conn.cursor() as cur:
        for row in rows:
            kind = "empty" if row.reason is None else "failed"
            key = (column.qualified_table, column.vector, run_id, str(row.id), row.source_md5.hex())
            cur.execute(RECORD_UNEMBEDDABLE, (*key, kind, row.reason))

"""Why named rows could not be embedded, for a message about them. All failures are listed by failures.py."""

from collections.abc import Sequence

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn

REASONS = """
    SELECT id, reason
    FROM public.embedding_failures
    WHERE table_name = %s
      AND vector_column = %s
      AND run_id = %s
      AND kind = 'failed'
      AND id = ANY (%s::text[])
"""


def failure_reasons(conn: connection, column: TextColumn, run_id: int, ids: Sequence[str]) -> dict[str, str]:
    """The recorded reason of each of ``ids`` that ``run_id`` gave up; those it did not are left out."""
    if not ids:
        return {}
    with conn.cursor() as cursor:
        cursor.execute(REASONS, (column.qualified_table, column.vector, run_id, list(ids)))
        return {id_: reason or "no reason was recorded" for id_, reason in cursor.fetchall()}

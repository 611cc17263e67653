"""Writing down what became of an HNSW index of ours: built, measured, dropped for good. Reading it is hnsw.py's."""

from collections.abc import Mapping

from psycopg2.extensions import connection
from psycopg2.extras import Json

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import BEING_BUILT, REPLACED, index_name
from steam_assets.store.variants import Variant

DEFAULT_EF_SEARCH = 40  # pgvector's; no search uses it before the index is measured

# Another index of the same run may have other recall, but until it is measured searches go on as they did.
RECORD = """
    INSERT INTO public.embedding_indexes AS ours
           (table_name, vector_column, variant, run_id, index_name, projection_id, m, ef_construction, ef_search,
            rows, bytes, seconds, details, dagster_run_id, built_at)
    VALUES (%(table)s, %(vector)s, %(variant)s, %(run_id)s, %(name)s, %(projection_id)s, %(m)s, %(ef_construction)s,
            %(ef_search)s, %(rows)s, %(bytes)s, %(seconds)s, %(details)s, %(dagster_run_id)s, clock_timestamp())
    ON CONFLICT (table_name, vector_column, variant) DO UPDATE
    SET recall = CASE WHEN ours.run_id = EXCLUDED.run_id THEN ours.recall END,
        ef_search = CASE WHEN ours.run_id = EXCLUDED.run_id THEN ours.ef_search ELSE EXCLUDED.ef_search END,
        run_id = EXCLUDED.run_id,
        index_name = EXCLUDED.index_name,
        projection_id = EXCLUDED.projection_id,
        m = EXCLUDED.m,
        ef_construction = EXCLUDED.ef_construction,
        rows = EXCLUDED.rows,
        bytes = EXCLUDED.bytes,
        seconds = EXCLUDED.seconds,
        details = EXCLUDED.details,
        dagster_run_id = EXCLUDED.dagster_run_id,
        built_at = EXCLUDED.built_at
"""

MEASURED = """
    UPDATE public.embedding_indexes
    SET ef_search = %(ef_search)s, recall = %(recall)s, details = coalesce(details, '{}') || %(details)s
    WHERE table_name = %(table)s
      AND vector_column = %(vector)s
      AND variant = %(variant)s
"""

# Bulk work drops what a killed build has left, too.
BUILT_AGAIN = """
    DELETE FROM public.embedding_dropped_indexes
    WHERE table_name = %s
      AND vector_column = %s
      AND index_name = ANY (%s)
"""

FORGET = """
    DELETE FROM public.embedding_indexes
    WHERE table_name = %s
      AND vector_column = %s
      AND variant = %s
"""


def record_build(
    conn: connection,
    column: TextColumn,
    variant: Variant,
    values: Mapping[str, object],
    details: Mapping[str, object],
) -> None:
    """Record that an index was built, its recall yet to be measured, and that it is dropped no more.

    ``values`` are run_id, projection_id, m, ef_construction, rows, bytes, seconds and dagster_run_id. Does not commit.
    """
    with conn.cursor() as cursor:
        cursor.execute(
            RECORD,
            {
                **values,
                "table": column.qualified_table,
                "vector": column.vector,
                "variant": variant.name,
                "name": index_name(column, variant),
                "ef_search": DEFAULT_EF_SEARCH,
                "details": Json(dict(details)),
            },
        )
        if not variant.projected:
            cursor.execute(BUILT_AGAIN, (column.qualified_table, column.vector, _names(column, variant)))


def record_recall(
    conn: connection,
    column: TextColumn,
    variant: Variant,
    ef_search: int,
    recall: float,
    details: Mapping[str, object],
) -> None:
    """Record what an index was measured at: from now on searches may go through it. Does not commit."""
    with conn.cursor() as cursor:
        cursor.execute(
            MEASURED,
            {
                "table": column.qualified_table,
                "vector": column.vector,
                "variant": variant.name,
                "ef_search": ef_search,
                "recall": recall,
                "details": Json(dict(details)),
            },
        )


def forget_index(conn: connection, column: TextColumn, variant: Variant) -> bool:
    """Delete every record of an index, so that nothing builds it again; whether there was one. Does not commit."""
    with conn.cursor() as cursor:
        cursor.execute(FORGET, (column.qualified_table, column.vector, variant.name))
        forgotten = cursor.rowcount
        cursor.execute(BUILT_AGAIN, (column.qualified_table, column.vector, _names(column, variant)))
        return forgotten + cursor.rowcount > 0


def _names(column: TextColumn, variant: Variant) -> list[str]:
    return [index_name(column, variant) + ending for ending in ("", BEING_BUILT, REPLACED)]

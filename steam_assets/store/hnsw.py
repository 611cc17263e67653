"""Our HNSW indexes as they are: names, records, and which one a search may go through. Building is hnsw_build.py's."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.projections import current_projection, projection_table
from steam_assets.store.variants import SearchIndex, Variant, find_variant

LONGEST_NAME_BYTES = 63
BEING_BUILT, REPLACED = "_new", "_old"
"""Endings of an index that is being built, and of one that another has replaced."""

# By name: a dump brings both the record and the index, but not its oid.
RECORDS = """
    SELECT ours.variant, ours.run_id, ours.index_name, ours.projection_id,
           ours.m, ours.ef_construction, ours.ef_search, ours.recall,
           ours.rows, ours.bytes, ours.seconds, ours.details, ours.built_at,
           coalesce((ours.details ->> 'chosen_at')::timestamptz, ours.built_at) AS chosen_at,
           EXISTS (
               SELECT
               FROM pg_index AS x
               JOIN pg_class AS i ON i.oid = x.indexrelid
               JOIN pg_namespace AS n ON n.oid = i.relnamespace
               WHERE n.nspname = CASE WHEN ours.projection_id IS NULL THEN %(schema)s ELSE 'public' END
                 AND i.relname = ours.index_name
                 AND x.indisvalid) AS is_there
    FROM public.embedding_indexes AS ours
    WHERE ours.table_name = %(table)s
      AND ours.vector_column = %(vector)s
    ORDER BY chosen_at DESC, ours.variant
"""

EXISTS = """
    SELECT x.indisvalid
    FROM pg_index AS x
    JOIN pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_namespace AS n ON n.oid = i.relnamespace
    WHERE n.nspname = %s
      AND i.relname = %s
"""


@dataclass(frozen=True)
class IndexRecord:
    """An index that we built: of which run, how, and the recall@10 it had at ``ef_search``; None until measured.

    ``bytes`` are with those of a side table. ``chosen_at`` is when it was asked for: built again because it was lost,
    it keeps that. ``is_there`` is false when it was dropped since, or a crash left it invalid.
    """

    variant: str
    run_id: int
    name: str
    projection_id: int | None
    m: int
    ef_construction: int
    ef_search: int
    recall: float | None
    rows: int
    bytes: int
    seconds: float
    details: Mapping[str, object] | None
    built_at: datetime
    chosen_at: datetime
    is_there: bool

    @property
    def projection(self) -> str | None:
        """The table of projected vectors that is indexed instead of the column's."""
        return None if self.projection_id is None else projection_table(self.projection_id)


def index_name(column: TextColumn, variant: Variant) -> str:
    """The index's name, short enough for its endings: reviews_review_embedding_halfvec_hnsw."""
    name = f"{column.table}_{column.vector}_{variant.name}_hnsw"
    longest = LONGEST_NAME_BYTES - len(BEING_BUILT)
    if len(name.encode()) <= longest:
        return name
    ending = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}_{variant.name}_hnsw"
    start = f"{column.table}_{column.vector}".encode()[: longest - len(ending)]
    return start.decode(errors="ignore") + ending


def schema_of(column: TextColumn, variant: Variant) -> str:
    """Where the index is: beside its table."""
    return "public" if variant.projected else column.schema


def serving_index(conn: connection, column: TextColumn, run_id: int) -> SearchIndex | None:
    """The index that searches of this run go through, as they ask it; None when they compare every row."""
    record = serving_record(conn, column, run_id)
    if record is None:
        return None
    return SearchIndex(record.name, find_variant(record.variant), record.ef_search, record.projection)


def serving_record(conn: connection, column: TextColumn, run_id: int) -> IndexRecord | None:
    """The index that searches of this run go through: the one chosen last of those that can be asked.

    It is valid, holds the vectors of this run alone, as they are now, and its recall was measured.
    """
    return next((record for record in index_records(conn, column) if _can_be_asked(conn, column, run_id, record)), None)


def is_up_to_date(conn: connection, column: TextColumn, record: IndexRecord) -> bool:
    """Whether an index has every row as it is: one over a projection only until rows are written."""
    return record.projection_id is None or current_projection(conn, column, record.run_id) is not None


def index_records(conn: connection, column: TextColumn) -> list[IndexRecord]:
    """Every index of the column that we built and nobody has asked to drop, the one chosen last first."""
    names = {"schema": column.schema, "table": column.qualified_table, "vector": column.vector}
    with conn.cursor() as cursor:
        cursor.execute(RECORDS, names)
        return [IndexRecord(*row) for row in cursor.fetchall()]


def lost_indexes(conn: connection, column: TextColumn, run_id: int) -> list[IndexRecord]:
    """Indexes that the column had and that cannot be asked for this run, or not any more.

    They were dropped for bulk work, are of another run, or of a projection that rows were written after.
    """
    return [record for record in index_records(conn, column) if not _can_be_asked(conn, column, run_id, record)]


def variants_to_build(conn: connection, column: TextColumn, run_id: int) -> list[str]:
    """The variants of lost indexes, which are built again."""
    return [record.variant for record in lost_indexes(conn, column, run_id)]


def is_valid(conn: connection, schema: str, name: str) -> bool | None:
    """Whether an index of this name can be used; None when there is none."""
    with conn.cursor() as cursor:
        cursor.execute(EXISTS, (schema, name))
        row = cursor.fetchone()
    return None if row is None else bool(row[0])


def qualified(column: TextColumn, variant: Variant, ending: str = "") -> sql.Identifier:
    """The index's name in SQL, or that of the one being built or replaced."""
    return sql.Identifier(schema_of(column, variant), index_name(column, variant) + ending)


def _can_be_asked(conn: connection, column: TextColumn, run_id: int, record: IndexRecord) -> bool:
    measured = record.is_there and record.run_id == run_id and record.recall is not None
    return measured and is_up_to_date(conn, column, record)

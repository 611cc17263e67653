"""Which vector column of a text searches read, and the record of each move. When it may move is promotion.py's.

No function here commits: the caller owns the transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn

OF_TABLE = """
    SELECT vector_column, target_run_id, serving_run_id
    FROM public.embedding_columns
    WHERE table_name = %s
    ORDER BY vector_column
"""

# In one order for everyone, so that two promotions of a table wait for each other and never for ever.
LOCK = OF_TABLE + "FOR UPDATE"

SERVING = """
    SELECT table_name, vector_column
    FROM public.embedding_columns
    WHERE serving_run_id IS NOT NULL
"""

# Only where nobody has promoted another column, or chosen another model, since the caller looked.
FOLLOW = """
    UPDATE public.embedding_columns
    SET serving_run_id = %(target)s
    WHERE table_name = %(table)s
      AND vector_column = %(vector)s
      AND target_run_id = %(target)s
      AND serving_run_id = %(serving)s
"""

SERVE = """
    UPDATE public.embedding_columns
    SET serving_run_id = CASE WHEN vector_column = %(vector)s THEN %(run)s END
    WHERE table_name = %(table)s
      AND vector_column = ANY (%(group)s)
"""

RECORD = """
    INSERT INTO public.embedding_promotions (table_name, from_vector_column, from_run_id, to_vector_column, to_run_id)
    VALUES (%s, %s, %s, %s, %s)
    RETURNING promotion_id
"""

NEWEST = """
    SELECT promotion_id, from_vector_column, from_run_id, to_vector_column, to_run_id, promoted_at, undone_at
    FROM public.embedding_promotions
    WHERE table_name = %s
      AND to_vector_column = ANY (%s)
    ORDER BY promotion_id DESC
    LIMIT 1
"""

UNDONE = "UPDATE public.embedding_promotions SET undone_at = clock_timestamp() WHERE promotion_id = %s"


@dataclass(frozen=True)
class ColumnRow:
    """A vector column's row of embedding_columns: what it is being filled with, and what searches read of it."""

    vector: str
    target_run_id: int | None
    serving_run_id: int | None


@dataclass(frozen=True)
class PromotionRecord:
    """Searches moved from one column and run to another; ``from_vector`` is None where nothing served before."""

    promotion_id: int
    from_vector: str | None
    from_run_id: int | None
    to_vector: str
    to_run_id: int
    promoted_at: datetime
    undone_at: datetime | None


def serving_columns(conn: connection, columns: Sequence[TextColumn]) -> list[TextColumn]:
    """Those of ``columns`` that searches read, in their order: at most one for each text of a table."""
    with conn.cursor() as cursor:
        cursor.execute(SERVING)
        serving = set(cursor.fetchall())
    return [column for column in columns if (column.qualified_table, column.vector) in serving]


def column_rows(conn: connection, column: TextColumn, columns: Sequence[TextColumn]) -> dict[str, ColumnRow]:
    """The rows of the column and its rivals, by vector.

    Vector columns of the table that ``columns`` does not know are among them: their entry may have been taken out.
    """
    return _rows(conn, OF_TABLE, column, columns)


def lock_columns(conn: connection, column: TextColumn, columns: Sequence[TextColumn]) -> dict[str, ColumnRow]:
    """The same, and what they serve stays as it is until the transaction ends."""
    return _rows(conn, LOCK, column, columns)


def _rows(conn: connection, query: str, column: TextColumn, columns: Sequence[TextColumn]) -> dict[str, ColumnRow]:
    others = {other.vector for other in columns if other.is_of_table(column) and other.text != column.text}
    with conn.cursor() as cursor:
        cursor.execute(query, (column.qualified_table,))
        found = [ColumnRow(*row) for row in cursor.fetchall()]
    return {row.vector: row for row in found if row.vector not in others}


def serve(conn: connection, column: TextColumn, vector: str, run_id: int, group: Sequence[str]) -> None:
    """Let searches read this run of one ``vector`` of the column's table, and none of the others of ``group``."""
    with conn.cursor() as cursor:
        cursor.execute(
            SERVE, {"table": column.qualified_table, "vector": vector, "run": run_id, "group": [*group, vector]}
        )


def follow(conn: connection, column: TextColumn, serving_run_id: int, target_run_id: int) -> bool:
    """Let searches of the column read its target run, if both runs are still these; say whether they do."""
    values = {"table": column.qualified_table, "vector": column.vector}
    with conn.cursor() as cursor:
        cursor.execute(FOLLOW, {**values, "serving": serving_run_id, "target": target_run_id})
        return cursor.rowcount == 1


def record_promotion(conn: connection, column: TextColumn, former: ColumnRow | None, run_id: int) -> int:
    """Write down that searches have moved to a run of the column; the record's id."""
    came_from = (None, None) if former is None else (former.vector, former.serving_run_id)
    with conn.cursor() as cursor:
        cursor.execute(RECORD, (column.qualified_table, *came_from, column.vector, run_id))
        (promotion_id,) = cursor.fetchone() or (0,)
    return int(promotion_id)


def newest_promotion(conn: connection, column: TextColumn, group: Sequence[str]) -> PromotionRecord | None:
    """The last move of searches to one of the vectors of ``group``, undone or not."""
    with conn.cursor() as cursor:
        cursor.execute(NEWEST, (column.qualified_table, list(group)))
        found = cursor.fetchone()
    return None if found is None else PromotionRecord(*found)


def mark_undone(conn: connection, promotion_id: int) -> None:
    """Write down that a promotion was undone."""
    with conn.cursor() as cursor:
        cursor.execute(UNDONE, (promotion_id,))

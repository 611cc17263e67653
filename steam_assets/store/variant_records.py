"""What variants of an index were measured to do, as stored: a row for each variant and ef_search of a measurement."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg2.extensions import connection
from psycopg2.extras import Json

from steam_assets.columns import TextColumn

EXACT = "exact"
"""The name of comparing every row, among variants."""

RECORD = """
    INSERT INTO public.embedding_variants
           (table_name, vector_column, run_id, variant, ef_search, rows, figures, dagster_run_id, measured_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now())
"""

# All rows of a measurement are written in one transaction, and have its time.
LATEST = """
    SELECT variant, ef_search, rows, figures, run_id, measured_at
    FROM public.embedding_variants
    WHERE table_name = %(table)s
      AND vector_column = %(vector)s
      AND (%(run_id)s IS NULL OR run_id = %(run_id)s)
      AND measured_at = (
          SELECT max(measured_at)
          FROM public.embedding_variants
          WHERE table_name = %(table)s
            AND vector_column = %(vector)s
            AND (%(run_id)s IS NULL OR run_id = %(run_id)s))
    ORDER BY measurement_id
"""


@dataclass(frozen=True)
class VariantFigures:
    """A variant on so many rows, asked with an ``ef_search``; the row ``exact`` compares every row and has neither.

    ``bytes`` are of the index, and of the side table of a projected one; ``seconds`` built both. Recalls are shares of
    the nearest 10 and 100 rows; latencies are of 10 hits; queries/s of one client, and of ``clients`` at once.
    """

    variant: str
    ef_search: int | None
    rows: int
    dimension: int
    queries: int
    recall_10: float
    recall_100: float
    ms_p50: float
    ms_p95: float
    queries_per_s: float
    clients: int
    queries_per_s_of_clients: float
    bytes: int = 0
    seconds: float = 0.0
    m: int | None = None
    ef_construction: int | None = None


@dataclass(frozen=True)
class Measurement:
    """All variants of a column's run, measured at one time."""

    run_id: int
    measured_at: datetime
    figures: tuple[VariantFigures, ...]


def record_measurement(
    conn: connection,
    column: TextColumn,
    run_id: int,
    figures: Sequence[VariantFigures],
    dagster_run_id: str | None = None,
) -> None:
    """Keep a measurement beside the earlier ones. Does not commit, and must be one transaction."""
    with conn.cursor() as cursor:
        for row in figures:
            found = asdict(row)
            name, ef_search, rows = (found.pop(key) for key in ("variant", "ef_search", "rows"))
            of = (column.qualified_table, column.vector, run_id)
            cursor.execute(RECORD, (*of, name, ef_search, rows, Json(found), dagster_run_id))


def latest_measurement(conn: connection, column: TextColumn, run_id: int | None) -> Measurement | None:
    """The newest measurement of a run, or of any run; None when there is none."""
    with conn.cursor() as cursor:
        cursor.execute(LATEST, {"table": column.qualified_table, "vector": column.vector, "run_id": run_id})
        found = cursor.fetchall()
    if not found:
        return None
    figures = tuple(
        VariantFigures(variant, ef_search, rows, **stored) for variant, ef_search, rows, stored, _, _ in found
    )
    *_, of_run, measured_at = found[0]
    return Measurement(of_run, measured_at, figures)

"""Runs, the run each vector column holds, and the record of every attempt at a range. Vectors are written in write.py.

No function here commits: the caller owns the transaction. The locks that say which run is alive are locks.py.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import Json

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.locks import run_lock_name

RangeStatus = Literal["running", "done", "failed", "aborted", "lost"]

RANGE_NUMBERS = (
    *("rows_written", "rows_changed", "rows_gone", "rows_failed", "rows_blank", "tokens", "truncated"),
    *("seconds", "rows_per_s", "tokens_per_s", "peak_memory_bytes", "gpu_util_mean", "gpu_util_peak"),
    *("memory_errors", "batch_tokens"),
)


@dataclass(frozen=True)
class EmbeddingRun:
    """What made a vector: vectors of different runs must not be compared. A run of the predecessor has no recipe."""

    run_id: int
    model_name: str
    dimension: int
    normalized: bool | None
    recipe: Mapping[str, object] | None
    created_at: datetime | None


@dataclass(frozen=True)
class ColumnRuns:
    """The run a column is being filled with, and the run that searches read."""

    target: EmbeddingRun | None
    serving: EmbeddingRun | None


def recipe_digest(recipe: Mapping[str, object]) -> str:
    """sha256 of the recipe as canonical JSON: the order in which it was written down does not matter."""
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def find_or_create_run(
    conn: connection, model_name: str, dimension: int, normalized: bool, recipe: Mapping[str, object]
) -> int:
    """The id of the run of this model and recipe; the same for everyone who asks. Does not commit."""
    identity = (model_name, dimension, normalized, recipe_digest(recipe))
    with conn.cursor() as cursor:
        # Looked for first: a conflicting INSERT would use up a number each time.
        cursor.execute(FIND_RUN, identity)
        if (found := cursor.fetchone()) is None:
            cursor.execute(CREATE_RUN, (*identity, Json(dict(recipe))))
            cursor.execute(FIND_RUN, identity)
            found = cursor.fetchone()
    if found is None:
        raise SteamAssetsError("A run was created and is not there: another session deletes from embedding_runs.")
    return int(found[0])


FIND_RUN = """
    SELECT run_id
    FROM public.embedding_runs
    WHERE model_name = %s AND dimension = %s AND normalized = %s AND recipe_digest = %s
"""

CREATE_RUN = """
    INSERT INTO public.embedding_runs (model_name, dimension, normalized, recipe_digest, recipe, created_at)
    VALUES (%s, %s, %s, %s, %s, now())
    ON CONFLICT (model_name, dimension, normalized, recipe_digest) DO NOTHING
"""


GET_RUN = """
    SELECT run_id, model_name, dimension, normalized, recipe, created_at
    FROM public.embedding_runs
    WHERE run_id = %s
"""

RUNS_OF_COLUMN = """
    SELECT ours.run_id = filled.target_run_id,
           ours.run_id = filled.serving_run_id,
           ours.run_id, ours.model_name, ours.dimension, ours.normalized, ours.recipe, ours.created_at
    FROM public.embedding_columns AS filled
    JOIN public.embedding_runs AS ours ON ours.run_id IN (filled.target_run_id, filled.serving_run_id)
    WHERE filled.table_name = %s
      AND filled.vector_column = %s
"""


def get_run(conn: connection, run_id: int) -> EmbeddingRun:
    """The run of this id; raises SteamAssetsError when there is none."""
    with conn.cursor() as cursor:
        cursor.execute(GET_RUN, (run_id,))
        found = cursor.fetchone()
    if found is None:
        raise SteamAssetsError(f"There is no embedding run {run_id}. Run `steam-assets status` to see those in use.")
    return EmbeddingRun(*found)


def add_note(conn: connection, run_id: int, note: str) -> None:
    """Write down with a run where vectors of it come from, before the first row has one. Does not commit.

    By its notes and its attempts a projection of the run is known to lack rows (projections.py).
    """
    with conn.cursor() as cursor:
        cursor.execute(
            """
            UPDATE public.embedding_runs
            SET notes = concat_ws(E'\\n', notes, %s)
            WHERE run_id = %s
            """,
            (note, run_id),
        )


def column_runs(conn: connection, column: TextColumn) -> ColumnRuns:
    """What a column is being filled with, and what searches read; both None before the first `init`."""
    target = serving = None
    with conn.cursor() as cursor:
        cursor.execute(RUNS_OF_COLUMN, (column.qualified_table, column.vector))
        for is_target, is_serving, *fields in cursor.fetchall():
            run = EmbeddingRun(*fields)
            target, serving = run if is_target else target, run if is_serving else serving
    return ColumnRuns(target, serving)


def set_target(conn: connection, column: TextColumn, run_id: int) -> None:
    """From now on fill the column with vectors of this run. Does not commit."""
    _set(conn, column, "target_run_id", run_id)


def set_serving(conn: connection, column: TextColumn, run_id: int) -> None:
    """From now on searches read the vectors of this run. Does not commit."""
    _set(conn, column, "serving_run_id", run_id)


def _set(conn: connection, column: TextColumn, name: str, run_id: int) -> None:
    statement = sql.SQL("""
        INSERT INTO public.embedding_columns (table_name, vector_column, {name})
        VALUES (%s, %s, %s)
        ON CONFLICT (table_name, vector_column) DO UPDATE
        SET {name} = EXCLUDED.{name}
    """)
    with conn.cursor() as cursor:
        cursor.execute(statement.format(name=sql.Identifier(name)), (column.qualified_table, column.vector, run_id))


def start_range(
    conn: connection,
    column: TextColumn,
    run_id: int,
    range_key: str,
    dagster_run_id: str,
    device: str,
    dtype: str,
    library_versions: Mapping[str, str] | None = None,
) -> int:
    """Record that an attempt at a range has begun; the record's id. Does not commit."""
    versions = None if library_versions is None else Json(dict(library_versions))
    values = (column.qualified_table, column.vector, run_id, range_key, dagster_run_id, device, dtype, versions)
    with conn.cursor() as cursor:
        cursor.execute(START_RANGE, (*values, run_lock_name(dagster_run_id)))
        (range_id,) = cursor.fetchone() or (0,)
    return int(range_id)


START_RANGE = """
    INSERT INTO public.embedding_run_ranges
           (table_name, vector_column, run_id, range_key, dagster_run_id, device, dtype, library_versions, lock_key)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, hashtextextended(%s, 0))
    RETURNING range_id
"""


def finish_range(
    conn: connection,
    range_id: int,
    status: RangeStatus,
    error: str | None = None,
    details: Mapping[str, object] | None = None,
    **numbers: float | None,
) -> None:
    """Record how an attempt ended; ``numbers`` are columns named in RANGE_NUMBERS. Does not commit."""
    if unknown := set(numbers) - set(RANGE_NUMBERS):
        raise TypeError(f"embedding_run_ranges has no {sorted(unknown)}; it has {RANGE_NUMBERS}")
    values: dict[str, object] = {
        "status": status,
        "error": None if error is None else error.replace("\0", ""),
        **numbers,
    }
    if details is not None:
        values["details"] = Json(dict(details))
    statement = sql.SQL("""
        UPDATE public.embedding_run_ranges
        SET {assignments}, finished_at = clock_timestamp()
        WHERE range_id = %(range_id)s
    """).format(
        assignments=sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
        )
    )
    with conn.cursor() as cursor:
        cursor.execute(statement, {**values, "range_id": range_id})

"""Evaluations as they are stored: what searches of a run scored on a query set, and which ids a set may name.

No function here commits: the caller owns the transaction.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import Json

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.server import check_writable
from steam_assets.store.states import names

IDS_AT_ONCE = 10_000
NEWEST_SHOWN = 20
BIGINT = range(-(2**63), 2**63)

RECORD = """
    INSERT INTO public.embedding_evaluations
           (table_name, vector_column, run_id, query_set, query_set_digest, how, queries, metrics, scores,
            dagster_run_id)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    RETURNING evaluation_id
"""

MAY_RECORD = """
    SELECT has_table_privilege('public.embedding_evaluations', 'SELECT')
       AND has_table_privilege('public.embedding_evaluations', 'INSERT')
"""

NEWEST = """
    SELECT e.evaluation_id, e.table_name || '.' || e.vector_column, e.run_id, r.model_name,
           e.query_set, e.query_set_digest, e.how, e.queries, e.metrics, e.dagster_run_id, e.evaluated_at
    FROM public.embedding_evaluations AS e
    JOIN public.embedding_runs AS r ON r.run_id = e.run_id
    WHERE e.table_name = %(table)s
      AND e.vector_column = %(vector)s
      AND (%(query_set)s::text IS NULL OR e.query_set = %(query_set)s)
      AND (%(digest)s::text IS NULL OR e.query_set_digest = %(digest)s)
      AND (%(how)s::text IS NULL OR e.how = %(how)s)
    ORDER BY e.evaluated_at DESC, e.evaluation_id DESC
    LIMIT %(limit)s
"""

ROWS_OF_IDS = sql.SQL("""
    SELECT t.{id}::text,
           t.{vector} IS NOT NULL AND t.{run} = {run_id}
    FROM {table} AS t
    WHERE t.{id} = ANY ({ids})
""")


@dataclass(frozen=True)
class StoredEvaluation:
    """How well searches of a run answered a query set, without the scores of each query.

    ``metrics`` holds "metrics", a mean with its interval by name, and what else the evaluation wrote down.
    """

    evaluation_id: int
    column: str
    run_id: int
    model_name: str
    query_set: str
    query_set_digest: str
    how: str
    queries: int
    metrics: Mapping[str, object]
    dagster_run_id: str | None
    evaluated_at: datetime


def check_recordable(conn: connection) -> None:
    """Raise SteamAssetsError where no evaluation can be stored: nothing can be written here, or not by this user."""
    check_writable(conn)
    with conn.cursor() as cursor:
        cursor.execute(MAY_RECORD)
        if cursor.fetchone() != (True,):
            raise SteamAssetsError(
                f"{conn.info.user} may not store evaluations: it lacks SELECT, INSERT ON public.embedding_evaluations. "
                "Make it a member of steam_assets_writer with infra/sql/roles.sql, or evaluate as its owner."
            )


def record_evaluation(
    conn: connection,
    column: TextColumn,
    run_id: int,
    query_set: str,
    query_set_digest: str,
    how: str,
    queries: int,
    metrics: Mapping[str, object],
    scores: Mapping[str, object] | None = None,
    dagster_run_id: str | None = None,
) -> int:
    """Write an evaluation down; its id."""
    identity = (column.qualified_table, column.vector, run_id, query_set, query_set_digest, how, queries)
    stored = (Json(dict(metrics)), None if scores is None else Json(dict(scores)), dagster_run_id)
    with conn.cursor() as cursor:
        cursor.execute(RECORD, (*identity, *stored))
        (evaluation_id,) = cursor.fetchone() or (0,)
    return int(evaluation_id)


def newest_evaluations(
    conn: connection,
    column: TextColumn,
    query_set: str | None = None,
    digest: str | None = None,
    how: str | None = None,
    limit: int = NEWEST_SHOWN,
) -> list[StoredEvaluation]:
    """The column's evaluations, newest first: of one query set, its digest and one way to search, or of any."""
    asked = {"query_set": query_set, "digest": digest, "how": how, "limit": limit}
    with conn.cursor() as cursor:
        cursor.execute(NEWEST, {"table": column.qualified_table, "vector": column.vector, **asked})
        return [StoredEvaluation(*row) for row in cursor.fetchall()]


def rows_of_ids(conn: connection, column: TextColumn, run_id: int, ids: Collection[str]) -> dict[str, bool]:
    """Those of ``ids`` that rows of the column have, and whether the row has a vector of the run."""
    possible = [id_ for id_ in ids if column.id_type == "text" or _is_bigint(id_)]
    found: dict[str, bool] = {}
    for start in range(0, len(possible), IDS_AT_ONCE):
        page = possible[start : start + IDS_AT_ONCE]
        literal = sql.Literal([int(id_) for id_ in page] if column.id_type == "bigint" else page)
        with conn.cursor() as cursor:
            cursor.execute(ROWS_OF_IDS.format(**names(column), run_id=sql.Literal(run_id), ids=literal))
            found.update(cursor.fetchall())
    return found


def _is_bigint(id_: str) -> bool:
    """Whether the server writes an integer so: "7", and neither "007" nor "7.0"."""
    digits = id_.removeprefix("-")
    # Nineteen digits at most: int() of a very long number takes quadratic time.
    return digits.isascii() and digits.isdigit() and len(digits) < 20 and str(int(id_)) == id_ and int(id_) in BIGINT

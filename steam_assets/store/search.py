"""Exact nearest neighbours by cosine over one run's vectors. Indexes and filters are not here."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.states import names

SNIPPET_CHARACTERS = 160

# Plus 0: no index gives this order, so it is exact; an HNSW index would answer from a part of the rows, of all runs.
NEAREST = sql.SQL("""
    SELECT t.{id}::text,
           1 - (t.{vector}::vector <=> {query}::vector) AS cosine,
           left(regexp_replace(regexp_replace(t.{text}, '<[^>]*>', ' ', 'g'), '\\s+', ' ', 'g'), {characters})
    FROM {table} AS t
    WHERE t.{run} = {run_id}
      AND t.{vector} IS NOT NULL
    ORDER BY (t.{vector}::vector <=> {query}::vector) + 0
    LIMIT {k}
""")

LEFT_OUT = sql.SQL("""
    SELECT count(*)
    FROM {table} AS t
    WHERE t.{vector} IS NOT NULL
      AND t.{run} IS DISTINCT FROM {run_id}
""")


@dataclass(frozen=True)
class Hit:
    """A row near the query: its id, cosine similarity and the start of its text."""

    id: str
    cosine: float
    text: str


def nearest(conn: connection, column: TextColumn, run_id: int, query: Sequence[float], k: int) -> list[Hit]:
    """The ``k`` rows of a run nearest to ``query``, nearest first."""
    vector = "[" + ",".join(map(repr, map(float, query))) + "]"
    statement = NEAREST.format(
        **names(column),
        query=sql.Literal(vector),
        run_id=sql.Literal(run_id),
        k=sql.Literal(k),
        characters=sql.Literal(SNIPPET_CHARACTERS),
    )
    with conn.cursor() as cur:
        cur.execute(statement)
        return [Hit(*row) for row in cur.fetchall()]


def count_left_out(conn: connection, column: TextColumn, run_id: int) -> int:
    """Rows with a vector of another run, which a search of ``run_id`` does not see."""
    with conn.cursor() as cur:
        cur.execute(LEFT_OUT.format(**names(column), run_id=sql.Literal(run_id)))
        row = cur.fetchone()
    assert row is not None
    return int(row[0])

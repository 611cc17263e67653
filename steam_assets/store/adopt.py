"""Taking over vectors that another tool wrote: finding, sampling, stamping. Whether they agree is targets.py's."""

import json

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.ranges import cut_ranges
from steam_assets.store.runs import add_note
from steam_assets.store.states import BLANK_TEXT, in_range, names

ADOPTION_SAMPLE = 200

# A vector without a digest was written by another tool.
ADOPTABLE = sql.SQL("t.{vector} IS NOT NULL AND t.{digest} IS NULL AND NOT {blank_text}")

COUNT = sql.SQL("SELECT count(*) FROM {table} AS t WHERE {adoptable}")

# In the order of a hash: as good as random, and the same rows each time.
SAMPLE = sql.SQL("""
    SELECT t.{text}, t.{vector}::text
    FROM {table} AS t
    WHERE {adoptable}
    ORDER BY md5(t.{id}::text)
    LIMIT {rows}
""")

ADOPT = sql.SQL("""
    UPDATE {table} AS t
    SET {run} = {run_id},
        {digest} = md5(t.{text})::uuid
    WHERE {in_range}
      AND {adoptable}
""")


def count_adoptable(conn: connection, column: TextColumn) -> int:
    """Rows with a vector that another tool wrote."""
    with conn.cursor() as cur:
        cur.execute(COUNT.format(**_names(column)))
        row = cur.fetchone()
    assert row is not None
    return int(row[0])


def sample_vectors(conn: connection, column: TextColumn, rows: int) -> tuple[list[str], NDArray[np.float32]]:
    """Texts of adoptable rows and their stored vectors, float32 (rows, dimension)."""
    with conn.cursor() as cur:
        cur.execute(SAMPLE.format(**_names(column), rows=sql.Literal(rows)))
        found = cur.fetchall()
    return [text for text, _ in found], np.array([json.loads(vector) for _, vector in found], dtype=np.float32)


def adopt_vectors(
    conn: connection, column: TextColumn, run_id: int, rows: int, lowest_cosine: float, sampled: int
) -> int:
    """Stamp every adoptable row with the run and the digest of its text, a commit per id range; return how many.

    The ``rows`` that were counted are noted with the run first.
    """
    with conn:
        note = f"{column}: {rows} rows adopted; {sampled} encoded again, lowest cosine {lowest_cosine:.6f}"
        add_note(conn, run_id, note)
    adopted = 0
    for id_range in cut_ranges(conn, column):
        with conn, conn.cursor() as cur:
            cur.execute(ADOPT.format(**_names(column), in_range=in_range(column, id_range), run_id=sql.Literal(run_id)))
            adopted += cur.rowcount
    return adopted


def _names(column: TextColumn) -> dict[str, sql.Composable]:
    identifiers = names(column)
    blank_text = BLANK_TEXT.format(**identifiers)
    return {**identifiers, "adoptable": ADOPTABLE.format(**identifiers, blank_text=blank_text)}

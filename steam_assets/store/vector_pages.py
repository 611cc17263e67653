"""Vectors of one run as numpy matrices: in pages in the table's order, or a sample. Nothing here writes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Ids
from steam_assets.errors import SteamAssetsError
from steam_assets.store.states import names

PAGE_ROWS = 2_000
SHARES = 1_000_000
"""A sample is so many millionths of the rows."""

# Binary by vector_send: as text, the 1,024 numbers of a row are 11 KB that have to be read again.
PAGE = sql.SQL("""
    SELECT t.{id}, vector_send(t.{vector}::vector)
    FROM {table} AS t
    WHERE t.{run} = {run_id}
      AND t.{vector} IS NOT NULL
      AND {after}
      AND {chosen}
    ORDER BY t.{id}
    LIMIT {rows}
""")

# By hash: the same rows each time, wherever in the table they are.
SAMPLE = sql.SQL("""
    SELECT t.{id}, vector_send(t.{vector}::vector)
    FROM (
        SELECT t.{id}
        FROM {table} AS t
        WHERE t.{run} = {run_id}
          AND t.{vector} IS NOT NULL
          AND t.{id} IS NOT NULL
        ORDER BY hashtextextended(t.{id}::text, {seed}), t.{id}
        LIMIT {rows}
    ) AS chosen
    JOIN {table} AS t ON t.{id} = chosen.{id}
    ORDER BY t.{id}
""")

CHOSEN = sql.SQL("abs(hashtextextended(t.{id}::text, {seed}) % {shares}) < {share}")

COUNT = sql.SQL("SELECT count(*) FROM {table} AS t WHERE t.{run} = {run_id} AND t.{vector} IS NOT NULL")

SHARE_SEED, SAMPLE_SEED = 1, 2


class RunVectors(NamedTuple):
    """Ids of rows and their vectors, float32 (rows, dimension)."""

    ids: Ids
    vectors: NDArray[np.float32]


def vector_pages(
    conn: connection, column: TextColumn, run_id: int, dimension: int, share: float = 1.0
) -> Iterator[RunVectors]:
    """Every vector of a run, or a ``share`` of them chosen by hash, in the table's order; a short statement a page."""
    chosen = chosen_share(column, share)
    after: sql.Composable = sql.SQL("t.{id} IS NOT NULL").format(**names(column))
    while True:
        page = _fetch(
            conn,
            PAGE.format(
                **names(column),
                run_id=sql.Literal(run_id),
                after=after,
                chosen=chosen,
                rows=sql.Literal(PAGE_ROWS),
            ),
            column,
            dimension,
        )
        if not page.ids:
            return
        yield page
        after = sql.SQL("t.{} > {}").format(sql.Identifier(column.id), sql.Literal(page.ids[-1]))


def sample_of_vectors(conn: connection, column: TextColumn, run_id: int, dimension: int, rows: int) -> RunVectors:
    """So many rows of a run, or all there are: as good as random, and the same each time."""
    statement = SAMPLE.format(
        **names(column), run_id=sql.Literal(run_id), seed=sql.Literal(SAMPLE_SEED), rows=sql.Literal(rows)
    )
    return _fetch(conn, statement, column, dimension)


def chosen_share(column: TextColumn, share: float) -> sql.Composable:
    """That row ``t`` is among a share of the rows, chosen by the hash of their ids."""
    if share >= 1:
        return sql.SQL("true")
    return CHOSEN.format(
        **names(column),
        seed=sql.Literal(SHARE_SEED),
        shares=sql.Literal(SHARES),
        share=sql.Literal(round(share * SHARES)),
    )


def count_vectors(conn: connection, column: TextColumn, run_id: int) -> int:
    """Rows that have a vector of this run."""
    with conn.cursor() as cursor:
        cursor.execute(COUNT.format(**names(column), run_id=sql.Literal(run_id)))
        (rows,) = cursor.fetchone() or (0,)
    return int(rows)


def numbers_sent(vector: memoryview) -> int:
    """How many numbers a vector has that vector_send wrote."""
    return (len(vector) - 4) // 4


def sent_vectors(sent: Sequence[memoryview], dimension: int) -> NDArray[np.float32]:
    """Vectors of one dimension as vector_send writes them: int16 dimension, int16 unused, float4s; big-endian."""
    record = np.dtype([("dimension", ">i2"), ("unused", ">i2"), ("numbers", ">f4", (dimension,))])
    return np.frombuffer(b"".join(sent), dtype=record)["numbers"].astype(np.float32)


def _fetch(conn: connection, statement: sql.Composed, column: TextColumn, dimension: int) -> RunVectors:
    with conn.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall()
    if any(numbers_sent(vector) != dimension for _, vector in rows):
        raise SteamAssetsError(
            f"{column} holds vectors that have not the {dimension} numbers of their run. "
            f"`steam-assets status {column}` counts them; `steam-assets embed {column}` makes them anew."
        )
    return RunVectors([id_ for id_, _ in rows], sent_vectors([vector for _, vector in rows], dimension))

"""Vectors of one run, read in keyset order by short statements. What becomes of them in files is exports/'s."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Ids
from steam_assets.errors import SteamAssetsError
from steam_assets.store.states import names
from steam_assets.store.vector_pages import numbers_sent, sent_vectors

PAGE_ROWS = 2_048
PAGE_BYTES = 8 << 20
"""Of vectors in one answer; on its way here each byte is two characters."""
NUMBER_BYTES = 4

# A row that has a run and no digest was stamped by another tool: nobody knows the text its vector was made of.
# A text that has changed since does not matter here, as it does not to searches: the digest tells.
OF_RUN = sql.SQL("(t.{vector} IS NOT NULL AND t.{run} = {run_id} AND t.{digest} IS NOT NULL) IS TRUE")

# The next rows behind a key, of whatever run: this costs the same anywhere in the table. A LIMIT on rows of the run
# would read on to the end of the table where only a few are left.
WINDOW = sql.SQL("""
    SELECT t.{id},
           CASE WHEN {of_run} THEN uuid_send(t.{digest}) END,
           CASE WHEN {of_run} THEN vector_send(t.{vector}::vector) END
    FROM (
        SELECT t.{id}, t.{vector}, t.{run}, t.{digest}
        FROM {table} AS t
        WHERE {after}
        ORDER BY t.{id}
        LIMIT {rows}
    ) AS t
    ORDER BY t.{id}
""")

COUNT = sql.SQL("""
    SELECT count(*) FILTER (WHERE {of_run}),
           count(*) FILTER (WHERE t.{vector} IS NOT NULL AND NOT {of_run}),
           count(*) FILTER (WHERE t.{vector} IS NULL)
    FROM {table} AS t
    WHERE t.{id} IS NOT NULL
""")


@dataclass(frozen=True)
class VectorPage:
    """Vectors, float32 (rows, dimension), with the ids of their rows and the md5 of the texts they were made of.

    ``source_md5`` is None where nobody wrote it down, as in files of other tools.
    """

    ids: Ids
    source_md5: Sequence[bytes] | None
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, rows: int) -> "VectorPage":
        """Its first rows."""
        if rows >= len(self):
            return self
        digests = None if self.source_md5 is None else self.source_md5[:rows]
        return VectorPage(self.ids[:rows], digests, self.vectors[:rows])


@dataclass(frozen=True)
class VectorCounts:
    """Rows of a column with a vector of one run, with any other vector, and without one."""

    of_run: int
    others: int
    without: int


def vector_counts(conn: connection, column: TextColumn, run_id: int) -> VectorCounts:
    """How many rows an export of this run holds, and how many it leaves out."""
    with conn.cursor() as cur:
        cur.execute(COUNT.format(**_names(column, run_id)))
        row = cur.fetchone()
    assert row is not None
    return VectorCounts(*row)


def read_vectors(
    conn: connection, column: TextColumn, run_id: int, dimension: int, after: int | str | None = None
) -> Iterator[VectorPage]:
    """Pages of a run's vectors in the table's order, of the rows behind ``after``; halfvec comes as float32 too.

    The connection should be in autocommit: each statement is short, and nothing holds back VACUUM between them.
    """
    rows = max(1, min(PAGE_ROWS, PAGE_BYTES // (NUMBER_BYTES * dimension)))
    while True:
        behind = sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(column.id))
        if after is not None:
            behind = sql.SQL("t.{} > {}").format(sql.Identifier(column.id), sql.Literal(after))
        with conn.cursor() as cur:
            cur.execute(WINDOW.format(**_names(column, run_id), after=behind, rows=sql.Literal(rows)))
            found = cur.fetchall()
        if not found:
            return
        after = found[-1][0]
        if of_run := [row for row in found if row[2] is not None]:
            yield _page(column, of_run, dimension)


def _page(column: TextColumn, rows: Sequence[tuple[int | str, memoryview, memoryview]], dimension: int) -> VectorPage:
    for id_, _, sent in rows:
        if (found := numbers_sent(sent)) != dimension:
            raise SteamAssetsError(
                f"{column}: the vector of {id_!r} has {found} numbers, and its run's have {dimension}. "
                f"`steam-assets embed {column}` makes it anew."
            )
    vectors = sent_vectors([sent for _, _, sent in rows], dimension)
    return VectorPage([id_ for id_, _, _ in rows], [bytes(digest) for _, digest, _ in rows], vectors)


def _names(column: TextColumn, run_id: int) -> dict[str, sql.Composable]:
    identifiers = names(column)
    return {**identifiers, "of_run": OF_RUN.format(**identifiers, run_id=sql.Literal(run_id))}

"""Writing embeddings: binary COPY to a temp table, one guarded UPDATE, a commit per chunk. Reading is read.py's."""

import io
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.binary_copy import copy_payload
from steam_assets.store.failures import record_unembeddable
from steam_assets.store.states import BLANK_TEXT, in_range, names

CHUNK_ROWS = 1_500
CHUNK_S = 5.0
"""Larger chunks write no faster (research/postgres.md 1); these lose the least when the process dies."""

COPY_BYTES = 1 << 20

# Key type and collation come from the table. COPY sends vectors; the UPDATE rounds them for a halfvec column.
NEW_EMBEDDINGS = sql.SQL("""
    DROP TABLE IF EXISTS pg_temp.new_embeddings;
    CREATE TEMP TABLE new_embeddings ON COMMIT DELETE ROWS AS
    SELECT t.{id}{widened} AS id, t.xmin AS row_version, t.{digest} AS source_md5, t.{vector}::vector AS embedding
    FROM {table} AS t
    WITH NO DATA
""")

COPY = "COPY pg_temp.new_embeddings (id, row_version, source_md5, embedding) FROM STDIN (FORMAT binary)"

# The guard of invariant 3. xmin first: it is free when nobody touched the row, and md5 then reads the text only of rows
# that were. Joining on md5 instead makes the planner hash the whole table (18x slower on 6 KB texts).
UPDATE_VECTORS = sql.SQL("""
    UPDATE {table} AS t
    SET {vector} = new.embedding,
        {run} = {run_id},
        {digest} = new.source_md5
    FROM pg_temp.new_embeddings AS new
    WHERE t.{id} = new.id
      AND (t.xmin = new.row_version OR md5(t.{text})::uuid = new.source_md5)
""")

COUNT_GONE = sql.SQL("""
    SELECT count(*)
    FROM pg_temp.new_embeddings AS new
    WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.{id} = new.id)
""")

CLEAR_BLANK = sql.SQL("""
    UPDATE {table} AS t
    SET {vector} = NULL, {run} = NULL, {digest} = NULL
    WHERE {in_range}
      AND t.{vector} IS NOT NULL
      AND ({blank_text} OR EXISTS (
          SELECT
          FROM public.embedding_failures AS empty
          WHERE empty.table_name = {table_name}
            AND empty.vector_column = {vector_name}
            AND empty.run_id = {run_id}
            AND empty.kind = 'empty'
            AND empty.id COLLATE "C" = t.{id}::text COLLATE "C"
            AND empty.source_md5 = md5(t.{text})::uuid
      ))
""")


@dataclass
class WriteCounts:
    """What became of a range's rows, as the database counted them; ``changed`` and ``gone`` happened meanwhile."""

    written: int = 0
    changed: int = 0
    gone: int = 0
    failed: int = 0
    empty: int = 0
    cleared: int = 0
    tokens: int = 0
    truncated: int = 0

    @property
    def handled(self) -> int:
        """Rows that went through the encoder."""
        return self.written + self.changed + self.gone + self.failed + self.empty


def write_batches(
    conn: connection,
    column: TextColumn,
    run_id: int,
    id_range: IdRange,
    batches: Iterable[EncodedBatch],
    on_commit: Callable[[WriteCounts], None] = lambda counts: None,
) -> WriteCounts:
    """Write ``batches`` as they come, a commit per chunk, then clear vectors whose text is blank; return the counts.

    ``on_commit`` is told the counts so far after each commit. An error leaves the chunks before it committed.
    """
    prepare_temp_table(conn, column)
    counts = WriteCounts()
    chunk: list[EncodedBatch] = []
    opened = time.monotonic()
    for batch in batches:
        chunk.append(batch)
        rows = sum(len(b.embeddings) + len(b.unembeddable) for b in chunk)
        if rows >= CHUNK_ROWS or time.monotonic() - opened >= CHUNK_S:
            write_chunk(conn, column, run_id, chunk, counts)
            chunk, opened = [], time.monotonic()
            on_commit(counts)
    write_chunk(conn, column, run_id, chunk, counts)
    counts.cleared += clear_blank(conn, column, run_id, id_range)
    on_commit(counts)
    return counts


def prepare_temp_table(conn: connection, column: TextColumn) -> None:
    """Make this connection's temp table for the column; one that is there already is replaced."""
    # COPY sends int8, so a smallint or integer key is widened; a text key keeps its type and collation.
    widened = sql.SQL("::bigint" if column.id_type == "bigint" else "")
    with conn, conn.cursor() as cur:
        cur.execute(NEW_EMBEDDINGS.format(**names(column), widened=widened))


def write_chunk(
    conn: connection, column: TextColumn, run_id: int, batches: Sequence[EncodedBatch], counts: WriteCounts
) -> None:
    """Write one chunk in one transaction and add what became of it to ``counts``; nothing is written on an error."""
    with conn:
        for batch in batches:
            if len(batch.embeddings):
                copy_embeddings(conn, batch.embeddings)
        copied = sum(len(batch.embeddings) for batch in batches)
        written, gone = update_vectors(conn, column, run_id, copied) if copied else (0, 0)
        unembeddable = [row for batch in batches for row in batch.unembeddable]
        record_unembeddable(conn, column, run_id, unembeddable)
    counts.written += written
    counts.gone += gone
    counts.changed += copied - written - gone
    counts.failed += sum(row.reason is not None for row in unembeddable)
    counts.empty += sum(row.reason is None for row in unembeddable)
    counts.tokens += sum(batch.tokens for batch in batches)
    counts.truncated += sum(batch.truncated for batch in batches)


def update_vectors(conn: connection, column: TextColumn, run_id: int, copied: int) -> tuple[int, int]:
    """Move the temp table's vectors into their rows; return how many were written, and how many rows are gone."""
    with conn.cursor() as cur:
        cur.execute(UPDATE_VECTORS.format(**names(column), run_id=sql.Literal(run_id)))
        written = cur.rowcount
        if written == copied:
            return written, 0
        cur.execute(COUNT_GONE.format(**names(column)))
        gone = cur.fetchone()
    assert gone is not None
    return written, gone[0]


def clear_blank(conn: connection, column: TextColumn, run_id: int, id_range: IdRange = EVERYTHING) -> int:
    """Take the vector from rows whose text has become blank, or empty after preparation; return how many."""
    statement = CLEAR_BLANK.format(
        **names(column),
        in_range=in_range(column, id_range),
        blank_text=BLANK_TEXT.format(**names(column)),
        run_id=sql.Literal(run_id),
    )
    with conn, conn.cursor() as cur:
        cur.execute(statement)
        return int(cur.rowcount)


def copy_embeddings(conn: connection, embeddings: Embeddings) -> None:
    """Send rows to the temp table in PostgreSQL's binary COPY format."""
    with conn.cursor() as cur:
        cur.copy_expert(COPY, io.BytesIO(copy_payload(embeddings)), size=COPY_BYTES)

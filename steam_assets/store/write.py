"""Writing embeddings: binary COPY to a temp table, one guarded UPDATE, a commit per chunk. Reading is read.py's."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import md5

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch, InvalidEmbeddings, UnembeddableRow
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.binary_copy import Payload
from steam_assets.store.failures import FAILED_ROWS_ALLOWED, forget_embedded, record_unembeddable
from steam_assets.store.session import in_transaction
from steam_assets.store.states import BLANK_TEXT, count_rows, in_range, names

CHUNK_ROWS = 1_500
CHUNK_S = 5.0
"""Larger chunks write no faster (research/postgres.md 1); these lose the least when the process dies."""

FAILURES_ALWAYS_ALLOWED = 10
"""Of a range, however small: a share of a few rows would be none."""

# Key type and collation come from the table. COPY sends vectors; the UPDATE rounds them for a halfvec column.
NEW_EMBEDDINGS = sql.SQL("""
    CREATE TEMP TABLE IF NOT EXISTS {new} ON COMMIT DELETE ROWS AS
    SELECT t.{id}{widened} AS id, t.xmin AS row_version, t.{digest} AS source_md5, t.{vector}::vector AS embedding
    FROM {table} AS t
    WITH NO DATA
""")

COPY = sql.SQL("COPY pg_temp.{new} (id, row_version, source_md5, embedding) FROM STDIN (FORMAT binary)")

# The guard of invariant 3. xmin first: it is free when nobody touched the row, and md5 then reads the text only of rows
# that were. Joining on md5 instead makes the planner hash the whole table (18x slower on 6 KB texts).
UPDATE_VECTORS = sql.SQL("""
    UPDATE {table} AS t
    SET {vector} = new.embedding,
        {run} = {run_id},
        {digest} = new.source_md5
    FROM pg_temp.{new} AS new
    WHERE t.{id} = new.id
      AND (t.xmin = new.row_version OR md5(t.{text})::uuid = new.source_md5)
""")

COUNT_GONE = sql.SQL("""
    SELECT count(*)
    FROM pg_temp.{new} AS new
    WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.{id} = new.id)
""")

# A chunk may be lost with the server's last half second: its rows are pending again. The range's own record waits for
# the disk, and with it is all that came before. Waiting at each chunk cost 17 % (research/postgres.md 2).
COMMIT_LATER = "SET LOCAL synchronous_commit = off;"

# Whoever chooses another model waits for this transaction, and the next chunk sees it.
LOCK_TARGET = """
    SELECT target.target_run_id, run.dimension
    FROM public.embedding_columns AS target
    JOIN public.embedding_runs AS run ON run.run_id = target.target_run_id
    WHERE target.table_name = %s
      AND target.vector_column = %s
    FOR SHARE OF target
"""

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


class TargetChanged(SteamAssetsError):
    """The column is to be filled with another run by now."""


class TooManyFailures(SteamAssetsError):
    """More rows of a range cannot be embedded than one would put up with: something else is wrong."""


def write_batches(
    conn: connection,
    column: TextColumn,
    run_id: int,
    id_range: IdRange,
    batches: Iterable[EncodedBatch],
    on_commit: Callable[[WriteCounts], None] = lambda counts: None,
    counts: WriteCounts | None = None,
    failed_share: float = FAILED_ROWS_ALLOWED,
) -> WriteCounts:
    """Write ``batches`` as they come, a commit per chunk, then clear vectors whose text is blank; return the counts.

    ``on_commit`` is told the counts so far after each commit; ``counts`` are those of an earlier attempt, added to.
    An error leaves the chunks before it committed. Raises TargetChanged when somebody has chosen another model, and
    TooManyFailures above ``failed_share`` of the range's rows.
    """
    prepare_temp_table(conn, column)
    counts = WriteCounts() if counts is None else counts
    chunk: list[EncodedBatch] = []
    opened = time.monotonic()
    for batch in batches:
        chunk.append(batch)
        rows = sum(len(b.embeddings) + len(b.unembeddable) for b in chunk)
        if rows >= CHUNK_ROWS or time.monotonic() - opened >= CHUNK_S:
            write_chunk(conn, column, run_id, id_range, chunk, counts, failed_share)
            chunk, opened = [], time.monotonic()
            on_commit(counts)
    write_chunk(conn, column, run_id, id_range, chunk, counts, failed_share)
    counts.cleared += clear_blank(conn, column, run_id, id_range)
    with conn:
        forget_embedded(conn, column, run_id, id_range)
    on_commit(counts)
    return counts


def prepare_temp_table(conn: connection, column: TextColumn) -> None:
    """Make this connection's temp table for the column, unless it has one: each leaves dead rows in the catalog."""
    # COPY sends int8, so a smallint or integer key is widened; a text key keeps its type and collation.
    widened = sql.SQL("::bigint" if column.id_type == "bigint" else "")
    with conn, conn.cursor() as cur:
        cur.execute(NEW_EMBEDDINGS.format(**chunk_names(column), widened=widened))


def chunk_names(column: TextColumn) -> dict[str, sql.Composable]:
    """The column's names with that of its temp table."""
    suffix = md5(str(column).encode(), usedforsecurity=False).hexdigest()[:8]
    return {**names(column), "new": sql.Identifier(f"new_embeddings_{suffix}")}


def write_chunk(
    conn: connection,
    column: TextColumn,
    run_id: int,
    id_range: IdRange,
    batches: Sequence[EncodedBatch],
    counts: WriteCounts,
    failed_share: float,
) -> None:
    """Write one chunk in one transaction and add what became of it to ``counts``; nothing is written on an error."""
    parts = [batch.embeddings for batch in batches if len(batch.embeddings)]
    copied = sum(map(len, parts))
    unembeddable = [row for batch in batches for row in batch.unembeddable]
    failed = [row for row in unembeddable if row.reason is not None]
    written = gone = 0

    def write() -> None:
        nonlocal written, gone
        dimension = require_target(conn, column, run_id, COMMIT_LATER)
        require_one_vector_a_row(parts, dimension)
        if copied:
            copy_embeddings(conn, column, parts)
            written, gone = update_vectors(conn, column, run_id, copied)
        record_unembeddable(conn, column, run_id, unembeddable)

    if failed:
        require_few_failures(conn, column, id_range, counts.failed + len(failed), failed[-1], failed_share)
    if copied or unembeddable:
        in_transaction(conn, write)
    counts.written += written
    counts.gone += gone
    counts.changed += copied - written - gone
    counts.failed += len(failed)
    counts.empty += len(unembeddable) - len(failed)
    counts.tokens += sum(batch.tokens for batch in batches)
    counts.truncated += sum(batch.truncated for batch in batches)


def require_target(conn: connection, column: TextColumn, run_id: int, first: str = "") -> int:
    """Raise TargetChanged unless the column is filled with this run, and keep it so until the transaction ends.

    Returns the dimension of the run's vectors.
    """
    with conn.cursor() as cur:
        cur.execute(first + LOCK_TARGET, (column.qualified_table, column.vector))
        found = cur.fetchone()
    target, dimension = found or (None, 0)
    if target != run_id:
        raise TargetChanged(
            f"{column} is filled with run {target} now, and these vectors are of run {run_id}: "
            f"somebody chose another model meanwhile. Run `steam-assets embed {column}` again; nothing older was "
            "written over anything newer."
        )
    return int(dimension)


def require_one_vector_a_row(parts: Sequence[Embeddings], dimension: int) -> None:
    """Raise InvalidEmbeddings where parts of a chunk name a row twice, or vectors are not of the run's dimension."""
    ids = [id_ for part in parts for id_ in part.ids]
    if len(set(ids)) != len(ids):
        raise InvalidEmbeddings("an id occurs twice in a chunk")
    if wrong := {part.dimension for part in parts} - {dimension}:
        raise InvalidEmbeddings(f"vectors of {', '.join(map(str, sorted(wrong)))} numbers; the run's have {dimension}")


def require_few_failures(
    conn: connection, column: TextColumn, id_range: IdRange, failed: int, last: UnembeddableRow, share: float
) -> None:
    """Raise TooManyFailures when so many rows of a range are not one bad row each any more."""
    if failed <= FAILURES_ALWAYS_ALLOWED:
        return
    with conn:
        rows = count_rows(conn, column, id_range)
    if failed > share * rows:
        raise TooManyFailures(
            f"{column} {id_range.key}: {failed:,} of {rows:,} rows cannot be embedded, more than {share:.2%}; the last "
            f"is {last.id!r}: {last.reason}. These are not quarantined: look for a common cause (`steam-assets "
            "failures` shows the first ones), or allow more with STEAM_ASSETS_MAX_FAILED_PERCENT."
        )


def update_vectors(conn: connection, column: TextColumn, run_id: int, copied: int) -> tuple[int, int]:
    """Move the temp table's vectors into their rows; return how many were written, and how many rows are gone."""
    with conn.cursor() as cur:
        cur.execute(UPDATE_VECTORS.format(**chunk_names(column), run_id=sql.Literal(run_id)))
        written = cur.rowcount
        if written == copied:
            return written, 0
        cur.execute(COUNT_GONE.format(**chunk_names(column)))
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
    cleared = 0

    def clear() -> None:
        nonlocal cleared
        require_target(conn, column, run_id)
        with conn.cursor() as cur:
            cur.execute(statement)
            cleared = cur.rowcount

    in_transaction(conn, clear)
    return cleared


def copy_embeddings(conn: connection, column: TextColumn, parts: Sequence[Embeddings]) -> None:
    """Send rows to the temp table in PostgreSQL's binary COPY format."""
    payload = Payload(parts)
    with conn.cursor() as cur:
        try:
            cur.copy_expert(COPY.format(**chunk_names(column)), payload)
        except errors.QueryCanceled as error:
            if "error in .read() call" not in str(error):
                raise
            raise payload.stopped_by or KeyboardInterrupt from error

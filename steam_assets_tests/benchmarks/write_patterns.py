"""Ways of writing vectors into rows that exist: the predecessor's, ours, and what else is commonly done.

Tables of the tools' own are tool_patterns.py.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.store import write as product
from steam_assets.store.states import names
from steam_assets_tests.benchmarks.rules import PREDECESSOR_CHUNK
from steam_assets_tests.benchmarks.scratch import Connect
from steam_assets_tests.benchmarks.write_turn import Session, Turn

OURS_BATCH_ROWS = 500
"""An encoder hands over a pack at a time: some hundred rows of 50 tokens (encoder/batching.py)."""

NEW_VECTORS: LiteralString = """
    CREATE TEMP TABLE new_vectors ON COMMIT DROP AS
    SELECT t.{id} AS id, t.{vector} AS embedding
    FROM {table} AS t
    WITH NO DATA
"""

UPDATE: LiteralString = """
    UPDATE {table} AS t
    SET {vector} = new.embedding, {run} = {run_id}
    FROM new_vectors AS new
    WHERE t.{id} = new.id
"""

GUARD = "AND (t.xmin = new.row_version OR md5(t.{text})::uuid = new.source_md5)"
"""Of ours, as write.py has it."""

UPDATE_FROM_VALUES: LiteralString = """
    UPDATE {table} AS t
    SET {vector} = new.embedding, {run} = {run_id}
    FROM (VALUES %s) AS new (id, embedding)
    WHERE t.{id} = new.id
"""

UPDATE_ROW: LiteralString = "UPDATE {table} SET {vector} = %s::vector, {run} = {run_id} WHERE {id} = %s"


def vector_text(vector: NDArray[np.float32]) -> str:
    """A vector as pgvector reads it; repr of a double has up to 17 digits and gives the same float32 back."""
    return str(vector.tolist())


def predecessor(conn: connection, turn: Turn) -> None:
    """Chunks of 10,000 rows: text COPY to a temp table, one UPDATE by id, a commit."""
    for chunk in turn.chunks(PREDECESSOR_CHUNK):
        # Of bytes: a StringIO takes four for each character, and it is not to lose by that.
        lines = io.BytesIO()
        for id_, vector in zip(chunk.source.ids, chunk.vectors, strict=True):
            lines.write(f"{id_}\t{vector_text(vector)}\n".encode())
        lines.seek(0)
        with conn, conn.cursor() as cursor:
            cursor.execute(_of(NEW_VECTORS, turn))
            cursor.copy_expert("COPY new_vectors (id, embedding) FROM STDIN", lines)
            cursor.execute(_of(UPDATE, turn))


def ours(conn: connection, turn: Turn) -> None:
    """The product's own writer: checked, guarded, a commit per chunk."""
    batches = (batch.encoded() for batch in turn.chunks(OURS_BATCH_ROWS))
    product.write_batches(conn, turn.column, turn.run_id, turn.id_range, batches)


def ours_without_guard(conn: connection, turn: Turn) -> None:
    """The same, but whatever has become of a row's text, it gets the vector: what the guard costs."""
    guarded = product.UPDATE_VECTORS
    if GUARD not in guarded.string:
        raise RuntimeError(f"store/write.py has another guard than {GUARD!r}. Correct GUARD in write_patterns.py.")
    product.UPDATE_VECTORS = sql.SQL(guarded.string.replace(GUARD, ""))
    try:
        ours(conn, turn)
    finally:
        product.UPDATE_VECTORS = guarded


def many_rows_a_statement(conn: connection, turn: Turn) -> None:
    """psycopg2's execute_values: an UPDATE for each 100 rows, all in one transaction."""
    rows = ((id_, vector_text(vector)) for id_, vector in zip(turn.source.ids, turn.vectors, strict=True))
    with conn, conn.cursor() as cursor:
        execute_values(cursor, _of(UPDATE_FROM_VALUES, turn), rows, template="(%s, %s::vector)")


def row_by_row(conn: connection, turn: Turn) -> None:
    """An UPDATE for each row, all in one transaction."""
    with conn, conn.cursor() as cursor:
        for id_, vector in zip(turn.source.ids, turn.vectors, strict=True):
            cursor.execute(_of(UPDATE_ROW, turn), (vector_text(vector), id_))


def row_by_row_committed(conn: connection, turn: Turn) -> None:
    """An UPDATE and a commit for each row."""
    for row in turn.chunks(1):
        row_by_row(conn, row)


def _of(statement: LiteralString, turn: Turn) -> sql.Composed:
    return sql.SQL(statement).format(**names(turn.column), run_id=sql.Literal(turn.run_id))


def through_psycopg2(write: Callable[[connection, Turn], None]) -> Callable[[Connect], Session]:
    """Sessions on a connection of psycopg2, the driver of the predecessor and ours."""

    def start(connect: Connect) -> Session:
        conn = connect()
        return Session(conn.info.backend_pid, partial(write, conn), conn.close)

    return start

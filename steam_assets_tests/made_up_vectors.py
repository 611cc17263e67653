"""Tables of vectors that no model made: in clusters, of 32 numbers, of any type of id and vector. For index tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.columns import TextColumn
from steam_assets.store.runs import (
    EmbeddingRun,
    find_or_create_run,
    finish_range,
    get_run,
    set_serving,
    set_target,
    start_range,
)
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.store.states import names

NUMBERS = 32
BY_NUMBER = TextColumn(table="by_number", id="id", text="body", vector="body_embedding")
BY_NAME = TextColumn(table="by name", id="the id", text="body", vector="body_embedding", id_type="text")

CREATE = sql.SQL("CREATE TABLE {table} ({id} {key} PRIMARY KEY, {text} text, {vector} {kind})")
INSERT = sql.SQL("""
    INSERT INTO {table} ({id}, {text}, {vector}, {run}, {digest})
    VALUES %s
    ON CONFLICT ({id}) DO UPDATE
    SET {text} = EXCLUDED.{text}, {vector} = EXCLUDED.{vector}, {run} = EXCLUDED.{run}, {digest} = EXCLUDED.{digest}
""")
UPDATE = sql.SQL("""
    UPDATE {table} AS t
    SET {vector} = new.vector::vector, {run} = {run_id}, {digest} = md5(t.{text})::uuid
    FROM (VALUES %s) AS new (id, vector)
    WHERE t.{id} = new.id
""")


def clustered(rows: int, numbers: int = NUMBERS, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around a centre for each twenty of them, in a space whose later axes matter less."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(1, rows // 20), numbers))
    around = centres[random.integers(len(centres), size=rows)] + random.normal(size=(rows, numbers)) / 2
    vectors: NDArray[np.float32] = (around / np.sqrt(np.arange(1, numbers + 1))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def make_vectors(
    conn: connection,
    column: TextColumn,
    vectors: NDArray[np.float32],
    ids: Sequence[int | str] | None = None,
    kind: str = "vector",
    key: str | None = None,
) -> EmbeddingRun:
    """A table with these vectors, and a run to fill and to serve that made them; committed."""
    naming = {name: part for name, part in names(column).items() if not name.endswith("_name")}
    numbers = vectors.shape[1]
    with conn, conn.cursor() as cursor:
        cursor.execute(CREATE.format(**naming, key=sql.SQL(key or column.id_type), kind=sql.SQL(f"{kind}({numbers})")))
        apply_schema(conn, plan_schema(conn, [column], numbers))
        run_id = find_or_create_run(conn, "made-up", numbers, True, {"revision": column.table})
        set_target(conn, column, run_id)
        set_serving(conn, column, run_id)
        run = get_run(conn, run_id)
    put_vectors(conn, column, run_id, range(len(vectors)) if ids is None else ids, vectors)
    return run


def put_vectors(
    conn: connection, column: TextColumn, run_id: int, ids: Sequence[int | str], vectors: NDArray[np.float32]
) -> None:
    """Insert rows with vectors, or give the rows of these ids others, as an attempt at a range does; committed."""
    naming = {name: part for name, part in names(column).items() if not name.endswith("_name")}
    with conn:
        attempt = start_range(conn, column, run_id, "~:~", "a run of the tests", "cpu", "fp32")
    with conn, conn.cursor() as cursor:
        insert = INSERT.format(**naming).as_string(cursor)
        text_ids = column.id_type == "text"
        rows = [
            (str(id_) if text_ids else id_, f"text {id_}", str(vector.tolist()), run_id, f"text {id_}")
            for id_, vector in zip(ids, vectors, strict=True)
        ]
        execute_values(cursor, insert, rows, template="(%s, %s, %s, %s, md5(%s)::uuid)")
    with conn:
        finish_range(conn, attempt, "done", rows_written=len(ids))


def give_vectors(conn: connection, column: TextColumn, run_id: int, vectors: NDArray[np.float32]) -> None:
    """Give the first rows of a table that is there vectors of a run, whatever their texts; committed."""
    with conn:
        attempt = start_range(conn, column, run_id, "~:~", "a run of the tests", "cpu", "fp32")
    with conn, conn.cursor() as cursor:
        first = sql.SQL("SELECT {id} FROM {table} WHERE {text} ~ '\\S' ORDER BY {id} LIMIT {rows}")
        cursor.execute(first.format(**names(column), rows=sql.Literal(len(vectors))))
        ids = [id_ for (id_,) in cursor.fetchall()]
        update = UPDATE.format(**names(column), run_id=sql.Literal(run_id)).as_string(cursor)
        rows = [(id_, str(vector.tolist())) for id_, vector in zip(ids, vectors, strict=True)]
        execute_values(cursor, update, rows, template="(%s, %s)")
    with conn:
        finish_range(conn, attempt, "done", rows_written=len(ids))


def add_blank_rows(conn: connection, column: TextColumn, ids: Sequence[int | str]) -> None:
    """Rows without a text and without a vector; committed."""
    with conn, conn.cursor() as cursor:
        insert = sql.SQL("INSERT INTO {table} ({id}) VALUES %s").format(**names(column)).as_string(cursor)
        execute_values(cursor, insert, [(id_,) for id_ in ids])

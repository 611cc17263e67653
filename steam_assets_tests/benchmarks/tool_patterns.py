"""The write patterns of other tools, on tables of their own shape, and psycopg's COPY: read from their code, not run.

research/postgres.md 8 and peers.md name the files. What their frameworks (SQLAlchemy, asyncio) cost is not in it.
"""

import json
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.store.write import CHUNK_ROWS
from steam_assets_tests.benchmarks.scratch import Connect
from steam_assets_tests.benchmarks.write_patterns import NEW_VECTORS, UPDATE, vector_text
from steam_assets_tests.benchmarks.write_turn import Session, Turn

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

ROWS_A_CALL = 500
"""Rows that a tool is handed at once where it leaves that to its caller."""
PGAI_ROWS = 50
"""pgai's default batch_size: rows of one transaction."""
SQLALCHEMY_ROWS = 1_000
"""Of one INSERT of SQLAlchemy's unit of work, its insertmanyvalues_page_size."""
COLLECTION = "00000000-0000-0000-0000-000000000001"


@dataclass(frozen=True)
class Store:
    """A table that a tool keeps for itself: its name, the column with our row's id, and how it is made."""

    table: str
    id: str
    create: str


PGAI = Store(
    "pgai_store",
    "id",
    """
    CREATE TABLE pgai_store (
        embedding_uuid uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
        id {id_type} NOT NULL,
        chunk_seq int NOT NULL,
        chunk text NOT NULL,
        embedding vector({dimension}) NOT NULL,
        UNIQUE (id, chunk_seq)
    )
    """,
)
COCOINDEX = Store(
    "cocoindex_target",
    "id",
    "CREATE TABLE cocoindex_target (id {id_type} PRIMARY KEY, text text, embedding vector({dimension}))",
)
LANGCHAIN = Store(
    "langchain_pg_embedding",
    "id",
    """
    CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
    INSERT INTO langchain_pg_collection VALUES ('00000000-0000-0000-0000-000000000001', 'texts', NULL);
    CREATE TABLE langchain_pg_embedding (
        id varchar PRIMARY KEY,
        collection_id uuid REFERENCES langchain_pg_collection ON DELETE CASCADE,
        embedding vector({dimension}),
        document varchar,
        cmetadata jsonb
    );
    CREATE INDEX ix_cmetadata_gin ON langchain_pg_embedding USING gin (cmetadata jsonb_path_ops)
    """,
)
LLAMAINDEX = Store(
    "data_llamaindex",
    "node_id",
    """
    CREATE TABLE data_llamaindex (
        id bigserial PRIMARY KEY,
        text varchar NOT NULL,
        metadata_ json,
        node_id varchar,
        embedding vector({dimension})
    );
    CREATE INDEX data_llamaindex_idx ON data_llamaindex ((metadata_ ->> 'ref_doc_id'))
    """,
)

UPSERT = """
    INSERT INTO langchain_pg_embedding (id, collection_id, embedding, document, cmetadata)
    VALUES %s
    ON CONFLICT (id) DO UPDATE
    SET embedding = EXCLUDED.embedding, document = EXCLUDED.document, cmetadata = EXCLUDED.cmetadata
"""

ADD_NODES = "INSERT INTO data_llamaindex (text, metadata_, node_id, embedding) VALUES %s RETURNING id"


def create_store(conn: connection, store: Store, turn: Turn) -> None:
    """Make the tool's empty table for rows like the turn's."""
    statement = sql.SQL(store.create).format(
        id_type=sql.SQL(turn.column.id_type), dimension=sql.Literal(turn.vectors.shape[1])
    )
    with conn, conn.cursor() as cursor:
        cursor.execute(statement)


def langchain(conn: connection, turn: Turn) -> None:
    """PGVector.add_embeddings: one upsert of all rows of a call, vectors as text, a commit."""
    for chunk in turn.chunks(ROWS_A_CALL):
        rows = [
            (str(id_), COLLECTION, vector_text(vector), text, json.dumps({"source": str(id_)}))
            for id_, text, vector in zip(chunk.source.ids, chunk.source.texts, chunk.vectors, strict=True)
        ]
        with conn, conn.cursor() as cursor:
            execute_values(cursor, UPSERT, rows, page_size=len(rows))


def llamaindex(conn: connection, turn: Turn) -> None:
    """PGVectorStore.add: an ORM object for each row, which SQLAlchemy 2 sends together; vectors as text, one commit."""
    for chunk in turn.chunks(ROWS_A_CALL):
        rows = [
            (text, json.dumps({"ref_doc_id": str(id_), "_node_content": text}), str(id_), vector_text(vector))
            for id_, text, vector in zip(chunk.source.ids, chunk.source.texts, chunk.vectors, strict=True)
        ]
        with conn, conn.cursor() as cursor:
            execute_values(cursor, ADD_NODES, rows, page_size=SQLALCHEMY_ROWS, fetch=True)


def pgai(conn: "Connection", turn: Turn) -> None:
    """The vectorizer's worker: delete what a row had, then a binary COPY row by row, a commit for each batch."""
    for chunk in turn.chunks(PGAI_ROWS):
        with conn.transaction(), conn.cursor() as cursor:
            cursor.execute("DELETE FROM pgai_store WHERE id = ANY(%s)", (list(chunk.source.ids),))
            with cursor.copy("COPY pgai_store (id, chunk_seq, chunk, embedding) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types([_id_type(turn), "int4", "text", "vector"])
                for id_, text, vector in zip(chunk.source.ids, chunk.source.texts, chunk.vectors, strict=True):
                    copy.write_row((id_, 0, text, vector))


def cocoindex(conn: "Connection", turn: Turn) -> None:
    """Its PostgreSQL target: an upsert of many rows with bound binary values, a commit for each call."""
    for chunk in turn.chunks(ROWS_A_CALL):
        places = ", ".join(["(%b, %b, %b)"] * len(chunk))
        statement = (
            f"INSERT INTO cocoindex_target (id, text, embedding) VALUES {places} "  # noqa: S608
            "ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text, embedding = EXCLUDED.embedding"
        )
        rows = zip(chunk.source.ids, chunk.source.texts, chunk.vectors, strict=True)
        with conn.transaction():
            conn.execute(statement.encode(), list(chain.from_iterable(rows)), prepare=True)


def psycopg_rows(conn: "Connection", turn: Turn) -> None:
    """Binary COPY, a write_row for each row, into a temp table; one UPDATE by id; a commit per chunk."""
    for chunk in turn.chunks(CHUNK_ROWS):
        with conn.transaction(), conn.cursor() as cursor:
            cursor.execute(_of(NEW_VECTORS, turn))
            with cursor.copy("COPY new_vectors (id, embedding) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types([_id_type(turn), "vector"])
                for id_, vector in zip(chunk.source.ids, chunk.vectors, strict=True):
                    copy.write_row((id_, vector))
            cursor.execute(_of(UPDATE, turn))


def _id_type(turn: Turn) -> str:
    return "int8" if turn.column.id_type == "bigint" else "text"


def _of(statement: LiteralString, turn: Turn) -> "Composed":
    """One of our statements in psycopg's own words."""
    from psycopg import sql as psycopg_sql

    column = turn.column
    quoted = {name: psycopg_sql.Identifier(getattr(column, name)) for name in ("id", "vector", "run")}
    table = psycopg_sql.Identifier(column.schema, column.table)
    return psycopg_sql.SQL(statement).format(table=table, **quoted, run_id=psycopg_sql.Literal(turn.run_id))


def through_psycopg(write: "Callable[[Connection, Turn], None]") -> Callable[[Connect], Session]:
    """Sessions on a connection of psycopg (3) that sends numpy vectors as pgvector's binary format."""

    def start(connect: Connect) -> Session:
        import psycopg
        from psycopg.adapt import Dumper
        from psycopg.pq import Format
        from psycopg.types import TypeInfo

        with closing(connect()) as opened:
            conn = psycopg.connect(opened.dsn)
        vector_type = TypeInfo.fetch(conn, "vector")
        assert vector_type is not None
        vector_type.register(conn)
        vector_oid = vector_type.oid

        class VectorDumper(Dumper):
            format = Format.BINARY
            oid = vector_oid

            def dump(self, obj: NDArray[np.float32]) -> bytes:
                return struct.pack(">HH", len(obj), 0) + obj.astype(">f4").tobytes()

        conn.adapters.register_dumper(np.ndarray, VectorDumper)
        conn.commit()
        return Session(conn.info.backend_pid, partial(write, conn), conn.close)

    return start

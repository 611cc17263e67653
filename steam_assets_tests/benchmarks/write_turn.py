"""One turn of one way of writing: the rows it is given, what it costs, and what can be read back afterwards."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import psutil
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch, SourceTexts
from steam_assets.id_range import IdRange

VECTOR_HEADER_BYTES = 4
"""Of what vector_send gives: int16 dimension, int16 unused."""


@dataclass(frozen=True)
class Turn:
    """Rows of an id range as they were read, the vectors they are to get, and the run that made these."""

    column: TextColumn
    run_id: int
    id_range: IdRange
    source: SourceTexts
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.source)

    def chunks(self, rows: int) -> "Iterator[Turn]":
        """Parts of so many rows; the last one is what is left."""
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            given = self.source
            source = SourceTexts(given.ids[part], given.texts[part], given.row_versions[part], given.source_md5[part])
            yield Turn(self.column, self.run_id, self.id_range, source, self.vectors[part])

    def encoded(self) -> EncodedBatch:
        """These rows as the encoder hands them to ours; making them checks them."""
        given = self.source
        return EncodedBatch(Embeddings(given.ids, given.row_versions, given.source_md5, self.vectors))


@dataclass(frozen=True)
class Session:
    """An open connection that writes turns in one way; ``pid`` is its backend's."""

    pid: int
    write: Callable[[Turn], None]
    close: Callable[[], None]


@dataclass(frozen=True)
class Cost:
    """What writing some rows took: seconds by the clock, processor seconds of both ends, and bytes of WAL."""

    seconds: float
    client_s: float
    backend_s: float
    wal_bytes: int


def timed(session: Session, turn: Turn, observer: connection) -> Cost:
    """Write a turn; ``observer`` is a connection of its own that asks the server how much WAL there is."""
    backend = psutil.Process(session.pid)
    wal, backend_s, client_s, started = _wal_bytes(observer), _busy_s(backend), time.process_time(), time.perf_counter()
    session.write(turn)
    seconds, client_s = time.perf_counter() - started, time.process_time() - client_s
    return Cost(seconds, client_s, _busy_s(backend) - backend_s, _wal_bytes(observer) - wal)


def peak_bytes(session: Session, turn: Turn) -> int:
    """The most memory that Python and numpy held while writing a turn, beside its rows and vectors; not libpq's."""
    tracemalloc.start()
    try:
        session.write(turn)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _busy_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _wal_bytes(conn: connection) -> int:
    with conn, conn.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
        ((found,),) = cursor.fetchall()
    return int(found)


def unit_vectors(rows: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Random directions, the same for the same seed."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def stored_vectors(conn: connection, turn: Turn, table: sql.Identifier, id_: str, vector: str) -> NDArray[np.float32]:
    """The turn's vectors as a table has them, in the turn's order, NaN where there is none; exact to the bit."""
    query = sql.SQL("SELECT {id}::text, vector_send({vector}) FROM {table} WHERE {id}::text = ANY(%s)").format(
        id=sql.Identifier(id_), vector=sql.Identifier(vector), table=table
    )
    places = {str(id_): place for place, id_ in enumerate(turn.source.ids)}
    found = np.full(turn.vectors.shape, np.nan, dtype=np.float32)
    with conn, conn.cursor() as cursor:
        cursor.execute(query, (list(places),))
        for key, sent in cursor:
            if sent is not None:
                found[places[key]] = np.frombuffer(sent, dtype=">f4", offset=VECTOR_HEADER_BYTES)
    return found

"""Embeddings in PostgreSQL's binary COPY format. Sending them is write.py's."""

import io
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from steam_assets.embeddings import Embeddings

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"


class Payload(io.RawIOBase):
    """The rows of all parts in binary COPY format, made a part at a time as psycopg2 reads it.

    Each row is id, xmin, md5 and vector, each behind its length in bytes: one numpy record per row and no loop over
    rows; text ids of equal length share a record type. See "Binary Format" in
    https://www.postgresql.org/docs/current/sql-copy.html; a vector is int16 dimension, int16 unused, float4s.
    ``stopped_by`` is an error in ``read``: psycopg2 makes a QueryCanceled of it, of Ctrl-C too.
    """

    def __init__(self, parts: Sequence[Embeddings]) -> None:
        self._pieces = chain([HEADER], map(_body, parts), [TRAILER])
        self.stopped_by: BaseException | None = None

    def read(self, _size: int = -1, /) -> bytes:
        """The next piece, whatever its size: psycopg2 sends what it gets, and stops at nothing."""
        try:
            return next(self._pieces, b"")
        except BaseException as error:
            self.stopped_by = error
            raise


def _body(embeddings: Embeddings) -> bytes:
    versions = np.asarray(embeddings.row_versions, dtype=np.uint32)
    digests = np.frombuffer(b"".join(embeddings.source_md5), dtype="V16")
    if all(isinstance(id_, int) for id_ in embeddings.ids):
        integers = np.asarray(embeddings.ids, dtype=np.int64)
        return _records(">i8", integers, versions, digests, embeddings.vectors).tobytes()
    encoded = [str(id_).encode() for id_ in embeddings.ids]
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    groups = []
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        ids = np.frombuffer(b"".join(encoded[row] for row in rows), dtype=f"V{length}") if length else None
        groups.append(_records(f"V{length}", ids, versions[rows], digests[rows], embeddings.vectors[rows]).tobytes())
    return b"".join(groups)


def _records(
    id_type: str,
    ids: NDArray[np.int64] | NDArray[np.void] | None,
    versions: NDArray[np.uint32],
    digests: NDArray[np.void],
    vectors: NDArray[np.float32],
) -> NDArray[np.void]:
    rows, dimension = vectors.shape
    record = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", id_type),
            ("version_bytes", ">i4"),
            ("version", ">u4"),
            ("digest_bytes", ">i4"),
            ("digest", "V16"),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f4", (dimension,)),
        ]
    )
    table = np.zeros(rows, dtype=record)
    table["fields"] = 4
    table["id_bytes"] = record["id"].itemsize
    if ids is not None:
        table["id"] = ids
    table["version_bytes"], table["version"] = 4, versions
    table["digest_bytes"], table["digest"] = 16, digests
    table["vector_bytes"], table["dimension"] = 4 + 4 * dimension, dimension
    table["vector"] = vectors
    return table

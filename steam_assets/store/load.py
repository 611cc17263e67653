"""Files into their tables: counted, checked, copied in chunks, upserted by key, reported. Finding them is files.py."""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg2.errors import ForeignKeyViolation
from psycopg2.extensions import TransactionRollbackError
from psycopg2.extensions import connection as Connection  # noqa: N812

from steam_assets.store.catalog import get_table
from steam_assets.store.files import PUBLISHED_TABLES, InputFile
from steam_assets.store.genres import add_genres, takes_genres
from steam_assets.store.records import BrokenRecord, read_header, read_rows
from steam_assets.store.rejects import Reject, Rejects
from steam_assets.store.row_check import RowCheck
from steam_assets.store.schema_version import check_schema
from steam_assets.store.server import check_writable
from steam_assets.store.upsert import Outcome, StagedRow, Upsert
from steam_assets.store.values import BadValue

CHUNK_ROWS = 5_000
CHUNK_CHARACTERS = 16_000_000
COUNTED_EVERY_ROWS = 10_000
WRITE_ATTEMPTS = 5
"""A chunk that another session is in the way of is written again: nothing of it is in the table yet."""


@dataclass(frozen=True)
class LoadProgress:
    """How far a file is: ``total`` is None while its rows are still being counted."""

    file: str
    table: str
    rows: int
    total: int | None


@dataclass(frozen=True)
class LoadReport:
    """What became of a file's rows: read = inserted + updated + unchanged + repeated + rejected.

    ``repeated`` rows have a key that a later row of the same file has too: the later one counts. ``genres`` is how many
    entries of application_genres its pages added.
    """

    table: str
    file: str
    read: int
    inserted: int
    updated: int
    unchanged: int
    repeated: int
    rejected: int
    rejects_file: str | None
    ignored_columns: tuple[str, ...]
    warnings: tuple[str, ...]
    genres: int = 0


@dataclass(frozen=True)
class _Survey:
    """What a first reading tells: how many rows, which columns, and the lines whose key comes again later."""

    rows: int
    columns: frozenset[str]
    repeated: frozenset[int]


def load_files(
    conn: Connection, files: Sequence[InputFile], progress: Callable[[LoadProgress], None] = lambda _: None
) -> Iterator[LoadReport]:
    """Load files in the order given, as find_files() puts them; each is reported as soon as it is in.

    Only the columns a file has are written (of JSONL: the keys a row has), and only where they differ.
    """
    for file in files:
        yield load_file(conn, file, progress)


def load_file(
    conn: Connection, file: InputFile, progress: Callable[[LoadProgress], None] = lambda _: None
) -> LoadReport:
    """Load one file; raises, before anything is written, when it cannot be read to its end or lacks a column."""
    table = next(table for table in PUBLISHED_TABLES if table.name == file.table)
    with conn:
        check_schema(conn)
        check_writable(conn)
        pages = table.name == "applications" and file.format == "jsonl" and takes_genres(conn)
        check = RowCheck(table, get_table(conn, table.name), with_genres=pages)
    survey = _survey(file, check, progress)
    check.require(file.label, survey.columns)
    upsert = Upsert(check.shape, table.key, tuple(check.converters))
    with conn, conn.cursor() as cursor:
        upsert.create_staging(cursor)

    read = genres = 0
    total = Outcome()
    with Rejects(file.label) as rejects:
        for chunk in _chunks(_checked_rows(file, check, survey.repeated)):
            rows = [row for row in chunk if isinstance(row, StagedRow)]
            outcome, added = _write_chunk(conn, upsert, rows)
            for reject in (*(row for row in chunk if isinstance(row, Reject)), *outcome.rejects):
                rejects.add(reject)
            total = total.plus(outcome)
            genres += added
            read += len(chunk)
            progress(LoadProgress(file.label, file.table, read, survey.rows - len(survey.repeated)))
    return LoadReport(
        table=file.table,
        file=file.label,
        read=survey.rows,
        inserted=total.inserted,
        updated=total.updated,
        unchanged=survey.rows - len(survey.repeated) - total.inserted - total.updated - rejects.count,
        repeated=len(survey.repeated),
        rejected=rejects.count,
        rejects_file=None if rejects.path is None else str(rejects.path),
        ignored_columns=tuple(sorted(survey.columns.difference(check.taken))),
        warnings=check.warnings(),
        genres=genres,
    )


def _survey(file: InputFile, check: RowCheck, progress: Callable[[LoadProgress], None]) -> _Survey:
    """Read the file once for what loading must know before its first row.

    A key may come again chunks later. Written in turn, its rows would overwrite each other at every load, and loading a
    file twice would change the table. 24 bytes a row tell which line has the last word.
    """
    rows = 0
    columns = set(read_header(file))
    lines = array("Q")
    digests = bytearray()
    for row in read_rows(file):
        rows += 1
        if rows % COUNTED_EVERY_ROWS == 0:
            progress(LoadProgress(file.label, file.table, rows, None))
        if isinstance(row, BrokenRecord):
            continue
        columns.update(row.values)
        try:
            key = "\0".join(check.key(row))
        except BadValue:
            continue
        lines.append(row.line)
        digests += hashlib.blake2b(key.encode(), digest_size=16).digest()
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    # Stable: rows of one key stay in the file's order.
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    again = (halves[order[:-1]] == halves[order[1:]]).all(axis=1)
    return _Survey(rows, frozenset(columns), frozenset(lines[i] for i in order[:-1][again]))


def _checked_rows(file: InputFile, check: RowCheck, repeated: frozenset[int]) -> Iterator[StagedRow | Reject]:
    for record in read_rows(file):
        if isinstance(record, BrokenRecord):
            yield Reject(record.line, None, record.reason)
            continue
        if record.line in repeated:
            continue
        key: tuple[str, ...] = ()
        try:
            key = check.key(record)
            yield check.row(record, key)
        except BadValue as error:
            yield Reject(record.line, ",".join(key) or None, str(error))


def _chunks(rows: Iterator[StagedRow | Reject]) -> Iterator[list[StagedRow | Reject]]:
    chunk: list[StagedRow | Reject] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += len(row.copy) if isinstance(row, StagedRow) else 0
        if len(chunk) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk = []
            characters = 0
    if chunk:
        yield chunk


def _write_chunk(conn: Connection, upsert: Upsert, rows: list[StagedRow]) -> tuple[Outcome, int]:
    """One transaction; rows that fill the same columns together, whatever their order: a key is in a file once.

    Returns what became of the rows, and how many genres they added.
    """
    groups: dict[tuple[str, ...], list[StagedRow]] = {}
    for row in rows:
        groups.setdefault(row.columns, []).append(row)
    attempt = 1
    while True:
        outcome = Outcome()
        try:
            with conn, conn.cursor() as cursor:
                for group in groups.values():
                    outcome = outcome.plus(upsert.write(cursor, group))
                refused = {reject.line for reject in outcome.rejects}
                added = add_genres(
                    cursor, {int(row.key[0]): row.genres for row in rows if row.line not in refused and row.genres}
                )
            return outcome, added
        except (TransactionRollbackError, ForeignKeyViolation):  # of a genre that has just got its published number
            if attempt == WRITE_ATTEMPTS:
                raise
            attempt += 1

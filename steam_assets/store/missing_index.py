"""The optional index of rows that wait for their first vector: what it holds, whether it is there, building it beside
other work. Who reads by it is read.py; HNSW indexes are not here."""

import hashlib
from collections.abc import Iterator, Sequence

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.limits import unlimited
from steam_assets.store.statements import Statement

LONGEST_NAME_BYTES = 63

# Blank rows stay out, or every probe would step over them. A query uses the index when it says the same of its table:
# `missing(column, "t")`.
MISSING = sql.SQL("{vector} IS NULL AND {text} ~ '\\S'")

CREATE = sql.SQL("CREATE INDEX {concurrently}{name} ON {table} ({id}) WHERE {missing}")
DROP = sql.SQL("DROP INDEX CONCURRENTLY {name}")

FIND = """
    SELECT i.indisvalid,
           EXISTS (SELECT FROM pg_stat_progress_create_index AS build WHERE build.index_relid = i.indexrelid)
    FROM pg_index AS i
    JOIN pg_class AS named ON named.oid = i.indexrelid
    JOIN pg_class AS t ON t.oid = i.indrelid
    JOIN pg_namespace AS s ON s.oid = t.relnamespace
    WHERE s.nspname = %s
      AND t.relname = %s
      AND named.relname = %s
"""

# What an index that nobody needs may fail with, without harm to anything else.
NOT_BUILT = (
    errors.InsufficientPrivilege,
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.QueryCanceled,
    errors.DiskFull,
    errors.DuplicateTable,
    errors.UndefinedObject,
)


def missing(column: TextColumn, alias: str | None = None) -> sql.Composed:
    """That a row has a text and no vector yet, as the index says it; of the table ``alias`` in a query."""
    prefix = () if alias is None else (alias,)
    return MISSING.format(
        vector=sql.Identifier(*prefix, column.vector),
        text=sql.Identifier(*prefix, column.text),
    )


def index_name(column: TextColumn) -> str:
    """The index's name: at most 63 bytes, another for each column, and for another text or id of the same column."""
    identity = "\0".join((column.table, column.vector, column.text, column.id)).encode()
    ending = f"_missing_{hashlib.sha256(identity).hexdigest()[:8]}"
    start = f"{column.table}_{column.vector}".encode()[: LONGEST_NAME_BYTES - len(ending)]
    return start.decode(errors="ignore") + ending


def has_missing_index(conn: connection, column: TextColumn) -> bool:
    """Whether the index is there and complete, so that a query can use it."""
    valid, _ = _find(conn, column)
    return valid is True


def create_index(conn: connection, column: TextColumn) -> Statement:
    """The step that builds the index in init's own transaction, for a table without rows."""
    return Statement(f"{column}: an index of the rows without a vector", _create(conn, column, concurrently=False))


def steps_after_commit(conn: connection, column: TextColumn, partitioned: bool, notices: list[str]) -> list[Statement]:
    """The steps that build the index on a table with rows while others write to it; none where it is complete."""
    valid, being_built = _find(conn, column)
    if valid:
        return []
    if being_built:
        notices.append(f"{column}: another session is building the index of the rows without a vector.")
        return []
    if partitioned:
        by_hand = _create(conn, column, concurrently=False)
        notices.append(
            f"{column}: no index of the rows without a vector, because PostgreSQL builds none on a partitioned table "
            f"while others write to it. {WHAT_FOR} When nobody writes, its owner can run: {by_hand};"
        )
        return []
    create = Statement(
        f"{column}: an index of the rows without a vector, built while others write",
        _create(conn, column, concurrently=True),
    )
    if valid is None:
        return [create]
    name = sql.Identifier(column.schema, index_name(column))
    drop = DROP.format(name=name).as_string(conn)
    return [Statement(f"{column}: the index that an interrupted build left invalid goes", drop), create]


WHAT_FOR = "It is optional: new rows are found in milliseconds with it, and by reading the table without it."


def build_after_commit(conn: connection, steps: Sequence[Statement]) -> Iterator[str]:
    """Carry out the steps, each by itself; tell of each what became of it. The connection must be in no transaction."""
    autocommit = conn.autocommit
    conn.autocommit = True
    try:
        with unlimited(conn), conn.cursor() as cursor:
            for step in steps:
                try:
                    cursor.execute(step.sql)
                    yield f"+ {step.reason}"
                except NOT_BUILT as error:
                    said = error.diag.message_primary
                    yield f"Not done ({step.reason}): {said}. {WHAT_FOR} The table's owner can run: {step.sql};"
    finally:
        if not conn.closed:
            conn.autocommit = autocommit


def _create(conn: connection, column: TextColumn, concurrently: bool) -> str:
    statement = CREATE.format(
        concurrently=sql.SQL("CONCURRENTLY " if concurrently else ""),
        name=sql.Identifier(index_name(column)),
        table=sql.Identifier(column.schema, column.table),
        id=sql.Identifier(column.id),
        missing=missing(column),
    )
    return statement.as_string(conn)


def _find(conn: connection, column: TextColumn) -> tuple[bool | None, bool]:
    """Whether the index is valid, None when there is none; and whether a session is building it now."""
    with conn.cursor() as cursor:
        cursor.execute(FIND, (column.schema, column.table, index_name(column)))
        return cursor.fetchone() or (None, False)

"""A chunk of checked rows into a table: COPY to a temporary table, insert what is new, update what differs."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from steam_assets.errors import SteamAssetsError
from steam_assets.store import genres
from steam_assets.store.catalog import Reference, Table
from steam_assets.store.rejects import Reject

STAGING = sql.Identifier("pg_temp", "loaded_rows")
CREATE_STAGING = sql.SQL("""
    DROP TABLE IF EXISTS {staging};
    CREATE TEMPORARY TABLE loaded_rows ON COMMIT DELETE ROWS AS
    SELECT 0::bigint AS line, {columns}
    FROM {table}
    WITH NO DATA
""")
COPY_ROWS = sql.SQL("COPY {staging} (line, {columns}) FROM STDIN")
DELETE_ORPHANS = sql.SQL("""
    DELETE FROM {staging} AS new
    WHERE new.{column} IS NOT NULL
      AND NOT EXISTS (SELECT FROM {other} AS other WHERE other.{other_column} = new.{column})
    RETURNING new.line, new.{column}::text
""")
# Rows that are there are left out first: ON CONFLICT alone would build each of them, generated columns included.
INSERT_NEW = sql.SQL("""
    INSERT INTO {table} ({columns})
    SELECT {values}
    FROM {staging} AS new
    WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key})
    ORDER BY new.line
    ON CONFLICT ({key}) DO NOTHING
""")
# An UPDATE of its own and no ON CONFLICT DO UPDATE, which locks, and so writes, the rows that stay as they are.
UPDATE_CHANGED = sql.SQL("""
    UPDATE {table} AS t
    SET {assignments}
    FROM {staging} AS new
    WHERE {same_key}
      AND ROW({old}) IS DISTINCT FROM ROW({new})
""")

# For columns that may not be NULL and that files often lack.
FILLED_ON_INSERT: dict[str, dict[str, sql.SQL]] = {
    "applications": {"name_from_applist": sql.SQL("COALESCE(new.name, '')"), "success": sql.SQL("true")}
}


@dataclass(frozen=True, slots=True)
class StagedRow:
    """A checked row: its line, its key as text, the columns it fills, and those values as one line of COPY.

    ``genres`` are names that go to other tables (genres.py).
    """

    line: int
    key: tuple[str, ...]
    columns: tuple[str, ...]
    copy: str
    genres: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of rows; the rest of them were the same already."""

    inserted: int = 0
    updated: int = 0
    rejects: tuple[Reject, ...] = ()

    def plus(self, other: "Outcome") -> "Outcome":
        """Both together."""
        return Outcome(self.inserted + other.inserted, self.updated + other.updated, self.rejects + other.rejects)


class Upsert:
    """Writes rows into one table by its key. ``loadable`` are the columns that files may fill."""

    def __init__(self, shape: Table, key: tuple[str, ...], loadable: Sequence[str]) -> None:
        self._shape = shape
        self._key = key
        self._loadable = loadable
        self._table = sql.Identifier(shape.schema, shape.name)
        fills = FILLED_ON_INSERT.get(shape.name, {})
        self._fills = {name: fill for name, fill in fills.items() if name in shape.columns}

    def create_staging(self, cursor: Cursor) -> None:
        """Make the session's temporary table, with the types of the columns as they are in the table."""
        cursor.execute(CREATE_STAGING.format(staging=STAGING, table=self._table, columns=_listed("{}", self._loadable)))

    def write(self, cursor: Cursor, rows: Sequence[StagedRow]) -> Outcome:
        """Insert or update rows that fill the same columns, in the caller's transaction.

        When the server refuses a row, for a constraint or a trigger that only it knows, the rows are written in halves
        until that row stands alone and is rejected with the server's reason.
        """
        cursor.execute("SAVEPOINT load_rows")
        try:
            outcome = self._upsert(cursor, rows)
        except (psycopg2.DataError, psycopg2.IntegrityError, errors.RaiseException) as error:
            cursor.execute("ROLLBACK TO SAVEPOINT load_rows")
            if len(rows) == 1:
                # Not the detail, which quotes the row.
                reason = error.diag.message_primary or type(error).__name__
                outcome = Outcome(rejects=(Reject(rows[0].line, ",".join(rows[0].key), reason),))
            else:
                half = len(rows) // 2
                outcome = self.write(cursor, rows[:half]).plus(self.write(cursor, rows[half:]))
        cursor.execute("RELEASE SAVEPOINT load_rows")
        return outcome

    def _upsert(self, cursor: Cursor, rows: Sequence[StagedRow]) -> Outcome:
        columns = rows[0].columns
        copy_rows, insert_new, update_changed = self._statements(columns)
        cursor.execute(sql.SQL("TRUNCATE {}").format(STAGING))
        cursor.copy_expert(copy_rows, io.StringIO("".join([row.copy for row in rows])))
        rejects = [
            reject
            for reference in self._shape.references
            if reference.column in columns and reference.table != self._shape.name
            for reject in self._orphans(cursor, reference, rows)
        ]
        moved = genres.step_aside(cursor, STAGING) if self._brings_genres(columns) else []
        try:
            cursor.execute(insert_new)
        except errors.InvalidColumnReference:
            raise SteamAssetsError(
                f"{self._shape.schema}.{self._shape.name} has no unique index on {', '.join(self._key)}, which says "
                "whether a row is new. Add a primary key."
            ) from None
        inserted = cursor.rowcount
        updated = 0
        if update_changed is not None:
            cursor.execute(update_changed)
            updated = cursor.rowcount
        genres.hand_over(cursor, moved)
        return Outcome(inserted, updated, tuple(rejects))

    def _brings_genres(self, columns: tuple[str, ...]) -> bool:
        return (self._shape.schema, self._shape.name) == ("public", "genres") and "name" in columns

    def _orphans(self, cursor: Cursor, reference: Reference, rows: Sequence[StagedRow]) -> list[Reject]:
        cursor.execute(
            DELETE_ORPHANS.format(
                staging=STAGING,
                column=sql.Identifier(reference.column),
                other=sql.Identifier(reference.schema, reference.table),
                other_column=sql.Identifier(reference.table_column),
            )
        )
        keys = {row.line: ",".join(row.key) for row in rows} if cursor.rowcount else {}
        return [
            Reject(line, keys[line], f"{reference.column} {value} is not in {reference.table}")
            for line, value in cursor
        ]

    @lru_cache(maxsize=256)  # noqa: B019  lives as long as one file's load
    def _statements(self, columns: tuple[str, ...]) -> tuple[sql.Composed, sql.Composed, sql.Composed | None]:
        """The COPY, the INSERT, and the UPDATE unless the key is all there is."""
        names = {"table": self._table, "staging": STAGING, "same_key": _listed("t.{0} = new.{0}", self._key, " AND ")}
        fills = {name: fill for name, fill in self._fills.items() if name not in columns}
        insert_new = INSERT_NEW.format(
            **names,
            key=_listed("{}", self._key),
            columns=_listed("{}", (*columns, *fills)),
            values=sql.SQL(", ").join([_listed("new.{}", columns), *fills.values()]),
        )
        changing = [name for name in columns if name not in self._key]
        update_changed = UPDATE_CHANGED.format(
            **names,
            assignments=_listed("{0} = new.{0}", changing),
            old=_listed("t.{}", changing),
            new=_listed("new.{}", changing),
        )
        copy_rows = COPY_ROWS.format(staging=STAGING, columns=_listed("{}", columns))
        return copy_rows, insert_new, update_changed if changing else None


def _listed(template: str, names: Sequence[str], separator: str = ", ") -> sql.Composed:
    return sql.SQL(separator).join(sql.SQL(template).format(sql.Identifier(name)) for name in names)

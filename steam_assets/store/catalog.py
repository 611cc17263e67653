"""What PostgreSQL's catalog says of a table that is to be embedded, and whether it can be."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError

ID_TYPES = {"smallint": "bigint", "integer": "bigint", "bigint": "bigint", "text": "text", "character varying": "text"}
TEXT_TYPES = ("text", "character varying", "character")
KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "i": "an index", "S": "a sequence"}


@dataclass(frozen=True)
class TableColumn:
    """A column's type as PostgreSQL writes it, and what its rows can count on."""

    type: str
    nullable: bool
    has_default: bool
    unique: bool


@dataclass(frozen=True)
class Table:
    """A table as it is: its kind (pg_class.relkind) and its columns by name."""

    kind: str
    columns: Mapping[str, TableColumn]


def find_table(conn: connection, schema: str, table: str) -> Table | None:
    """The table of exactly this schema and name; None when there is none."""
    with conn.cursor() as cursor:
        cursor.execute(FIND_TABLE, (schema, table))
        rows = cursor.fetchall()
    if not rows:
        return None
    columns = {name: TableColumn(*column) for _, name, *column in rows if name is not None}
    return Table(rows[0][0], columns)


FIND_TABLE = """
    SELECT t.relkind, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
           a.atthasdef OR a.attidentity <> '',
           EXISTS (
               SELECT FROM pg_index AS x
               WHERE x.indrelid = t.oid AND x.indisunique AND x.indisvalid AND x.indpred IS NULL
                 AND x.indnkeyatts = 1 AND x.indkey[0] = a.attnum)
    FROM pg_class AS t
    JOIN pg_namespace AS s ON s.oid = t.relnamespace
    LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE s.nspname = %s AND t.relname = %s
    ORDER BY a.attnum
"""


def has_foreign_key_to_runs(conn: connection, column: TextColumn) -> bool:
    """Whether the run column refers to embedding_runs."""
    with conn.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (
                SELECT FROM pg_constraint AS c
                JOIN pg_class AS t ON t.oid = c.conrelid
                JOIN pg_namespace AS s ON s.oid = t.relnamespace
                JOIN pg_attribute AS a ON a.attrelid = t.oid AND c.conkey = ARRAY[a.attnum]
                WHERE c.contype = 'f' AND c.confrelid = to_regclass('public.embedding_runs')
                  AND s.nspname = %s AND t.relname = %s AND a.attname = %s)
            """,
            (column.schema, column.table, column.run),
        )
        return cursor.fetchone() == (True,)


def check_source(table: Table, column: TextColumn) -> list[str]:
    """Raise SteamAssetsError unless the table's id and text can be read as ``column`` says; returns what to know."""
    if table.kind not in ("r", "p"):
        raise SteamAssetsError(
            f"{column.qualified_table} is {KINDS.get(table.kind, 'not a table')}; vectors are written into tables. "
            "Name the table itself in columns.py."
        )
    for name in (column.id, column.text):
        if name not in table.columns:
            raise SteamAssetsError(
                f"{column.qualified_table} has no column {name!r}; it has {', '.join(table.columns)}. "
                "Correct the entry in columns.py, or add the column."
            )
    identity, text = table.columns[column.id], table.columns[column.text]
    id_type = ID_TYPES.get(_plain(identity.type))
    if id_type is None:
        raise SteamAssetsError(
            f"{column.qualified_table}.{column.id} is {identity.type}; an id is smallint, integer, bigint, text or "
            "character varying. Give the table a unique column of one of these types and name it in columns.py."
        )
    if id_type != column.id_type:
        raise SteamAssetsError(
            f"{column.qualified_table}.{column.id} is {identity.type}, and columns.py says id_type={column.id_type!r}. "
            f"Write id_type={id_type!r} there."
        )
    if not identity.unique:
        raise SteamAssetsError(
            f"{column.qualified_table}.{column.id} is not unique by itself. Run CREATE UNIQUE INDEX on it, or name "
            "another id column in columns.py."
        )
    if _plain(text.type) not in TEXT_TYPES:
        raise SteamAssetsError(
            f"{column.qualified_table}.{column.text} is {text.type}; expected text. Name a text column in columns.py, "
            "for example one GENERATED ALWAYS AS (...) STORED."
        )
    if identity.nullable:
        return [f"{column.qualified_table}.{column.id} may be NULL; rows without an id are never embedded."]
    return []


def _plain(type_name: str) -> str:
    return type_name.partition("(")[0]

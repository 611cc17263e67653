"""What a table looks like in this database: columns with types, defaults and foreign keys, from the catalog."""

from dataclasses import dataclass
from functools import cached_property

from psycopg2.extensions import connection as Connection  # noqa: N812

from steam_assets.errors import SteamAssetsError

SELECT_COLUMNS = """
    SELECT a.attname,
           format_type(a.atttypid, a.atttypmod),
           ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = a.atttypid ORDER BY e.enumsortorder),
           a.attnotnull,
           a.atthasdef OR a.attidentity <> '',
           a.attgenerated <> ''
    FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass(%(table)s)
      AND a.attnum > 0
      AND NOT a.attisdropped
    ORDER BY a.attnum
"""
SELECT_REFERENCES = """
    SELECT mine.attname, namespace.nspname, other.relname, theirs.attname
    FROM pg_constraint AS c
    JOIN pg_class AS other ON other.oid = c.confrelid
    JOIN pg_namespace AS namespace ON namespace.oid = other.relnamespace
    JOIN pg_attribute AS mine ON mine.attrelid = c.conrelid AND mine.attnum = c.conkey[1]
    JOIN pg_attribute AS theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = c.confkey[1]
    WHERE c.contype = 'f'
      AND c.conrelid = to_regclass(%(table)s)
      AND cardinality(c.conkey) = 1
    ORDER BY mine.attnum
"""


@dataclass(frozen=True)
class ColumnShape:
    """A column; ``type`` as format_type() writes it, ``labels`` of an enum in its order."""

    name: str
    type: str
    labels: tuple[str, ...]
    not_null: bool
    has_default: bool
    generated: bool


@dataclass(frozen=True)
class Reference:
    """A foreign key of one column."""

    column: str
    schema: str
    table: str
    table_column: str


@dataclass(frozen=True)
class TableShape:
    """A table's columns in their order, and what they refer to."""

    schema: str
    name: str
    columns: tuple[ColumnShape, ...]
    references: tuple[Reference, ...]

    @cached_property
    def column(self) -> dict[str, ColumnShape]:
        """The columns by name."""
        return {column.name: column for column in self.columns}


def read_shape(conn: Connection, name: str, schema: str = "public") -> TableShape:
    """The table as it is now; raises when it is not there. Leaves the transaction open."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT format('%%I.%%I', %s::text, %s::text)", (schema, name))
        table = {"table": (cursor.fetchone() or ("",))[0]}
        cursor.execute(SELECT_COLUMNS, table)
        columns = tuple(ColumnShape(row[0], row[1], tuple(row[2]), *row[3:]) for row in cursor)
        cursor.execute(SELECT_REFERENCES, table)
        references = tuple(Reference(*row) for row in cursor)
    if not columns:
        raise SteamAssetsError(f"The table {schema}.{name} is not in this database. Run `steam-assets init` first.")
    return TableShape(schema, name, columns, references)

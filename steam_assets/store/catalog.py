"""What PostgreSQL says a table is: its kind, columns and keys, and what stands in the way. Judged in embeddable.py."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError


@dataclass(frozen=True)
class TableColumn:
    """A column; ``type`` as format_type() writes it, ``labels`` of an enum in its order, ``unique`` by itself."""

    name: str
    type: str
    labels: tuple[str, ...]
    not_null: bool
    has_default: bool
    generated: bool
    unique: bool


@dataclass(frozen=True)
class Reference:
    """A foreign key of one column."""

    column: str
    schema: str
    table: str
    table_column: str


@dataclass(frozen=True)
class Table:
    """A table as it is; ``kind`` is pg_class.relkind, ``columns`` are in their order.

    ``partition_of`` is the table whose partition it is, ``children`` inherit from it and are not its partitions,
    ``foreign_partitions`` are on other servers, ``update_rules`` rewrite an UPDATE, and ``policies_apply`` when row
    level security hides rows from this user.
    """

    schema: str
    name: str
    kind: str
    unlogged: bool
    partition_of: str | None
    children: tuple[str, ...]
    foreign_partitions: tuple[str, ...]
    update_rules: tuple[str, ...]
    policies_apply: bool
    columns: Mapping[str, TableColumn]
    references: tuple[Reference, ...]


def find_table(conn: connection, schema: str, table: str) -> Table | None:
    """The table of exactly this schema and name; None when there is none. Leaves the transaction open."""
    with conn.cursor() as cursor:
        cursor.execute(FIND_TABLE, (schema, table))
        found = cursor.fetchone()
        if found is None:
            return None
        oid, kind, unlogged, partition_of, children, foreign_partitions, update_rules, policies_apply = found
        cursor.execute(FIND_COLUMNS, (oid,))
        columns = [TableColumn(name, kind_, tuple(labels), *rest) for name, kind_, labels, *rest in cursor]
        cursor.execute(FIND_REFERENCES, (oid,))
        references = tuple(Reference(*row) for row in cursor)
    return Table(
        *(schema, table, kind, unlogged, partition_of),
        *(tuple(children), tuple(foreign_partitions), tuple(update_rules), policies_apply),
        columns={column.name: column for column in columns},
        references=references,
    )


def get_table(conn: connection, name: str, schema: str = "public") -> Table:
    """The table as it is now; raises when it is not there. Leaves the transaction open."""
    found = find_table(conn, schema, name)
    if found is None:
        raise SteamAssetsError(f"The table {schema}.{name} is not in this database. Run `steam-assets init` first.")
    return found


def has_foreign_key_to_runs(conn: connection, column: TextColumn) -> bool:
    """Whether the run column refers to embedding_runs."""
    table = find_table(conn, column.schema, column.table)
    return table is not None and any(
        (key.column, key.schema, key.table) == (column.run, "public", "embedding_runs") for key in table.references
    )


FIND_TABLE = """
    SELECT t.oid,
           t.relkind,
           t.relpersistence = 'u',
           CASE WHEN t.relispartition
                THEN (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = t.oid LIMIT 1) END,
           ARRAY(
               SELECT inhrelid::regclass::text
               FROM pg_inherits
               WHERE inhparent = t.oid
                 AND t.relkind <> 'p'
               ORDER BY 1),
           ARRAY(
               SELECT part.relid::regclass::text
               FROM pg_partition_tree(CASE WHEN t.relkind = 'p' THEN t.oid END) AS part
               JOIN pg_class AS c ON c.oid = part.relid
               WHERE c.relkind = 'f'
               ORDER BY 1),
           ARRAY(
               SELECT rulename::text
               FROM pg_rewrite
               WHERE ev_class = t.oid
                 AND ev_type = '2'
                 AND is_instead
                 AND t.relkind IN ('r', 'p')
               ORDER BY 1),
           row_security_active(t.oid)
    FROM pg_class AS t
    JOIN pg_namespace AS s ON s.oid = t.relnamespace
    WHERE s.nspname = %s
      AND t.relname = %s
"""

FIND_COLUMNS = """
    SELECT a.attname::text,
           format_type(a.atttypid, a.atttypmod),
           ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = a.atttypid ORDER BY e.enumsortorder),
           a.attnotnull,
           a.atthasdef OR a.attidentity <> '',
           a.attgenerated <> '',
           EXISTS (
               SELECT FROM pg_index AS x
               WHERE x.indrelid = a.attrelid AND x.indisunique AND x.indisvalid AND x.indpred IS NULL
                 AND x.indnkeyatts = 1 AND x.indkey[0] = a.attnum)
    FROM pg_attribute AS a
    WHERE a.attrelid = %s
      AND a.attnum > 0
      AND NOT a.attisdropped
    ORDER BY a.attnum
"""

FIND_REFERENCES = """
    SELECT mine.attname::text, namespace.nspname::text, other.relname::text, theirs.attname::text
    FROM pg_constraint AS c
    JOIN pg_class AS other ON other.oid = c.confrelid
    JOIN pg_namespace AS namespace ON namespace.oid = other.relnamespace
    JOIN pg_attribute AS mine ON mine.attrelid = c.conrelid AND mine.attnum = c.conkey[1]
    JOIN pg_attribute AS theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = c.confkey[1]
    WHERE c.contype = 'f'
      AND c.conrelid = %s
      AND cardinality(c.conkey) = 1
    ORDER BY mine.attnum
"""

"""What a PostgreSQL server is, and what we may do there: the facts `doctor` reports. Nothing is changed here."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn


@dataclass(frozen=True)
class Server:
    """A server and the rights of our user in this database; a version is None where the thing is absent."""

    version: str
    pgvector: str | None
    pgvector_to_install: str | None
    may_create_extension: bool
    may_create_tables: bool
    may_create_temporary_tables: bool
    may_create_databases: bool
    has_dagster_database: bool


@dataclass(frozen=True)
class EmbeddedTable:
    """Our rights on the table of a text column, and the triggers that slow every write of a vector.

    The unreadable and unwritable columns are quoted as SQL needs it.
    """

    owned: bool
    missing_columns: Sequence[str]
    unreadable_columns: Sequence[str]
    unwritable_columns: Sequence[str]
    slow_triggers: Sequence[str]


def read_server(conn: connection) -> Server:
    """The server behind a connection."""
    with conn.cursor() as cursor:
        cursor.execute(READ_SERVER)
        row = cursor.fetchone()
    if row is None:
        raise LookupError("PostgreSQL answered a SELECT without FROM with no row")
    return Server(*row)


# A superuser creates any extension; others those that their control file calls trusted, as pgvector's does.
READ_SERVER = """
    SELECT current_setting('server_version'),
           (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
           (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
           role.rolsuper OR (
               has_database_privilege(current_database(), 'CREATE')
               AND EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'vector' AND trusted)),
           coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), FALSE),
           has_database_privilege(current_database(), 'TEMPORARY'),
           role.rolsuper OR role.rolcreatedb,
           EXISTS (SELECT FROM pg_database WHERE datname = 'dagster')
    FROM pg_roles AS role
    WHERE role.rolname = current_user
"""


def read_embedded_table(conn: connection, column: TextColumn) -> EmbeddedTable | None:
    """The table of a text column; None when there is none yet."""
    with conn.cursor() as cursor:
        cursor.execute(
            READ_EMBEDDED_TABLE,
            {
                "schema": column.schema,
                "table": column.table,
                "read": [column.id, column.text],
                "written": [column.vector, column.run, column.digest],
            },
        )
        row = cursor.fetchone()
    return None if row is None else EmbeddedTable(*row)


# tgtype: 1 for each row, 2 before, 16 on UPDATE. A trigger ON UPDATE OF other columns does not fire for ours.
READ_EMBEDDED_TABLE = """
    SELECT pg_has_role(t.relowner, 'USAGE'),
           ARRAY(
               SELECT wanted FROM unnest(%(written)s::text[]) AS wanted
               WHERE NOT EXISTS (
                   SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname = wanted AND NOT attisdropped)),
           ARRAY(
               SELECT quote_ident(attname) FROM pg_attribute
               WHERE attrelid = t.oid AND attname = ANY(%(read)s) AND NOT attisdropped
                 AND NOT has_column_privilege(t.oid, attnum, 'SELECT')),
           ARRAY(
               SELECT quote_ident(attname) FROM pg_attribute
               WHERE attrelid = t.oid AND attname = ANY(%(written)s) AND NOT attisdropped
                 AND NOT has_column_privilege(t.oid, attnum, 'UPDATE')),
           ARRAY(
               SELECT tgname::text FROM pg_trigger
               WHERE tgrelid = t.oid AND tgtype & 19 = 19 AND NOT tgisinternal AND tgenabled IN ('O', 'A')
                 AND (tgattr::text = '' OR EXISTS (
                     SELECT FROM pg_attribute
                     WHERE attrelid = t.oid AND attnum = ANY(tgattr) AND attname = ANY(%(written)s)))
               ORDER BY tgname)
    FROM pg_class AS t
    JOIN pg_namespace AS s ON s.oid = t.relnamespace
    WHERE s.nspname = %(schema)s AND t.relname = %(table)s
"""

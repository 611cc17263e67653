"""What a PostgreSQL server is, and what we may do there: facts for `doctor`, and refusals. Nothing is changed here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import DatabaseUnavailable

OLDEST_PGVECTOR = (0, 7)
OUR_TABLES = {
    "embedding_schema": ("SELECT",),
    "embedding_runs": ("SELECT",),
    "embedding_columns": ("SELECT", "INSERT (table_name, vector_column, serving_run_id)", "UPDATE (serving_run_id)"),
    "embedding_run_ranges": ("SELECT", "INSERT", "UPDATE"),
    "embedding_failures": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}
"""What filling a column does to our own tables, as infra/sql/roles.sql grants it; who may run `init` owns them."""


@dataclass(frozen=True)
class Server:
    """A server and the rights of our user in this database; a version is None where the thing is absent.

    ``lacking_rights`` are what GRANT must be told: TEMPORARY ON DATABASE steam.
    """

    version: str
    pgvector: str | None
    pgvector_to_install: str | None
    may_create_extension: bool
    lacking_rights: Sequence[str]
    may_create_databases: bool
    has_dagster_database: bool
    is_standby: bool
    is_read_only: bool


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

    @property
    def lacking_rights(self) -> str:
        """What GRANT ... ON the table needs to be told: SELECT ("id", "text"), UPDATE ("vector"); empty for nothing."""
        needed = (("SELECT", self.unreadable_columns), ("UPDATE", self.unwritable_columns))
        return ", ".join(f"{right} ({', '.join(columns)})" for right, columns in needed if columns)


def read_server(conn: connection) -> Server:
    """The server behind a connection."""
    with conn.cursor() as cursor:
        wanted = [(table, privilege) for table, privileges in OUR_TABLES.items() for privilege in privileges]
        cursor.execute(READ_SERVER, {"tables": [t for t, _ in wanted], "privileges": [p for _, p in wanted]})
        row = cursor.fetchone()
    if row is None:
        raise LookupError("PostgreSQL answered a SELECT without FROM with no row")
    return Server(*row)


# A superuser creates any extension; others those that their control file calls trusted, as pgvector's does.
READ_SERVER = """
    WITH ours AS (
        SELECT t.oid, wanted.name, wanted.privilege
        FROM unnest(%(tables)s::text[], %(privileges)s::text[]) AS wanted (name, privilege)
        JOIN pg_class AS t ON t.relname = wanted.name AND t.relnamespace = to_regnamespace('public')
    )
    SELECT current_setting('server_version'),
           (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
           (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
           role.rolsuper OR (
               has_database_privilege(current_database(), 'CREATE')
               AND EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'vector' AND trusted)),
           ARRAY(
               SELECT 'CREATE ON SCHEMA public'
               WHERE NOT coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), FALSE)
                 AND NOT EXISTS (SELECT FROM ours WHERE name = 'embedding_columns')
               UNION ALL
               SELECT 'TEMPORARY ON DATABASE ' || quote_ident(current_database())
               WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
               UNION ALL
               SELECT string_agg(privilege, ', ' ORDER BY privilege) || ' ON public.' || name
               FROM ours
               WHERE NOT CASE WHEN privilege = 'DELETE' THEN has_table_privilege(oid, privilege)
                              ELSE has_any_column_privilege(oid, split_part(privilege, ' ', 1)) END
               GROUP BY name),
           role.rolsuper OR role.rolcreatedb,
           EXISTS (SELECT FROM pg_database WHERE datname = 'dagster'),
           pg_is_in_recovery(),
           current_setting('transaction_read_only')::boolean
    FROM pg_roles AS role
    WHERE role.rolname = current_user
"""


def check_pgvector(version: str) -> None:
    """Raise DatabaseUnavailable for a pgvector without halfvec; ``version`` as pg_extension has it."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_PGVECTOR:
        oldest = ".".join(map(str, OLDEST_PGVECTOR))
        raise DatabaseUnavailable(
            f"pgvector is {version} here; expected {oldest} or newer, which brought halfvec. Install a newer one on "
            "the server, and have an administrator run ALTER EXTENSION vector UPDATE."
        )


def check_writable(conn: connection) -> None:
    """Raise DatabaseUnavailable where nothing can be written: on a standby, or in transactions that only read."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean")
        standby, read_only = cursor.fetchone() or (False, False)
    if standby:
        raise DatabaseUnavailable(
            f"The server of {conn.info.dbname} is a hot standby, which can be read and not written. Name its primary "
            "with --database-url; with several hosts, target_session_attrs=read-write in the address finds it."
        )
    if read_only:
        raise DatabaseUnavailable(
            f"Transactions in {conn.info.dbname} only read: default_transaction_read_only is on for {conn.info.user}, "
            "the database or the server. Have it turned off, or name another database or user with --database-url."
        )


def check_rights(conn: connection, column: TextColumn) -> None:
    """Raise SteamAssetsError unless this user may do what filling ``column`` takes."""
    table = read_embedded_table(conn, column)
    if table is None:
        raise SteamAssetsError(f"There is no table {column.qualified_table}. Run `steam-assets init`.")
    name, user = (
        sql.Identifier(*parts).as_string(conn) for parts in ((column.schema, column.table), (conn.info.user,))
    )
    lacking = [
        *read_server(conn).lacking_rights,
        *([f"{table.lacking_rights} ON {name}"] if table.lacking_rights else []),
    ]
    if lacking:
        raise SteamAssetsError(
            f"{conn.info.user} may not fill {column}: it lacks {' and '.join(lacking)}. Make it a member of "
            "steam_assets_writer with infra/sql/roles.sql, or for these alone an administrator runs: "
            f"{'; '.join(f'GRANT {right} TO {user}' for right in lacking)}"
        )


def read_embedded_table(conn: connection, column: TextColumn) -> EmbeddedTable | None:
    """The table of a text column; None when there is none yet."""
    with conn.cursor() as cursor:
        cursor.execute(
            READ_EMBEDDED_TABLE,
            {
                "schema": column.schema,
                "table": column.table,
                "read": [column.id, column.text, column.vector, column.run, column.digest, "xmin"],
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

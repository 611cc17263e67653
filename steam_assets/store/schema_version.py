"""Which version of our tables a database has, and whether this code may use it. What a version needs is schema.py's."""

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.statements import Statement

SCHEMA_VERSION = 4
"""1: runs, columns, ranges, failures. 2: the details of an attempt. 3: released failures, dropped indexes, this record.
4: indexes, projections, measurements, evaluations, promotions.

Before schema.sql changes and this becomes 5, run `python -m steam_assets_tests.schema_versions.make`: it keeps a
database of version 4 for the tests of the upgrade."""

# Versions 1 and 2 kept no record; they are known by what they lack.
FIND_PARTS = """
    SELECT to_regclass('public.embedding_schema') IS NOT NULL,
           to_regclass('public.embedding_columns') IS NOT NULL,
           EXISTS (
               SELECT
               FROM pg_attribute
               WHERE attrelid = to_regclass('public.embedding_run_ranges')
                 AND attname = 'details'
                 AND NOT attisdropped)
"""


class SchemaMismatch(SteamAssetsError):
    """The tables of the database are of another version than this code works with."""


def schema_version(conn: connection) -> int:
    """The version of our tables in the database, 0 before `init`; raises SchemaMismatch when this code is too old."""
    version: int | None = None
    with conn.cursor() as cursor:
        try:
            cursor.execute(FIND_PARTS)
            recorded, initialised, with_details = cursor.fetchone() or (False, False, False)
            if recorded:
                cursor.execute("SELECT max(version) FROM public.embedding_schema")
                (version,) = cursor.fetchone() or (None,)
        except errors.InsufficientPrivilege as error:
            raise SteamAssetsError(
                f"{conn.info.user} may not use the tables of steam-assets: {error.diag.message_primary}. "
                "An administrator makes the user a member of a role of infra/sql/roles.sql."
            ) from None
    if version is None:
        version = (2 if with_details else 1) if initialised else 0
    if version > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"The tables of this database are of version {version}, and this steam-assets knows versions up to "
            f"{SCHEMA_VERSION}. Upgrade steam-assets, or use another database."
        )
    return version


def check_schema(conn: connection) -> bool:
    """Whether `init` has been here; raises SchemaMismatch when it was an older one, or one that is too new."""
    version = schema_version(conn)
    if 0 < version < SCHEMA_VERSION:
        raise SchemaMismatch(
            f"The tables of this database are of version {version}; expected {SCHEMA_VERSION}. "
            "Run `steam-assets init`, which adds what is missing and keeps every row."
        )
    return version > 0


def record_version(conn: connection, found: int) -> Statement:
    """The step that says which version the tables have from now on, in the transaction that makes it so."""
    return Statement(
        f"schema: version {SCHEMA_VERSION}" + (f"; it was {found}" if found else ""),
        RECORD.format(version=sql.Literal(SCHEMA_VERSION)).as_string(conn),
    )


RECORD = sql.SQL("INSERT INTO public.embedding_schema (version) VALUES ({version}) ON CONFLICT (version) DO NOTHING")

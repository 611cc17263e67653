"""What must exist before anything is embedded: planned as SQL one can read, then applied. Nothing is ever dropped but a
constraint that forbids a second recipe. Which run a column holds is runs.py; the tables' DDL is schema.sql."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn, check_registry
from steam_assets.errors import SteamAssetsError
from steam_assets.store.catalog import find_table, has_foreign_key_to_runs
from steam_assets.store.database import DatabaseUnavailable
from steam_assets.store.embeddable import check_source
from steam_assets.store.missing_index import create_index, steps_after_commit
from steam_assets.store.predecessor import mend_runs
from steam_assets.store.schema_version import SCHEMA_VERSION, record_version, schema_version
from steam_assets.store.server import check_pgvector, check_writable
from steam_assets.store.statements import Statement, schema_blocks

MAX_DIMENSION = 16_000  # of pgvector's type vector
INIT_LOCK = "steam_assets init"
VECTOR_TYPES = ("vector", "halfvec")


class DimensionMismatch(SteamAssetsError):
    """The model's vectors have another length than the column's."""


@dataclass(frozen=True)
class SchemaPlan:
    """What is to be done, what was there already, and what else a person should know; printed, it is a psql script.

    ``statements`` belong in one transaction; ``after_commit`` are steps that PostgreSQL allows in none.
    """

    statements: tuple[Statement, ...]
    after_commit: tuple[Statement, ...]
    found: tuple[str, ...]
    notices: tuple[str, ...]

    def __str__(self) -> str:
        transaction = ("BEGIN;\n", *map(str, self.statements), "COMMIT;\n") if self.statements else ()
        return "\n".join((*transaction, *map(str, self.after_commit)))


def plan_schema(
    conn: connection, columns: Sequence[TextColumn], dimension: int | Mapping[TextColumn, int], indexed: bool = True
) -> SchemaPlan:
    """What the database lacks for ``columns`` and a model of this dimension; an empty plan when it lacks nothing.

    ``dimension`` is that of all columns, or says each one's; ``indexed`` plans the indexes of missing_index.py too.
    Holds other inits off until the transaction ends: commit after apply_schema, or roll back. Raises DimensionMismatch,
    SchemaMismatch for tables that a newer version made, DatabaseUnavailable without pgvector, and SteamAssetsError for
    a table or column that cannot be used.
    """
    check_registry(tuple(columns))
    dimensions = dict.fromkeys(columns, dimension) if isinstance(dimension, int) else dimension
    for numbers in dimensions.values():
        if not 0 < numbers <= MAX_DIMENSION:
            raise SteamAssetsError(f"A vector has 1 to {MAX_DIMENSION} numbers; found {numbers}.")
    with conn.cursor() as cursor:
        try:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (INIT_LOCK,))
        except errors.LockNotAvailable:
            raise SteamAssetsError("Another init is at work on this database. Run this one when it is done.") from None
    found: list[str] = []
    notices: list[str] = []
    after_commit: list[Statement] = []
    version = schema_version(conn)
    statements = [
        *_extension(conn, found),
        *mend_runs(conn, notices),
        *_tables(conn, columns, found),
        *(step for column in columns for step in _columns(conn, column, dimensions[column], found, notices)),
    ]
    for column in columns if indexed else ():
        table = find_table(conn, column.schema, column.table)
        if table is None:
            statements.append(create_index(conn, column))
        else:
            after_commit += steps_after_commit(conn, column, table.kind == "p", notices)
    if version != SCHEMA_VERSION:
        statements.append(record_version(conn, version))
    return SchemaPlan(tuple(statements), tuple(after_commit), tuple(found), tuple(notices))


def apply_schema(conn: connection, plan: SchemaPlan) -> None:
    """Run a plan in the transaction that made it; the caller commits. Raises SteamAssetsError where we may not."""
    if plan.statements:
        check_writable(conn)
    with conn.cursor() as cursor:
        for statement in plan.statements:
            try:
                cursor.execute(statement.sql)
            except errors.InsufficientPrivilege as error:
                raise SteamAssetsError(
                    f"This user may not do a step of init ({statement.reason}): {error.diag.message_primary}. "
                    "Run `steam-assets init --dry-run` and have the owner of the database run that SQL."
                ) from None
            except errors.LockNotAvailable:
                raise SteamAssetsError(
                    f"Another session holds a lock that a step of init needs ({statement.reason}). "
                    "Run `steam-assets init` again when it has finished."
                ) from None


def _extension(conn: connection, found: list[str]) -> Iterator[Statement]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT extversion, to_regtype('vector') IS NOT NULL FROM pg_extension WHERE extname = 'vector'")
        installed = cursor.fetchone()
        cursor.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
        available = cursor.fetchone()
    if installed is not None:
        version, visible = installed
        if not visible:
            raise DatabaseUnavailable(
                "pgvector is installed in a schema that this user's search_path leaves out. "
                "Add that schema with ALTER ROLE ... SET search_path."
            )
        check_pgvector(version)
        found.append(f"extension vector {version}")
        return
    if available is None:
        raise DatabaseUnavailable(
            f"The server of this database, PostgreSQL {conn.info.parameter_status('server_version')}, has no pgvector. "
            f"Install it there, for example the package postgresql-{conn.server_version // 10_000}-pgvector, and run "
            "`steam-assets init` again."
        )
    check_pgvector(*available)
    yield Statement("pgvector: vectors as a column type", "CREATE EXTENSION IF NOT EXISTS vector")


def _tables(conn: connection, columns: Sequence[TextColumn], found: list[str]) -> Iterator[Statement]:
    steam = {column.table for column in columns if (column.schema, column.table) in STEAM_TABLES}
    # A table of that name that is there already is used as it is, and so is what belongs to it.
    wanted = {table for table in steam if not _exists(conn, "table", table)}
    if "reviews" in wanted and not _exists(conn, "table", "applications"):
        wanted.add("applications")
    for kind, name, statement in schema_blocks():
        if name.startswith("embedding_") or _owner(name) in wanted:
            if _exists(conn, kind, name):
                found.append(f"{kind} {name}")
            else:
                yield statement


STEAM_TABLES = {(column.schema, column.table) for column in (APPLICATIONS, REVIEWS)}


def _owner(name: str) -> str:
    return "reviews" if name.startswith("reviews") else "applications"


def _exists(conn: connection, kind: str, name: str) -> bool:
    with conn.cursor() as cursor:
        cursor.execute(EXISTS[kind], {"name": f"public.{name}"})
        return cursor.fetchone() == (True,)


EXISTS = {
    "type": "SELECT to_regtype(%(name)s) IS NOT NULL",
    "table": "SELECT to_regclass(%(name)s) IS NOT NULL",
    "index": "SELECT to_regclass(%(name)s) IS NOT NULL",
    "column": r"""
        SELECT EXISTS (
            SELECT
            FROM pg_attribute
            WHERE attrelid = to_regclass(substring(%(name)s FROM '^(.*)\.'))
              AND attname = substring(%(name)s FROM '[^.]*$')
              AND NOT attisdropped
        )
    """,
}


def _columns(
    conn: connection, column: TextColumn, dimension: int, found: list[str], notices: list[str]
) -> Iterator[Statement]:
    """The vector, its run and its digest, where the table lacks them."""
    table = find_table(conn, column.schema, column.table)
    present = {} if table is None else table.columns
    if table is None:
        if (column.schema, column.table) not in STEAM_TABLES:
            raise SteamAssetsError(
                f"{column}: there is no table {column.qualified_table}. Create it, or correct the entry in columns.py."
            )
    else:
        notices.extend(check_source(table, column))
    wanted = {
        column.vector: f"vector({dimension})",
        column.run: "bigint REFERENCES public.embedding_runs (run_id)",
        column.digest: "uuid",
    }
    if column.vector in present:
        check_dimension(column, present[column.vector].type, dimension)
    for name, kind in ((column.run, "bigint"), (column.digest, "uuid")):
        if name in present and present[name].type != kind:
            raise SteamAssetsError(
                f"{column.qualified_table}.{name} is {present[name].type}; expected {kind}. Name another column in "
                "columns.py, or alter this one."
            )
    target = sql.Identifier(column.schema, column.table)
    for name, kind in wanted.items():
        if name in present:
            found.append(f"column {column.qualified_table}.{name} {present[name].type}")
            continue
        add = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(
            target, sql.Identifier(name), sql.SQL(kind)
        )
        yield Statement(f"{column}: its {_role(column, name)}", add.as_string(conn))
    if column.run in present and not has_foreign_key_to_runs(conn, column):
        # NOT VALID: what is there is left to the provenance check, and no scan holds the table's lock.
        key = sql.SQL("ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES public.embedding_runs (run_id) NOT VALID")
        yield Statement(f"{column}: its run exists", key.format(target, sql.Identifier(column.run)).as_string(conn))


def _role(column: TextColumn, name: str) -> str:
    return {column.vector: "vector", column.run: "run", column.digest: "digest of the text that was encoded"}[name]


def check_dimension(column: TextColumn, found: str, dimension: int) -> None:
    """Raise unless the vector column's type, as PostgreSQL writes it, holds vectors of ``dimension`` numbers."""
    kind, _, size = found.rpartition(".")[2].rstrip(")").partition("(")
    if kind not in VECTOR_TYPES:
        raise SteamAssetsError(
            f"{column} is {found}; expected vector({dimension}). Name another vector column in columns.py: it is added."
        )
    if not size:
        raise DimensionMismatch(
            f"{column} is {kind} of any dimension, and the model gives {dimension} numbers. Run ALTER TABLE "
            f"{column.qualified_table} ALTER COLUMN {column.vector} TYPE {kind}({dimension}), or name another column."
        )
    if int(size) != dimension:
        raise DimensionMismatch(
            f"{column} holds vectors of {size} numbers, and the model gives {dimension}. Choose a model of {size} "
            "numbers with `steam-assets init --model NAME`, or give this model a vector column of its own in "
            "columns.py and `steam-assets promote` it when it is complete."
        )

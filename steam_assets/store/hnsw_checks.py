"""Whether an HNSW index can be built here: pgvector's limits, our rights, its name. Building is hnsw_build.py's."""

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.hnsw import index_name, index_records, is_valid, schema_of
from steam_assets.store.variants import VARIANTS, Variant
from steam_assets.store.vector_indexes import dropped_indexes

OWNER = """
    SELECT t.relkind = 'p', pg_has_role(t.relowner, 'USAGE'), pg_get_userbyid(t.relowner),
           has_table_privilege(to_regclass('public.embedding_indexes'), 'INSERT')
    FROM pg_class AS t
    JOIN pg_namespace AS n ON n.oid = t.relnamespace
    WHERE n.nspname = %s
      AND t.relname = %s
"""


class IndexImpossible(SteamAssetsError):
    """There is nothing to index, or PostgreSQL, pgvector or our rights do not allow it."""


def check_buildable(conn: connection, column: TextColumn, variant: Variant, dimension: int) -> None:
    """Raise IndexImpossible unless this user may build the index of vectors of ``dimension`` numbers."""
    check_dimension(column, dimension, variant)
    check_owner(conn, column)
    name = index_name(column, variant)
    if is_valid(conn, schema_of(column, variant), name) is not None and not _is_ours(conn, column, name):
        raise IndexImpossible(
            f"There is an index {name} that steam-assets has not built, or not in this database. Rename it with ALTER "
            "INDEX, or drop it."
        )


def check_dimension(column: TextColumn, dimension: int, variant: Variant) -> None:
    """Raise IndexImpossible where pgvector builds no such index of vectors of ``dimension`` numbers."""
    if variant.indexed_dimension(dimension) <= variant.max_dimension:
        return
    others = [
        f"--variant {other.name}"
        for other in VARIANTS
        if other.indexed_dimension(dimension) <= other.max_dimension and other.name != "truncated"
    ]
    raise IndexImpossible(
        f"{column}: pgvector indexes a {variant.name} of at most {variant.max_dimension:,} numbers, and its vectors "
        f"have {dimension:,}. Build another: {', '.join(others)}."
    )


def check_owner(conn: connection, column: TextColumn) -> None:
    """Raise IndexImpossible where this user may neither build nor drop indexes of the column."""
    with conn.cursor() as cursor:
        cursor.execute(OWNER, (column.schema, column.table))
        found = cursor.fetchone()
    if found is None:
        raise IndexImpossible(f"There is no table {column.qualified_table}. Run `steam-assets init`.")
    is_partitioned, is_owner, owner, may_record = found
    if is_partitioned:
        raise IndexImpossible(
            f"{column.qualified_table} is partitioned, and PostgreSQL builds no index of such a table while others "
            "write to it. Searches of it compare every row."
        )
    if not is_owner:
        raise IndexImpossible(
            f"{conn.info.user} may not index {column}: only {owner} may, who owns {column.qualified_table}. Connect as "
            "a member of that role, which is steam_assets_owner where infra/sql/roles.sql was run."
        )
    if not may_record:
        raise IndexImpossible(
            f"{conn.info.user} owns {column.qualified_table}, but may not write public.embedding_indexes, where its "
            "indexes are recorded. Have the owner of that table GRANT SELECT, INSERT, UPDATE, DELETE on it and on "
            "public.embedding_dropped_indexes."
        )


def _is_ours(conn: connection, column: TextColumn, name: str) -> bool:
    """Whether we built an index of this name, or dropped one, which somebody may have built again by hand."""
    return name in {
        *(record.name for record in index_records(conn, column)),
        *(dropped.name for dropped in dropped_indexes(conn, column)),
    }

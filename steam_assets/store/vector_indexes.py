"""Indexes on vectors and bulk work: what a live one costs, and dropping it with a record. Nothing here builds one."""

from dataclasses import dataclass
from datetime import datetime

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn

# research/postgres.md 2 and 3: vectors of 1,024 numbers, HNSW with m 16 and ef_construction 64, on 20,000 rows.
ROWS_PER_S = 7_413
ROWS_PER_S_WITH_INDEX = 560
ROWS_PER_S_OF_BUILD = 850
VACUUM_S_PER_1000_DEAD = 22.6

# With these figures dropping and building anew is quicker from 5 % of the rows on where every row had a vector (its old
# version is dead, and VACUUM mends the graph around it), and from 70 % where none had.
BULK_SHARE = 0.1
BULK_ROWS = 5_000
"""Fewer rows take less than ten seconds with the index: never worth a search without it."""

LOCK_TIMEOUT_MS = 2_000
"""DROP INDEX waits for everyone who uses the table, and everyone who comes later waits behind it."""

CHEAP_METHODS = ("btree", "hash", "gin", "gist", "brin", "spgist")
"""PostgreSQL's own; what extensions bring (hnsw, ivfflat, diskann, ...) searches a graph or lists at each write."""

# An index that has the column in its predicate only does not hold vectors. Those of partitions that belong to an index
# of the parent are dropped and built with it; pg_get_indexdef says ON ONLY of the parent's, which would build nothing.
# relpages, because pg_relation_size would open each index.
FIND = """
    WITH relations AS (
        SELECT %(table)s::regclass AS oid
        UNION
        SELECT relid FROM pg_partition_tree(%(table)s::regclass)
    )
    SELECT n.nspname,
           i.relname,
           m.amname,
           CASE i.relkind
               WHEN 'I' THEN regexp_replace(pg_get_indexdef(i.oid), ' ON ONLY ', ' ON ')
               ELSE pg_get_indexdef(i.oid)
           END,
           current_setting('block_size')::bigint * (
               SELECT sum(part.relpages)
               FROM pg_class AS part
               WHERE part.oid = i.oid
                  OR part.oid IN (SELECT relid FROM pg_partition_tree(i.oid))
           )::bigint,
           x.indisvalid
    FROM relations AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attname = %(vector)s
    JOIN pg_index AS x ON x.indrelid = r.oid
    JOIN pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_namespace AS n ON n.oid = i.relnamespace
    JOIN pg_am AS m ON m.oid = i.relam
    WHERE NOT i.relispartition
      AND (a.attnum = ANY (x.indkey)
           OR (EXISTS (
                   SELECT
                   FROM pg_depend AS d
                   WHERE d.classid = 'pg_class'::regclass
                     AND d.objid = i.oid
                     AND d.refclassid = 'pg_class'::regclass
                     AND d.refobjid = r.oid
                     AND d.refobjsubid = a.attnum)
               AND EXISTS (
                   SELECT
                   FROM pg_attribute AS key
                   JOIN pg_type AS kind ON kind.oid = key.atttypid
                   WHERE key.attrelid = i.oid
                     AND x.indkey[key.attnum - 1] = 0
                     AND kind.typname IN ('vector', 'halfvec', 'sparsevec', 'bit', 'varbit'))))
    ORDER BY 1, 2
"""

# Waits for whoever is dropping an index, so that FIND sees it gone; pg_get_indexdef would wait too, and then fail.
WAIT = sql.SQL("SELECT FROM {table} LIMIT 0")

# A shorter timeout that somebody set is kept.
SET_LOCK_TIMEOUT = """
    SELECT set_config('lock_timeout', least(nullif(setting::bigint, 0), %s)::text, true)
    FROM pg_settings
    WHERE name = 'lock_timeout'
"""

RECORD = """
    INSERT INTO public.embedding_dropped_indexes (table_name, vector_column, index_name, definition, dagster_run_id)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (table_name, vector_column, index_name) DO UPDATE
    SET definition = EXCLUDED.definition,
        dagster_run_id = EXCLUDED.dagster_run_id,
        dropped_at = clock_timestamp()
"""

DROPPED = """
    SELECT index_name, definition, dagster_run_id, dropped_at
    FROM public.embedding_dropped_indexes
    WHERE table_name = %s
      AND vector_column = %s
    ORDER BY dropped_at, index_name
"""


@dataclass(frozen=True)
class VectorIndex:
    """An index that holds a column's vectors, or an expression of them; ``definition`` builds it again.

    ``bytes`` is as PostgreSQL last counted them: when it was built, or vacuumed.
    """

    schema: str
    name: str
    method: str
    definition: str
    bytes: int
    valid: bool

    @property
    def is_costly(self) -> bool:
        """Whether every write searches it, as in hnsw, ivfflat and their kind."""
        return self.method not in CHEAP_METHODS


@dataclass(frozen=True)
class BulkAdvice:
    """What live indexes cost a run that writes a large part of a column; as text, what to do about it."""

    column: str
    indexes: tuple[VectorIndex, ...]
    pending: int
    total: int

    @property
    def seconds_with(self) -> float:
        """Writing the pending rows with the indexes there; VACUUM comes on top."""
        return self.pending * len(self.indexes) / ROWS_PER_S_WITH_INDEX

    @property
    def seconds_without(self) -> float:
        """Writing the pending rows without them."""
        return self.pending / ROWS_PER_S

    @property
    def seconds_to_build(self) -> float:
        """Building them again on the whole column."""
        return self.total * len(self.indexes) / ROWS_PER_S_OF_BUILD

    def __str__(self) -> str:
        found = ", ".join(f"{index.name} ({index.method}, {index.bytes / 1e6:,.0f} MB)" for index in self.indexes)
        return (
            f"{self.column}: {self.pending:,} of {self.total:,} rows are to be written, and an index on the vectors is "
            f"live: {found}. Writing takes about {self.seconds_with:,.0f} s with it, and VACUUM "
            f"{VACUUM_S_PER_1000_DEAD} s for each 1,000 rows that had a vector; {self.seconds_without:,.0f} s without "
            f"it, and {self.seconds_to_build:,.0f} s to build it again (measured with 1,024 numbers; an encoder of "
            f"fewer than {ROWS_PER_S_WITH_INDEX} rows/s hides the writing). To have it dropped and recorded, set "
            "STEAM_ASSETS_DROP_INDEX=1 or use `steam-assets embed --drop-index`; searches then compare every row "
            "until it is built again, which `steam-assets embed` does for an index of `steam-assets index build` when "
            "the column is complete."
        )


@dataclass(frozen=True)
class BulkDrop:
    """What became of a column's indexes before bulk work: names of the dropped, and why the others stay."""

    dropped: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class DroppedIndex:
    """The record of an index that was dropped for bulk work."""

    name: str
    definition: str
    dagster_run_id: str | None
    dropped_at: datetime


def vector_indexes(conn: connection, column: TextColumn) -> list[VectorIndex]:
    """Every index that holds the column's vectors; one that is not valid too, because writes go to it all the same."""
    with conn.cursor() as cur:
        table = sql.Identifier(column.schema, column.table)
        cur.execute(WAIT.format(table=table))
        cur.execute(FIND, {"table": table.as_string(cur), "vector": column.vector})
        return [VectorIndex(*row) for row in cur.fetchall()]


def bulk_advice(conn: connection, column: TextColumn, pending: int, total: int) -> BulkAdvice | None:
    """What to know before writing ``pending`` of ``total`` rows; None when they are few or no index is in the way."""
    if pending < BULK_ROWS or pending <= BULK_SHARE * total:
        return None
    costly = tuple(index for index in vector_indexes(conn, column) if index.is_costly)
    return BulkAdvice(str(column), costly, pending, total) if costly else None


def drop_for_bulk(conn: connection, column: TextColumn, dagster_run_id: str | None) -> BulkDrop:
    """Drop the column's costly indexes, each with its record in a transaction of its own. Not inside another one.

    One that cannot be dropped now, for want of a lock or of rights, stays, and that is no error.
    """
    with conn:  # a transaction that has read the table would wait for another such one, and that one for it
        costly = [index for index in vector_indexes(conn, column) if index.is_costly]
    dropped, kept = [], []
    for index in costly:
        try:
            with conn:
                _drop(conn, column, index, dagster_run_id)
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            kept.append(f"{index.name} stays: other sessions are using the table, and the drop would hold them up.")
        except (errors.InsufficientPrivilege, errors.DependentObjectsStillExist) as error:  # a constraint needs it
            kept.append(f"{index.name} stays: {error.diag.message_primary}.")
        except errors.UndefinedObject:
            continue  # Another run was quicker; the record is its own.
        else:
            dropped.append(index.name)
    return BulkDrop(tuple(dropped), tuple(kept))


def _drop(conn: connection, column: TextColumn, index: VectorIndex, dagster_run_id: str | None) -> None:
    with conn.cursor() as cur:
        cur.execute(SET_LOCK_TIMEOUT, (LOCK_TIMEOUT_MS,))
        cur.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index.schema, index.name)))
        # Indexes of partitions in other schemas may have the same name.
        name = index.name if index.schema == column.schema else f"{index.schema}.{index.name}"
        cur.execute(RECORD, (column.qualified_table, column.vector, name, index.definition, dagster_run_id))


def dropped_indexes(conn: connection, column: TextColumn) -> list[DroppedIndex]:
    """Indexes of the column that were dropped for bulk work; whoever builds one again deletes its record."""
    with conn.cursor() as cur:
        cur.execute(DROPPED, (column.qualified_table, column.vector))
        return [DroppedIndex(*row) for row in cur.fetchall()]


def exact_scan_notice(conn: connection, column: TextColumn) -> str | None:
    """Why searches compare every row, where an index was dropped for bulk work and none is there; else None."""
    dropped = dropped_indexes(conn, column)
    if not dropped or any(index.is_costly for index in vector_indexes(conn, column)):
        return None
    return (
        "exact scan of every row: "
        + "; ".join(f"{index.name} was dropped for bulk work on {index.dropped_at:%Y-%m-%d}" for index in dropped)
        + f". `steam-assets index build {column}` builds one again"
    )

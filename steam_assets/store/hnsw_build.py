"""Building an HNSW index beside searches and writes, and putting it in the old one's place. What is there is hnsw.py's.

No function here may be called inside a transaction: PostgreSQL builds and drops concurrently outside of them only.
"""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import (
    BEING_BUILT,
    REPLACED,
    index_name,
    is_valid,
    lost_indexes,
    qualified,
    schema_of,
)
from steam_assets.store.hnsw_checks import IndexImpossible, check_buildable
from steam_assets.store.hnsw_create import BuildProgress, IndexPlan, count_indexed, create_index
from steam_assets.store.hnsw_drop import RENAME, drop_concurrently, make_room
from steam_assets.store.hnsw_lock import building
from steam_assets.store.hnsw_records import record_build
from steam_assets.store.hnsw_size import BuildSettings, settings_for
from steam_assets.store.variants import Variant

# A side table counts with its key, not with an index over it that is about to be replaced.
BYTES = """
    SELECT pg_relation_size(x.indexrelid)
           + CASE WHEN %s THEN pg_table_size(x.indrelid) + pg_relation_size(key.indexrelid) ELSE 0 END
    FROM pg_index AS x
    LEFT JOIN pg_index AS key ON key.indrelid = x.indrelid AND key.indisprimary
    WHERE x.indexrelid = %s::regclass
"""


@dataclass(frozen=True)
class BuildOptions:
    """What a person asked of an index: what is None follows from the number of rows, the recall from the settings."""

    m: int | None = None
    ef_construction: int | None = None
    recall: float | None = None


@dataclass(frozen=True)
class BuiltIndex:
    """An index that was built and is in place, its ``bytes`` with those of a side table; ``notices`` are for people."""

    name: str
    variant: str
    run_id: int
    rows: int
    bytes: int
    seconds: float
    settings: BuildSettings
    notices: tuple[str, ...]


def build_index(
    connect: Callable[[], connection],
    column: TextColumn,
    run_id: int,
    dimension: int,
    variant: Variant,
    options: BuildOptions,
    tell: Callable[[BuildProgress], None],
    dagster_run_id: str | None = None,
    projection_id: int | None = None,
) -> BuiltIndex:
    """Build the column's index of this run and variant, and put it where the old one is, without a moment between.

    Searches use the old index until the new one is complete. A projected variant's is of the projection's table. Raises
    IndexBeingBuilt, IndexImpossible or the server's error; neither they nor an interrupt leave half an index behind.
    """
    plan = IndexPlan(column, run_id, dimension, variant, projection_id)
    with closing(connect()) as conn, closing(connect()) as watcher:
        conn.autocommit = watcher.autocommit = True
        check_buildable(conn, column, variant, dimension)
        with building(conn, column):
            make_room(conn, column, variant)
            lost = {record.variant: record.chosen_at for record in lost_indexes(conn, column, run_id)}
            rows = count_indexed(conn, plan)
            settings = settings_for(conn, variant, dimension, rows, options.m, options.ef_construction)
            began = time.monotonic()
            try:
                notices = create_index(conn, watcher, plan, settings, rows, tell)
                built = BuiltIndex(
                    *(index_name(column, variant), variant.name, run_id, rows, _bytes(conn, plan)),
                    *(time.monotonic() - began, settings, notices),
                )
                _put_in_place(conn, plan, built, options, dagster_run_id, lost.get(variant.name))
            except BaseException:
                with suppress(psycopg2.Error):  # what cannot be dropped now the next build finds
                    drop_concurrently(watcher, column, variant, BEING_BUILT)
                raise
            drop_concurrently(conn, column, variant, REPLACED)
            return built


def _bytes(conn: connection, plan: IndexPlan) -> int:
    variant = plan.variant
    place, name = schema_of(plan.column, variant), index_name(plan.column, variant) + BEING_BUILT
    if not is_valid(conn, place, name):  # somebody has dropped it, or the table, since
        raise IndexImpossible(
            f"The index of {plan.column} was built, and is gone: somebody dropped it. Build it again."
        )
    with conn.cursor() as cursor:
        cursor.execute(BYTES, (variant.projected, sql.Identifier(place, name).as_string(conn)))
        (size,) = cursor.fetchone() or (0,)
    return int(size)


def _put_in_place(
    conn: connection,
    plan: IndexPlan,
    built: BuiltIndex,
    options: BuildOptions,
    dagster_run_id: str | None,
    chosen_at: datetime | None,
) -> None:
    """In one transaction the old index steps aside, the new one takes its name, and the record is the new one's.

    Renaming locks the index against other DDL only: searches that are under way or begin now find one or the other.
    ``chosen_at`` is of a lost index that is built again: it serves before those that were chosen earlier, not later.
    """
    column, variant = plan.column, plan.variant
    values = {
        "run_id": plan.run_id,
        "projection_id": plan.projection_id,
        "m": built.settings.m,
        "ef_construction": built.settings.ef_construction,
        "rows": built.rows,
        "bytes": built.bytes,
        "seconds": built.seconds,
        "dagster_run_id": dagster_run_id,
    }
    details = {
        "asked": asdict(options),
        "memory_bytes": built.settings.memory_bytes,
        "workers": built.settings.workers,
        "notices": built.notices,
        **({} if chosen_at is None else {"chosen_at": chosen_at.isoformat()}),
    }
    with conn, conn.cursor() as cursor:
        if is_valid(conn, schema_of(column, variant), built.name) is not None:
            other = sql.Identifier(built.name + REPLACED)
            cursor.execute(RENAME.format(name=qualified(column, variant), other=other))
        new = qualified(column, variant, BEING_BUILT)
        cursor.execute(RENAME.format(name=new, other=sql.Identifier(built.name)))
        record_build(conn, column, variant, values, details)

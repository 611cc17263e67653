"""CREATE INDEX for HNSW: of which rows, with what memory; watched, and ended by an interrupt. See hnsw_build.py."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import BEING_BUILT, index_name
from steam_assets.store.hnsw_checks import IndexImpossible
from steam_assets.store.hnsw_drop import drop_concurrently
from steam_assets.store.hnsw_size import BuildSettings
from steam_assets.store.interruptible import execute_interruptibly
from steam_assets.store.projections import projection_table
from steam_assets.store.variants import Variant
from steam_assets.store.vector_pages import count_vectors

CLIENT_CHECKED = "5s"
"""The server looks so often whether its client lives: a build whose client was killed ends, and its lock with it."""
NO_SHARED_MEMORY = "shared memory segment"  # a container's /dev/shm has 64 MB unless it was given more
NO_LONGER_FITS = "no longer fits"

# Of one run: what it finds needs no filter, and vectors that are being replaced leave it as they go.
CREATE = sql.SQL("""
    CREATE INDEX CONCURRENTLY {name}
    ON {source}
    USING hnsw ({key} {operator_class})
    WITH (m = {m}, ef_construction = {ef_construction})
    {of_run}
""")
COUNT_PROJECTED = sql.SQL("SELECT count(*) FROM {source}")

# Nothing limits a build: who waits for its locks is told, and the locks hold up neither readers nor writers. The last
# one is missing before PostgreSQL 14, and refused where the system cannot tell.
SESSION = """
    SELECT set_config(name, value, FALSE)
    FROM (VALUES ('statement_timeout', '0'),
                 ('lock_timeout', '0'),
                 ('client_min_messages', 'notice'),
                 ('maintenance_work_mem', %(memory_kb)s || 'kB'),
                 ('max_parallel_maintenance_workers', %(workers)s::text)) AS wanted (name, value)
"""
CHECK_CLIENT = """
    SELECT set_config(name, %s, FALSE)
    FROM pg_settings
    WHERE name = 'client_connection_check_interval'
"""

PROGRESS = """
    SELECT phase, tuples_done, nullif(current_locker_pid, 0)
    FROM pg_stat_progress_create_index
    WHERE pid = %s
"""


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is: PostgreSQL's name of the phase, rows in the graph, and the session that it waits for."""

    column: str
    phase: str
    rows: int
    total: int
    waits_for: int | None


@dataclass(frozen=True)
class IndexPlan:
    """An index to be built: of which rows, how, and where."""

    column: TextColumn
    run_id: int
    dimension: int
    variant: Variant
    projection_id: int | None

    @property
    def source(self) -> sql.Identifier:
        """The table that is indexed: the column's, or that of its projected vectors."""
        if self.projection_id is None:
            return sql.Identifier(self.column.schema, self.column.table)
        return sql.Identifier("public", projection_table(self.projection_id))

    def create(self, settings: BuildSettings) -> sql.Composed:
        """The statement that builds it under its passing name."""
        value = sql.Identifier(self.column.vector if self.projection_id is None else "projected")
        of_run = sql.SQL("WHERE {} = {}").format(sql.Identifier(self.column.run), sql.Literal(self.run_id))
        return CREATE.format(
            name=sql.Identifier(index_name(self.column, self.variant) + BEING_BUILT),
            source=self.source,
            key=self.variant.key(value, self.dimension),
            operator_class=sql.SQL(self.variant.operator_class),
            m=sql.Literal(settings.m),
            ef_construction=sql.Literal(settings.ef_construction),
            of_run=of_run if self.projection_id is None else sql.SQL(""),
        )


def count_indexed(conn: connection, plan: IndexPlan) -> int:
    """Rows that will be in the index; raises IndexImpossible for none."""
    if plan.projection_id is None:
        rows = count_vectors(conn, plan.column, plan.run_id)
    else:
        with conn.cursor() as cursor:
            cursor.execute(COUNT_PROJECTED.format(source=plan.source))
            (rows,) = cursor.fetchone() or (0,)
    if not rows:
        raise IndexImpossible(
            f"{plan.column} has no vector of run {plan.run_id} to index. Run `steam-assets embed {plan.column}`."
        )
    return rows


def create_index(
    conn: connection,
    watcher: connection,
    plan: IndexPlan,
    settings: BuildSettings,
    rows: int,
    tell: Callable[[BuildProgress], None],
) -> tuple[str, ...]:
    """Build it under its passing name, telling how far it is; return what is to be said of it."""
    process = conn.info.backend_pid

    def watch() -> None:
        with watcher.cursor() as cursor:
            cursor.execute(PROGRESS, (process,))
            if (found := cursor.fetchone()) is not None:
                phase, done, waits_for = found
                tell(BuildProgress(str(plan.column), phase, min(done, rows), rows, waits_for))

    statement = plan.create(settings)
    _set_session(conn, settings, settings.workers)
    conn.notices.clear()
    try:
        execute_interruptibly(conn, statement, watch)
    except errors.DiskFull as error:
        if NO_SHARED_MEMORY not in str(error) or not settings.workers:
            raise
        drop_concurrently(conn, plan.column, plan.variant, BEING_BUILT)
        _set_session(conn, settings, 0)
        execute_interruptibly(conn, statement, watch)
        return (*_notices(conn, settings), f"Built by one process: {error.diag.message_primary}. Give /dev/shm more.")
    return _notices(conn, settings)


def _set_session(conn: connection, settings: BuildSettings, workers: int) -> None:
    with conn.cursor() as cursor:
        cursor.execute(SESSION, {"memory_kb": settings.memory_bytes >> 10, "workers": workers})
        with suppress(errors.InvalidParameterValue):
            cursor.execute(CHECK_CLIENT, (CLIENT_CHECKED,))


def _notices(conn: connection, settings: BuildSettings) -> tuple[str, ...]:
    """What the server said that a person can mend: that the graph did not fit into memory."""
    found = next((line for line in conn.notices if NO_LONGER_FITS in line), None)
    if found is None:
        return ()
    said = " ".join(found.partition("DETAIL")[0].split()).removeprefix("NOTICE: ")
    return (
        f"{said}, and the rest was built slowly. It had {settings.memory_bytes / 1e6:,.0f} MB; set "
        f"STEAM_ASSETS_INDEX_MEMORY_MB={settings.needed_bytes // 1_000_000 + 1}, if the server's machine has so much.",
    )

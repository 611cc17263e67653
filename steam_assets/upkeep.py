"""What a run does for its table besides filling it: indexes out of the way of bulk work, dead rows vacuumed after it.

What it costs and how it is done stand in store/vector_indexes.py and store/vacuum.py. No Dagster.
"""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.settings import flag_setting, number_setting
from steam_assets.store.failures import FAILED_ROWS_ALLOWED
from steam_assets.store.read import count_pending
from steam_assets.store.session import RunSession
from steam_assets.store.states import count_rows
from steam_assets.store.vacuum import DeadRows, dead_rows, vacuum, vacuum_advice
from steam_assets.store.vector_indexes import bulk_advice, drop_for_bulk, vector_indexes


@dataclass(frozen=True)
class FillOptions:
    """How a run treats its table: it ends after ``limit`` rows, and fails above so many failed rows of a range.

    ``drop_index`` lets it drop indexes on the vectors that bulk work would be slow with, ``vacuum`` VACUUM the table.
    """

    limit: int | None = None
    max_failed_percent: float = 100 * FAILED_ROWS_ALLOWED
    drop_index: bool = False
    vacuum: bool = False

    @classmethod
    def from_environment(
        cls,
        limit: int | None = None,
        max_failed_percent: float | None = None,
        drop_index: bool | None = None,
        vacuum: bool | None = None,
    ) -> "FillOptions":
        """What is given, else what the environment says, else the defaults."""
        if max_failed_percent is None:
            max_failed_percent = number_setting("STEAM_ASSETS_MAX_FAILED_PERCENT")
        return cls(
            limit=limit,
            max_failed_percent=cls.max_failed_percent if max_failed_percent is None else max_failed_percent,
            drop_index=flag_setting("STEAM_ASSETS_DROP_INDEX") if drop_index is None else drop_index,
            vacuum=flag_setting("STEAM_ASSETS_VACUUM") if vacuum is None else vacuum,
        )


DEFAULTS = FillOptions()


def clear_the_way(
    conn: connection,
    column: TextColumn,
    run_id: int,
    drop_index: bool,
    log: Callable[[str], None],
    dagster_run_id: str | None = None,
    limit: int | None = None,
) -> tuple[str, ...]:
    """Say what an index on the vectors will cost this run, and drop it where that is allowed; trickles leave it.

    The names of what was dropped. ``limit`` is what the run writes at most, however many rows are pending.
    """
    with conn:
        if not any(index.is_costly for index in vector_indexes(conn, column)):
            return ()
        pending = count_pending(conn, column, run_id).rows
        rows = pending if limit is None else min(pending, limit)
        advice = bulk_advice(conn, column, rows, count_rows(conn, column))
    if advice is None:
        return ()
    log(str(advice))
    if not drop_index:
        return ()
    found = drop_for_bulk(conn, column, dagster_run_id)
    for line in (*(f"{name} was dropped." for name in found.dropped), *found.kept):
        log(f"{column}: {line}")
    return found.dropped


def tidy_up(session: RunSession, column: TextColumn, may_vacuum: bool, log: Callable[[str], None]) -> DeadRows:
    """Count the dead rows a run leaves, VACUUM where there are many and that is allowed, and say what is left to do."""
    found = dead_rows(session.conn, column)
    advice = vacuum_advice(column, found)
    if advice is None:
        return found
    if not may_vacuum:
        log(advice)
        return found
    if (refused := vacuum(session.conn, column)) is not None:
        log(refused)
    return dead_rows(session.conn, column)

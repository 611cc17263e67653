"""Cutting a table into ranges anew, under a new name, when skew has grown. What a cut is, is store/ranges.py."""

import json
import logging
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import table_key, vector_key
from steam_assets.defs.jobs import EVERYTHING_JOB, column_job_name
from steam_assets.defs.partitions import add_ranges, cut_name, cuts_now, read_cuts, write_cut
from steam_assets.errors import SteamAssetsError
from steam_assets.store.locks import registering
from steam_assets.store.ranges import cut_ranges

RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "steam_assets") { __typename } }'
RELOADED_WITHIN_S = 60.0
ACTIVE = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
NAMED = 3


logger = logging.getLogger(__name__)


class TableBusy(SteamAssetsError):
    """Runs or backfills of the table have not ended."""


@dataclass(frozen=True)
class NewCut:
    """What a recut made: so many ranges of the column's table, registered as ``partitions``."""

    column: str
    partitions: str
    ranges: int


def recut(instance: dg.DagsterInstance, conn: connection, column: TextColumn) -> NewCut:
    """Cut the column's table anew and register the ranges under its next name.

    Earlier ranges stay registered under theirs, with their history. All columns of the table share the new ranges,
    none of which is materialized until the next run. Raises TableBusy while the table has runs that use the old ones.
    """
    with registering(conn):
        check_idle(instance, column)
        cut = next_cut(instance, column)
        name, ranges = cut_name(column, cut), cut_ranges(conn, column)
        add_ranges(instance, name, column, [], ranges)
        # Last: who dies before this has made a cut that nobody uses, and that next_cut leaves alone.
        write_cut(instance, column, cut)
    return NewCut(str(column), name, len(ranges))


def next_cut(instance: dg.DagsterInstance, column: TextColumn) -> int:
    """The number of the table's next cut: one under whose name nothing is registered."""
    cut = read_cuts(instance).get(cut_name(column, 1), 1) + 1
    while instance.get_dynamic_partitions(cut_name(column, cut)):
        cut += 1
    return cut


def check_idle(instance: dg.DagsterInstance, column: TextColumn) -> None:
    """Raise TableBusy when a run or a backfill over the table's ranges has not ended."""
    busy = [*_unfinished_runs(instance, column), *_unfinished_backfills(instance, column)]
    if busy:
        more = f" and {len(busy) - NAMED:,} more" if len(busy) > NAMED else ""
        raise TableBusy(
            f"{column.qualified_table} is in use by {', '.join(busy[:NAMED])}{more}; nothing may use its ranges while "
            "they are cut anew. Wait, or terminate it in the web UI, and run "
            f"`steam-assets ranges --recut {column}` again; `steam-assets embed` ends runs that have died."
        )


def _unfinished_runs(instance: dg.DagsterInstance, column: TextColumn) -> Iterator[str]:
    of_table = column_job_name(column).removesuffix(vector_key(column).path[-1])
    for run in instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        checked = [key.asset_key for key in run.asset_check_selection or ()]
        # Jobs are named for table and column; at worst a neighbour's is waited for whose name begins the same.
        fills = run.job_name == EVERYTHING_JOB or run.job_name.startswith(of_table)
        if fills or _has_ranges(column, [*(run.asset_selection or ()), *checked]):
            yield f"run {run.run_id} ({run.status.value.lower()})"


def _unfinished_backfills(instance: dg.DagsterInstance, column: TextColumn) -> Iterator[str]:
    for backfill in instance.get_backfills(BulkActionsFilter(statuses=ACTIVE)):
        if _has_ranges(column, backfill.asset_selection or ()):
            yield f"backfill {backfill.backfill_id} ({backfill.status.value.lower()})"


def _has_ranges(column: TextColumn, keys: Sequence[dg.AssetKey]) -> bool:
    """Whether one of the assets is a vector column of the table."""
    path = table_key(column).path
    return any(len(key.path) > len(path) and key.path[: len(path)] == path for key in keys)


class RecutWatch:
    """Has a web UI load its definitions anew when somebody has cut a table's ranges; the daemon does so by itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._cuts = cuts_now()

    def look(self) -> None:
        """See whether there is a new cut; an instance that is away for a while has none."""
        cuts = cuts_now()
        if cuts is None or cuts == self._cuts:
            return
        body = json.dumps({"query": RELOAD}).encode()
        request = urllib.request.Request(f"{self._url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310  (our own server)
        try:
            with urllib.request.urlopen(request, timeout=RELOADED_WITHIN_S):  # noqa: S310
                self._cuts = cuts
        except OSError as error:
            logger.warning("The web UI did not load its definitions anew, and will be asked again: %s", error)

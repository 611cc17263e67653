"""Id ranges as dynamic partitions, one definition per table and cut. How a table is cut is store/ranges.py."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from dagster_postgres.utils import DagsterPostgresException
from psycopg2.extensions import connection
from sqlalchemy.exc import SQLAlchemyError

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import BadPartitionKey, IdRange
from steam_assets.store.locks import is_loading, registering
from steam_assets.store.ranges import broken_ranges, check_contiguous, cut_ranges, extend_ranges, is_outgrown

logger = logging.getLogger(__name__)

CUTS = "steam_assets/cuts"
"""Where a Dagster instance keeps how often each table's ranges were cut, beside its daemons' cursors."""
ASKED = (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)


class RangesRecut(SteamAssetsError):
    """The table was cut anew after this process loaded its definitions."""


class UnregisteredRange(SteamAssetsError):
    """A run was asked for a range that is not registered."""


def partitions_name(column: TextColumn) -> str:
    """The name of the table's partitions definition, as this process has loaded it: Dagster fixes it at load."""
    return cut_name(column, loaded_cuts(os.environ.get("DAGSTER_HOME", "")).get(cut_name(column, 1), 1))


def partitions_of(column: TextColumn) -> dg.DynamicPartitionsDefinition:
    """The id ranges of the column's table."""
    return dg.DynamicPartitionsDefinition(name=partitions_name(column))


def cut_name(column: TextColumn, cut: int) -> str:
    """The name of the table's first, second, ... partitions definition; never cut anew under the same name."""
    prefix = "" if column.schema == "public" else f"{column.schema}_"
    return f"{prefix}{column.table}_id_range" + (f"_v{cut}" if cut > 1 else "")


@cache
def loaded_cuts(dagster_home: str) -> Mapping[str, int]:
    """How often the tables of an instance had been cut when this process first asked; every one once without instance.

    It takes 0.1 s. Definitions load also where the instance cannot be read: whoever uses them learns it then.
    """
    if not dagster_home or not (Path(dagster_home) / "dagster.yaml").is_file():
        return {}
    return cuts_now() or {}


def cuts_now() -> Mapping[str, int] | None:
    """What the environment's instance says of cuts, as ``read_cuts`` has it; None where it cannot be read."""
    try:
        with dg.DagsterInstance.get() as instance:
            return read_cuts(instance)
    except (SteamAssetsError, dg.DagsterError, DagsterPostgresException, SQLAlchemyError) as error:
        logger.warning("Which ranges are current could not be read from the Dagster instance: %s", error)
        return None


def read_cuts(instance: dg.DagsterInstance) -> Mapping[str, int]:
    """How often tables were cut, by the name of their first definition; those not named were cut once."""
    found: Mapping[str, int] = json.loads(instance.daemon_cursor_storage.get_cursor_values({CUTS}).get(CUTS, "{}"))
    return found


def write_cut(instance: dg.DagsterInstance, column: TextColumn, cut: int) -> None:
    """Make a cut the current one, for every process that loads its definitions from now on."""
    cuts = {**read_cuts(instance), cut_name(column, 1): cut}
    instance.daemon_cursor_storage.set_cursor_values({CUTS: json.dumps(cuts)})


def current_name(instance: dg.DagsterInstance, column: TextColumn) -> str:
    """The name of the partitions definition that the table's ranges are registered under now."""
    return cut_name(column, read_cuts(instance).get(cut_name(column, 1), 1))


def registered_ranges(instance: dg.DagsterInstance, column: TextColumn) -> list[IdRange]:
    """The ranges Dagster knows, in the order they were registered, which is ascending; BrokenRanges if it is not."""
    keys = instance.get_dynamic_partitions(current_name(instance, column))
    try:
        ranges = [IdRange.from_key(key, column.id_type) for key in keys]
    except BadPartitionKey as error:
        raise broken_ranges(column, str(error)) from None
    check_contiguous(column, ranges)
    return ranges


def register_ranges(instance: dg.DagsterInstance, conn: connection, column: TextColumn) -> list[IdRange]:
    """Make sure that every id, and the next new ones, fall in a registered range; return all of them.

    Milliseconds where there is nothing to add, on a table of any size. Any number of processes may do it at the same
    time. Raises RangesRecut where this process's definitions are those of an earlier cut.
    """
    check_current(instance, column)
    registered = registered_ranges(instance, column)
    if registered and not is_outgrown(conn, column, registered[-1]):
        return registered
    if not registered and is_loading(conn, column.qualified_table):
        return []  # A cut of the first rows to come would have all others in its last range, for ever.
    with registering(conn):
        check_current(instance, column)
        registered = registered_ranges(instance, column)
        new = extend_ranges(conn, column, registered) if registered else cut_ranges(conn, column)
        add_ranges(instance, partitions_name(column), column, registered, new)
    return [*registered, *new]


def add_ranges(
    instance: dg.DagsterInstance, name: str, column: TextColumn, registered: Sequence[IdRange], new: Sequence[IdRange]
) -> None:
    """Add ranges to those registered under a name, all in one statement: a crash leaves all of them or none."""
    check_contiguous(column, [*registered, *new])
    if new:
        # Ascending: Dagster resolves a range of keys by the order of their registration.
        instance.add_dynamic_partitions(name, [id_range.key for id_range in new])


def check_current(instance: dg.DagsterInstance, column: TextColumn) -> None:
    """Raise RangesRecut where the definitions that this process has loaded are not those of the table's newest cut."""
    loaded, current = partitions_name(column), current_name(instance, column)
    if loaded != current:
        raise RangesRecut(
            f"The ranges of {column.qualified_table} were cut anew: they are {current}, and this process has loaded "
            f"{loaded}. Reload the code location steam_assets in the web UI under Deployment; the daemon does that by "
            "itself within a minute."
        )


def requested_ranges(context: dg.AssetExecutionContext | dg.OpExecutionContext, column: TextColumn) -> list[IdRange]:
    """The ranges that a run was asked for; raises UnregisteredRange when one of them is not, or no longer, registered.

    Dagster itself looks at the keys where a run is asked for, and that may have happened before the table was recut.
    """
    try:
        return [IdRange.from_key(key, column.id_type) for key in context.partition_keys]
    except (dg.DagsterUnknownPartitionError, dg.DagsterInvalidInvocationError):
        tags = context.run.tags
        asked = [tags[tag] for tag in ASKED if tag in tags]
        raise UnregisteredRange(
            f"{column}: {' to '.join(dict.fromkeys(asked))} is not among the ranges of {partitions_name(column)}. "
            "If the table was cut anew, reload the code location steam_assets in the web UI under Deployment, and "
            f"choose from what it shows then. `steam-assets ranges {column}` lists the ranges."
        ) from None

"""Id ranges as dynamic partitions, one definition per table. How a table is cut is store/ranges.py."""

import dagster as dg
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.id_range import IdRange
from steam_assets.store.ranges import check_contiguous, cut_ranges, extend_ranges


def partitions_name(column: TextColumn) -> str:
    """The name of the table's partitions definition; never cut anew under the same name."""
    prefix = "" if column.schema == "public" else f"{column.schema}_"
    return f"{prefix}{column.table}_id_range"


def partitions_of(column: TextColumn) -> dg.DynamicPartitionsDefinition:
    """The id ranges of the column's table."""
    return dg.DynamicPartitionsDefinition(name=partitions_name(column))


def registered_ranges(instance: dg.DagsterInstance, column: TextColumn) -> list[IdRange]:
    """The ranges Dagster knows, in the order they were registered, which is ascending."""
    keys = instance.get_dynamic_partitions(partitions_name(column))
    ranges = [IdRange.from_key(key, column.id_type) for key in keys]
    check_contiguous(ranges)
    return ranges


def register_ranges(instance: dg.DagsterInstance, conn: connection, column: TextColumn) -> list[IdRange]:
    """Make sure that every id, and the next new ones, fall in a registered range; return all of them."""
    registered = registered_ranges(instance, column)
    new = extend_ranges(conn, column, registered) if registered else cut_ranges(conn, column)
    check_contiguous([*registered, *new])
    if new:
        # Ascending and in one call: Dagster resolves a range of keys by the order of their registration.
        instance.add_dynamic_partitions(partitions_name(column), [id_range.key for id_range in new])
    return [*registered, *new]

"""A new recipe makes a column's vectors stale: one backfill of the ranges that hold them, behind everything else."""

import hashlib
import time
from collections.abc import Sequence
from itertools import count

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, PartitionBackfill
from sqlalchemy.exc import IntegrityError

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import vector_key
from steam_assets.defs.in_progress import CAUSE_TAG
from steam_assets.defs.partitions import partitions_of
from steam_assets.id_range import IdRange

BACKFILL_TAGS = {"dagster/priority": "-1", CAUSE_TAG: "new_recipe"}
"""Its runs get them too: new rows and a person's runs go first."""


def backfill_id(column: TextColumn, run_id: int, number: int) -> str:
    """The same for everyone who would fill a column with a run; Dagster has room for 32 characters."""
    return f"r{run_id}-{hashlib.sha256(str(column).encode()).hexdigest()[:8]}-{number}"


def backfill_once(instance: dg.DagsterInstance, column: TextColumn, run_id: int, id_ranges: Sequence[IdRange]) -> str:
    """Ask for one backfill of these ranges, or find the one that another daemon or an earlier tick asked for; its id.

    A later one, after that has ended, has the next number.
    """
    for number in count():
        id_ = backfill_id(column, run_id, number)
        known = instance.get_backfill(id_)
        if known is not None and known.status in BULK_ACTION_TERMINAL_STATUSES:
            continue
        if known is None:
            _add_backfill(instance, column, id_, run_id, id_ranges)
        return id_
    raise AssertionError("count() has no end")


def _add_backfill(
    instance: dg.DagsterInstance, column: TextColumn, id_: str, run_id: int, id_ranges: Sequence[IdRange]
) -> None:
    """As the sensor daemon adds one for a request; Dagster 1.13 exports none of it, and gives no id of one's own."""
    keys = partitions_of(column).subset_with_partition_keys([id_range.key for id_range in id_ranges])
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=id_,
        backfill_timestamp=time.time(),
        tags=BACKFILL_TAGS,
        dynamic_partitions_store=instance,
        asset_graph_subset=AssetGraphSubset({vector_key(column): keys}),  # type: ignore[call-arg]  # hidden by a decorator
        title=f"{column}: a new recipe",
        description=f"Embedding run {run_id} fills {column} from now on; these ranges hold vectors of another.",
        run_config=None,
    )
    try:
        instance.add_backfill(backfill)
    except IntegrityError:
        # Its key is unique: another daemon was quicker.
        if instance.get_backfill(id_) is None:
            raise

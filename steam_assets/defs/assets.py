"""Tables and vector columns as assets. Reading, encoding and writing are elsewhere: pipeline.py and io_managers.py."""

import re
from datetime import timedelta

import dagster as dg

from steam_assets.columns import TextColumn
from steam_assets.defs.partitions import partitions_of, requested_ranges
from steam_assets.defs.pools import GPU_POOL
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.settings import integer_setting
from steam_assets.store.locks import living_run
from steam_assets.stream import EmbeddingStream, open_stream
from steam_assets.upkeep import FillOptions

RANGES_PER_RUN = 10
"""A backfill's run loads the model once for this many ranges, and a run of new rows waits for it to end.

Ten ranges of 5,000 rows are three minutes at 300 rows/s, beside the 15 s of a run's start and its model's loading. A
faster GPU is better used with more of them: ``STEAM_ASSETS_RANGES_PER_RUN``.
"""


class EmbeddingConfig(dg.Config):
    """What the launchpad offers; FillOptions explains it, and the environment decides where nothing is said.

    ``limit`` ends a run after so many rows, which leaves its checks red.
    """

    limit: int | None = None
    max_failed_percent: float | None = None
    drop_index: bool | None = None
    vacuum: bool | None = None

    def options(self) -> FillOptions:
        """As the pipeline takes them."""
        return FillOptions.from_environment(self.limit, self.max_failed_percent, self.drop_index, self.vacuum)


def table_key(column: TextColumn) -> dg.AssetKey:
    """The asset of the column's table: ["reviews"], or ["schema", "table"] outside public."""
    path = [column.table] if column.schema == "public" else [column.schema, column.table]
    return dg.AssetKey([_dagster_name(part) for part in path])


def vector_key(column: TextColumn) -> dg.AssetKey:
    """The asset of the vector column: ["reviews", "review_embedding"]."""
    return dg.AssetKey([*table_key(column).path, _dagster_name(column.vector)])


def derived_key(column: TextColumn, what: str) -> dg.AssetKey:
    """An asset made of the column's vectors: ["reviews", "review_hnsw"] of review_embedding and "hnsw"."""
    base = vector_key(column).path[-1].removesuffix("_embedding")
    return dg.AssetKey([*table_key(column).path, f"{base}_{what}"])


def step_name(key: dg.AssetKey) -> str:
    """The step that materializes an asset, in any run."""
    return "__".join(key.path)


def op_name(column: TextColumn) -> str:
    """The asset key as one name, for jobs and checks."""
    return "_".join(vector_key(column).path)


def _dagster_name(name: str) -> str:
    """A name of the database as Dagster takes it; two that become the same are refused when definitions load."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def ranges_per_run() -> int:
    """How many neighbouring ranges a run may have."""
    return integer_setting("STEAM_ASSETS_RANGES_PER_RUN") or RANGES_PER_RUN


def fresh_within() -> timedelta:
    """How long a column counts as fresh after a run has written to it; a week where nothing is said."""
    return timedelta(hours=integer_setting("STEAM_ASSETS_FRESH_WITHIN_HOURS") or 168)


def build_table_asset(column: TextColumn) -> dg.AssetSpec:
    """The table with the text, filled by `steam-assets load` or by whoever owns the database."""
    return dg.AssetSpec(
        key=table_key(column),
        group_name="steam_assets",
        kinds={"postgres"},
        description=f"Source of {column}: text column {column.text}, key {column.id} ({column.id_type}).",
    )


def build_vector_asset(column: TextColumn) -> dg.AssetsDefinition:
    """The vector column, partitioned by id range."""

    @dg.asset(
        key=vector_key(column),
        deps=[table_key(column)],
        partitions_def=partitions_of(column),
        backfill_policy=dg.BackfillPolicy.multi_run(ranges_per_run()),
        io_manager_key="vector_column",
        pool=GPU_POOL,
        group_name="steam_assets",
        kinds={"postgres", "huggingface"},
        metadata={"text": column.text, "preparation": column.preparation},
        freshness_policy=dg.FreshnessPolicy.time_window(fresh_within()),
        description=(
            f"One vector per row of {column.qualified_table} with text in {column.text}. Fresh means that some range "
            f"was materialized in the last {fresh_within().total_seconds() / 3_600:.0f} hours; what is true of all "
            "rows the checks say."
        ),
    )
    def vector_column(
        context: dg.AssetExecutionContext, config: EmbeddingConfig, database: DatabaseResource, gpu: GpuResource
    ) -> dg.Output[EmbeddingStream]:
        id_ranges = requested_ranges(context, column)
        # A device is waited for in here, and the model loaded, which takes minutes where it has to be downloaded.
        with living_run(database.connect, context.run.run_id):
            lease = gpu.lease(database.connect)
            load = gpu.on(lease).encoder
            return dg.Output(open_stream(column, id_ranges, load, database.connect, config.options(), lease))

    return vector_column

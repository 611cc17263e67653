"""The door for Dagster: everything in one Definitions. What the parts do is in defs/."""

import warnings
from collections.abc import Sequence

import dagster as dg

# Partitioned asset checks and backfill policies are not final in Dagster 1.13, which pyproject.toml pins for that reason.
for category in (dg.PreviewWarning, dg.BetaWarning):
    warnings.filterwarnings("ignore", category=category)

from steam_assets.columns import COLUMNS, TextColumn, check_registry  # noqa: E402  (after the filter)
from steam_assets.defs.assets import build_table_asset, build_vector_asset, table_key  # noqa: E402
from steam_assets.defs.checks import build_column_checks, build_range_checks  # noqa: E402
from steam_assets.defs.io_managers import VectorColumnIOManager  # noqa: E402
from steam_assets.defs.jobs import build_checks_job, build_column_job, build_everything_job  # noqa: E402
from steam_assets.defs.resources import DatabaseResource, GpuResource  # noqa: E402
from steam_assets.settings import integer_setting, read_dotenv, setting  # noqa: E402


def build_definitions(columns: Sequence[TextColumn] = COLUMNS, gpu: GpuResource | None = None) -> dg.Definitions:
    """Assets, checks and jobs of the columns; ``gpu`` overrides the environment's device settings."""
    read_dotenv()
    check_registry(tuple(columns))
    database = DatabaseResource()
    gpu = gpu or GpuResource(
        device=setting("STEAM_ASSETS_DEVICE") or "auto",
        dtype=setting("STEAM_ASSETS_DTYPE") or "auto",
        batch_tokens=integer_setting("STEAM_ASSETS_BATCH_TOKENS"),
    )
    tables = {table_key(column): build_table_asset(column) for column in columns}
    return dg.Definitions(
        assets=[*tables.values(), *(build_vector_asset(column) for column in columns)],
        asset_checks=[build(column) for column in columns for build in (build_range_checks, build_column_checks)],
        jobs=[
            *(build(column) for column in columns for build in (build_column_job, build_checks_job)),
            build_everything_job(columns),
        ],
        resources={
            "database": database,
            "gpu": gpu,
            "vector_column": VectorColumnIOManager(database=database, gpu=gpu),
        },
        # Asset and checks share a process, and with it the loaded model; a process each would take seconds per step.
        executor=dg.in_process_executor,
    )


defs = build_definitions()

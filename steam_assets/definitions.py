"""The door for Dagster: everything in one Definitions. What the parts do is in defs/."""

from collections.abc import Sequence

import dagster as dg

from steam_assets.columns import COLUMNS, TextColumn, check_registry
from steam_assets.defs.alerts import WebhookResource, build_alert_sensors
from steam_assets.defs.assets import build_table_asset, build_vector_asset, table_key
from steam_assets.defs.automation import build_nightly_checks, build_sensors
from steam_assets.defs.checks import build_column_checks, build_range_checks
from steam_assets.defs.comparison import build_comparison_assets
from steam_assets.defs.evaluations import build_evaluation_asset, build_known_item_checks, evaluated
from steam_assets.defs.index_sensor import build_index_sensor
from steam_assets.defs.indexes import build_index_asset, build_index_check, build_index_job
from steam_assets.defs.io_managers import VectorColumnIOManager
from steam_assets.defs.jobs import build_checks_job, build_column_job, build_everything_job
from steam_assets.defs.lost_runs import build_lost_runs_sensor
from steam_assets.defs.measured_variants import build_variants_asset, build_variants_job
from steam_assets.defs.pictures import build_maps
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.defs.retention import build_purge_schedule
from steam_assets.encoder.loading import EncoderSettings
from steam_assets.logs import print_json_lines
from steam_assets.settings import read_dotenv


def build_definitions(columns: Sequence[TextColumn] = COLUMNS, gpu: GpuResource | None = None) -> dg.Definitions:
    """Assets, checks and jobs of the columns; ``gpu`` overrides the environment's device settings."""
    read_dotenv()
    print_json_lines()
    check_registry(tuple(columns))
    database = DatabaseResource()
    gpu = gpu or GpuResource.of(EncoderSettings.from_environment())
    tables = {table_key(column): build_table_asset(column) for column in columns}
    return dg.Definitions(
        assets=[
            *tables.values(),
            *(build_vector_asset(column) for column in columns),
            *build_comparison_assets(columns),
            *(build(column) for column in columns for build in (build_index_asset, build_variants_asset)),
            *build_maps(columns),
            *(build_evaluation_asset(column) for column in evaluated(columns)),
        ],
        asset_checks=[
            *(build(column) for column in columns for build in (build_range_checks, build_column_checks)),
            *(build_index_check(column) for column in columns),
            *build_known_item_checks(columns),
        ],
        jobs=[
            *(build(column) for column in columns for build in (build_column_job, build_checks_job)),
            *(build(column) for column in columns for build in (build_index_job, build_variants_job)),
            build_everything_job(columns),
        ],
        sensors=[
            *(sensor for column in columns for sensor in build_sensors(column)),
            *(build_index_sensor(column) for column in columns),
            *build_alert_sensors(columns),
            build_lost_runs_sensor(columns),
        ],
        schedules=[*(build_nightly_checks(column) for column in columns), build_purge_schedule()],
        resources={
            "database": database,
            "gpu": gpu,
            "webhook": WebhookResource(),
            "vector_column": VectorColumnIOManager(database=database, gpu=gpu),
        },
        # Asset and checks share a process, and with it the loaded model; a process each would take seconds per step.
        executor=dg.in_process_executor,
    )


defs = build_definitions()

"""Jobs: one per column, its checks alone, and one for everything. What a run of ranges does is in runs.py."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import op_name, table_key, vector_key
from steam_assets.defs.checks import RULES, column_check_name
from steam_assets.defs.resources import DatabaseResource
from steam_assets.defs.runs import EMBEDDING_JOB_PREFIX, embed_column
from steam_assets.store.locks import living_run

EVERYTHING_JOB = f"{EMBEDDING_JOB_PREFIX}everything"


def column_job_name(column: TextColumn) -> str:
    """The job that materializes ranges of the column, with their checks."""
    return f"{EMBEDDING_JOB_PREFIX}{op_name(column)}"


def checks_job_name(column: TextColumn) -> str:
    """The job that checks the whole column."""
    return f"check_{op_name(column)}"


def build_column_job(column: TextColumn) -> UnresolvedAssetJobDefinition:
    """Materialize ranges of one column."""
    return dg.define_asset_job(
        column_job_name(column),
        selection=dg.AssetSelection.assets(vector_key(column)),
        description=f"Fill {column} for the chosen id ranges, and check them.",
    )


def build_checks_job(column: TextColumn) -> UnresolvedAssetJobDefinition:
    """Check one whole column, new ids beyond the registered ranges included."""
    keys = [dg.AssetCheckKey(table_key(column), column_check_name(column, rule)) for rule in RULES]
    return dg.define_asset_job(
        checks_job_name(column),
        selection=dg.AssetSelection.checks(*keys),
        description=f"Read back from the database what is true of all of {column}.",
    )


def build_everything_job(columns: Sequence[TextColumn]) -> dg.JobDefinition:
    """Fill every pending range of every column, each column as runs of its own job.

    One asset job cannot do this: Dagster refuses jobs over assets with different partitions.
    """

    @dg.op(pool="gpu", description="Every pending range of every column, as runs of the columns' jobs.")
    def embed_every_column(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
        with living_run(database.connect, context.run.run_id):
            for column in columns:
                job = context.repository_def.get_job(column_job_name(column))
                outcomes = list(embed_column(context.instance, job, column, database.connect))
                failed = [outcome.run_id for outcome in outcomes if outcome.errors]
                if failed:
                    raise dg.Failure(
                        f"{column}: runs {', '.join(failed)} failed. `steam-assets status` shows what is left."
                    )
                context.log.info(f"{column}: {sum(outcome.ranges for outcome in outcomes)} ranges filled")

    @dg.job(name=EVERYTHING_JOB, description="Fill whatever is pending in any column.")
    def embed_everything() -> None:
        embed_every_column()

    return embed_everything

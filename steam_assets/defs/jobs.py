"""Jobs: one per column, its checks alone, and one for everything. What a run of ranges does is in runs.py."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import op_name, table_key, vector_key
from steam_assets.defs.checks import column_check_name
from steam_assets.defs.indexes import index_job_name, rebuild_lost
from steam_assets.defs.pools import GPU_POOL
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.defs.runs import embed_column, plan_column, run_checks
from steam_assets.rules import RULES
from steam_assets.store.locks import living_run

EVERYTHING_JOB = "embed_everything"
EVERYTHING_STEP = "embed_every_column"


def column_job_name(column: TextColumn) -> str:
    """The job that materializes ranges of the column, with their checks."""
    return f"embed_{op_name(column)}"


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

    @dg.op(
        name=EVERYTHING_STEP,
        pool=GPU_POOL,
        description="Every pending range of every column, as runs of the columns' jobs.",
    )
    def embed_every_column(context: dg.OpExecutionContext, database: DatabaseResource, gpu: GpuResource) -> None:
        with living_run(database.connect, context.run.run_id):
            gpu.lease(database.connect)  # for all of its runs: the model stays loaded between them
            problems = [problem for column in columns for problem in fill_and_check(context, database, column)]
        if problems:
            raise dg.Failure("\n".join([*problems, "`steam-assets status` shows what is left."]), allow_retries=False)

    @dg.job(name=EVERYTHING_JOB, description="Fill whatever is pending in any column.")
    def embed_everything() -> None:
        embed_every_column()

    return embed_everything


def fill_and_check(context: dg.OpExecutionContext, database: DatabaseResource, column: TextColumn) -> list[str]:
    """Fill a column's pending ranges, check all of it, and build again an index that was dropped for that.

    As `steam-assets embed` does; returns what is not green.
    """
    jobs = context.repository_def
    plan = plan_column(context.instance, column, database.connect)
    job = jobs.get_job(column_job_name(column))
    outcomes = list(embed_column(context.instance, job, column, database.connect, plan=plan))
    failed = [outcome.run_id for outcome in outcomes if outcome.errors]
    red = run_checks(context.instance, jobs.get_job(checks_job_name(column)), plan.scanned)
    context.log.info(f"{column}: {sum(outcome.ranges for outcome in outcomes)} ranges in {len(outcomes)} runs.")
    index_job = jobs.get_job(index_job_name(column))
    return [
        *([f"{column}: runs {', '.join(failed)} failed."] if failed else []),
        *([f"{column}: red checks {', '.join(red)}."] if red else []),
        *rebuild_lost(context.instance, index_job, column, database.connect, context.log.info),
    ]

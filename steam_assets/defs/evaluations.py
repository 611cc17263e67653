"""How good a column's searches are, as an asset and a check with a threshold. The scoring is evaluation/'s."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.defs.assets import derived_key, vector_key
from steam_assets.defs.png import markdown_png
from steam_assets.defs.pools import GPU_POOL
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.evaluation.known_items import DOCUMENTS, KNOWN_ITEMS, Sampling
from steam_assets.evaluation.plot import evaluations_png
from steam_assets.evaluation.rankings import How
from steam_assets.evaluation.score import Evaluation, beside_exact, evaluate_all
from steam_assets.evaluation.stored import comparable_history, interval_of, record
from steam_assets.progress import now_and_then
from steam_assets.settings import number_setting
from steam_assets.store.evaluations import StoredEvaluation, newest_evaluations
from steam_assets.store.locks import living_run
from steam_assets.targets import run_to_search
from steam_assets.terminal_evaluation import evaluations_table

LEAST_MRR = "STEAM_ASSETS_KNOWN_ITEM_MRR"
MRR = "mrr@10"
KNOWN_ITEM_CHECK = "known_item_mrr"


class EvaluationConfig(dg.Config):
    """What the launchpad offers: a query set of one's own by path, else known items of the loaded store pages.

    ``sample`` queries and ``documents`` of known items at most; ``how`` is the way to search.
    """

    queries: str | None = None
    sample: int | None = None
    documents: int = DOCUMENTS
    how: How = "exact"
    ignore_unknown: bool = False


def evaluated(columns: Sequence[TextColumn]) -> list[TextColumn]:
    """The columns of store pages, of which known items can be made."""
    return [column for column in columns if column.is_of_table(APPLICATIONS)]


def evaluation_key(column: TextColumn) -> dg.AssetKey:
    """The asset of a column's evaluations: ["applications", "description_evaluation"]."""
    return derived_key(column, "evaluation")


def build_evaluation_asset(column: TextColumn) -> dg.AssetsDefinition:
    """What searches of the column score on a query set, each time stored with the run that was searched."""

    @dg.asset(
        key=evaluation_key(column),
        deps=[vector_key(column)],
        pool=GPU_POOL,
        group_name="steam_assets",
        kinds={"postgres", "huggingface"},
        description=(
            f"Whether searches of {column} find what they should: nDCG@10, MRR@10 and recall with intervals, over "
            "known items of the loaded pages or a query set in BEIR's layout."
        ),
    )
    def evaluation(
        context: dg.AssetExecutionContext, config: EvaluationConfig, database: DatabaseResource, gpu: GpuResource
    ) -> dg.MaterializeResult[object]:
        path = None if config.queries is None else Path(config.queries).expanduser()
        sampling = Sampling(config.sample, config.documents)
        done = []
        with living_run(database.connect, context.run.run_id) as conn:
            load = gpu.on(gpu.lease(database.connect)).encoder
            say = now_and_then(context.log.info)

            def tell(what: str, done: int, total: int) -> None:
                say(f"{done:,} of {total:,} {what}")

            how: list[How] = [config.how]
            ignored = config.ignore_unknown
            for one in evaluate_all(database.connect, column, load, how, path, sampling, ignored, tell):
                record(conn, column, one, context.run.run_id)
                done.append(one)
            return dg.MaterializeResult(metadata=evaluation_metadata(done, comparable_history(conn, column, done[0])))

    return evaluation


def build_known_item_checks(columns: Sequence[TextColumn]) -> list[dg.AssetChecksDefinition]:
    """A check of each column of store pages where the environment sets a least MRR@10; none without."""
    least = number_setting(LEAST_MRR)
    return [] if least is None else [build_known_item_check(column, least) for column in evaluated(columns)]


def build_known_item_check(column: TextColumn, least: float) -> dg.AssetChecksDefinition:
    """Whether the newest evaluation of known items reaches an MRR@10, for the run that searches read."""

    @dg.asset_check(
        name=KNOWN_ITEM_CHECK,
        asset=evaluation_key(column),
        description=f"{column}: MRR@10 of known items is at least {least:g}, as {LEAST_MRR} asks.",
    )
    def known_item_mrr(context: dg.AssetCheckExecutionContext, database: DatabaseResource) -> dg.AssetCheckResult:
        with living_run(database.connect, context.op_execution_context.run.run_id) as conn:
            run = run_to_search(conn, column).run
            newest = newest_evaluations(conn, column, KNOWN_ITEMS, limit=1)
        return known_item_result(newest[0] if newest and newest[0].run_id == run.run_id else None, least)

    return known_item_mrr


def known_item_result(newest: StoredEvaluation | None, least: float) -> dg.AssetCheckResult:
    """Green where the mean reaches ``least``; red also where the run that searches read was never evaluated."""
    if newest is None:
        return dg.AssetCheckResult(
            passed=False, description="The run that searches read has no evaluation of known items yet."
        )
    mrr = interval_of(newest.metrics, MRR)
    return dg.AssetCheckResult(
        passed=mrr.mean >= least,
        description=(
            f"MRR@10 {mrr.mean:.3f} [{mrr.low:.3f}, {mrr.high:.3f}] of {mrr.queries:,} queries among "
            f"{newest.metrics['documents']:,} documents."
        ),
        metadata={"mrr": mrr.mean, "least": least, "run_id": newest.run_id, "evaluation": newest.evaluation_id},
    )


def evaluation_metadata(done: Sequence[Evaluation], history: Sequence[StoredEvaluation]) -> dict[str, dg.MetadataValue]:
    """The first evaluation's means as numbers that the web UI plots over time; all of them as a table and a picture."""
    first = done[0]
    return {
        **{name.replace("@", "_at_"): dg.MetadataValue.float(one.mean) for name, one in first.metrics.items()},
        **{
            f"mrr_at_10_{other.how}_minus_exact": dg.MetadataValue.float(
                other.metrics[MRR].mean - exact.metrics[MRR].mean
            )
            for exact, other in beside_exact(done)
        },
        "query_set": dg.MetadataValue.text(first.query_set),
        "query_set_digest": dg.MetadataValue.text(first.query_set_digest),
        "queries": dg.MetadataValue.int(len(first.scores.query_ids)),
        **({} if first.documents is None else {"documents": dg.MetadataValue.int(first.documents)}),
        "model": dg.MetadataValue.text(first.model_name),
        "run_id": dg.MetadataValue.int(first.run_id),
        "seconds": dg.MetadataValue.float(sum(one.seconds for one in done)),
        "evaluations": dg.MetadataValue.md(evaluations_table(done)),
        "notices": dg.MetadataValue.md("\n".join(f"- {notice}" for one in done for notice in one.notices) or "none"),
        "plot": markdown_png(evaluations_png(done, history), f"scores of {first.column}"),
    }

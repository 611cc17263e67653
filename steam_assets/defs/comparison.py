"""Vector columns of one text compared, as an asset that is there when there are two. Comparing is evaluation/'s."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg

from steam_assets.columns import TextColumn, rivals
from steam_assets.defs.assets import derived_key, vector_key
from steam_assets.defs.pools import GPU_POOL
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.store.locks import living_run
from steam_assets.store.promotions import serving_columns


class ComparisonConfig(dg.Config):
    """What the launchpad offers: a query set of one's own by path, else known items of the loaded store pages.

    ``sample`` and ``documents`` bound queries and distractors; judgements of unknown ids are an error, or ignored.
    """

    queries: str | None = None
    sample: int | None = None
    documents: int | None = None
    ignore_unknown: bool = False


def comparison_key(column: TextColumn) -> dg.AssetKey:
    """The asset that compares a text's columns, after the first: ["applications", "description_comparison"]."""
    return derived_key(column, "comparison")


def build_comparison_assets(columns: Sequence[TextColumn]) -> list[dg.AssetsDefinition]:
    """One for each text with more than one vector column, named after the first of them."""
    firsts = [
        column
        for place, column in enumerate(columns)
        if rivals(column, columns) and not rivals(column, columns[:place])
    ]
    return [build_comparison_asset([column, *rivals(column, columns)]) for column in firsts]


def build_comparison_asset(columns: Sequence[TextColumn]) -> dg.AssetsDefinition:
    """The column that is searched beside each of the others."""

    @dg.asset(
        key=comparison_key(columns[0]),
        deps=[vector_key(column) for column in columns],
        pool=GPU_POOL,
        group_name="steam_assets",
        kinds={"postgres", "huggingface"},
        description=(
            f"{' and '.join(map(str, columns))} on the same queries: nDCG@10 and MRR@10 with the significance of their "
            "differences, shared hits, speed, bytes and seconds to embed. `steam-assets promote` moves searches."
        ),
    )
    def comparison(
        context: dg.AssetExecutionContext, config: ComparisonConfig, database: DatabaseResource, gpu: GpuResource
    ) -> dg.MaterializeResult[object]:
        from steam_assets.defs.comparison_metadata import comparison_metadata
        from steam_assets.evaluation.compare import compare
        from steam_assets.evaluation.known_items import DOCUMENTS, Sampling
        from steam_assets.evaluation.score import query_sets

        with living_run(database.connect, context.run.run_id):
            path = None if config.queries is None else Path(config.queries).expanduser()
            sampling = Sampling(config.sample, config.documents or DOCUMENTS)
            first, *others = searched_first(database, columns)
            ignored = config.ignore_unknown
            ((query_set, _),) = query_sets(database.connect, first, ["exact"], path, sampling, ignored)
            load = gpu.on(gpu.lease(database.connect)).encoder
            done = [
                compare(database.connect, first, other, query_set, load, ignore_unknown=ignored) for other in others
            ]
        return dg.MaterializeResult(metadata=comparison_metadata(done))

    return comparison


def searched_first(database: DatabaseResource, columns: Sequence[TextColumn]) -> list[TextColumn]:
    """The columns, that which searches read before the others."""
    with closing(database.connect()) as conn:
        serving = serving_columns(conn, columns)
    return [*serving, *(column for column in columns if column not in serving)]

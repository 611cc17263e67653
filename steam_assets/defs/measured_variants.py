"""Variants of a column's index, measured on demand, as an asset. Measuring is indexes/measure.py's."""

from dataclasses import asdict

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import derived_key, vector_key
from steam_assets.defs.png import markdown_png
from steam_assets.defs.resources import DatabaseResource
from steam_assets.errors import SteamAssetsError
from steam_assets.indexes.measure import SAMPLE_ROWS, MeasureOptions, measure_column
from steam_assets.indexes.recall import recall_asked
from steam_assets.indexes.recommend import HEADER, choose, figure_cells
from steam_assets.store.locks import living_run
from steam_assets.store.variant_records import Measurement


class VariantsConfig(dg.Config):
    """What the launchpad offers: at most so many rows are copied, 0 for all; ef_search grows up to this recall@10."""

    sample: int = SAMPLE_ROWS
    recall: float | None = None

    def options(self) -> MeasureOptions:
        """The same as measure_column takes it; raises SteamAssetsError for what cannot be."""
        if self.sample < 0:
            raise SteamAssetsError(f"A sample of {self.sample} rows was asked for; expected 1 or more, or 0 for all.")
        return MeasureOptions(sample=self.sample or None, recall=recall_asked(self.recall))


def variants_key(column: TextColumn) -> dg.AssetKey:
    """The asset of a column's measured variants: ["applications", "description_variants"]."""
    return derived_key(column, "variants")


def build_variants_asset(column: TextColumn) -> dg.AssetsDefinition:
    """What each variant of an index on the column is worth: recall, size, seconds to build, latency, queries/s."""

    @dg.asset(
        key=variants_key(column),
        deps=[vector_key(column)],
        group_name="steam_assets",
        kinds={"postgres"},
        description=(
            f"Indexes of whole vectors, half precision, bits and PCA on a copy of {column}, measured beside comparing "
            "every row. Materialize it when you want to know; it builds five indexes and drops them again."
        ),
    )
    def measured_variants(
        context: dg.AssetExecutionContext, config: VariantsConfig, database: DatabaseResource
    ) -> dg.MaterializeResult[object]:
        run_id = context.run.run_id
        with living_run(database.connect, run_id):
            options = config.options()
            measured = measure_column(database.connect, column, options, context.log.info, run_id)
        return dg.MaterializeResult(metadata=variants_metadata(column, measured, options.recall))

    return measured_variants


def variants_metadata(column: TextColumn, measured: Measurement, recall: float) -> dict[str, dg.MetadataValue]:
    """Figures as a table, a picture and JSON, with the variant to build."""
    from steam_assets.indexes.plot import plot_variants

    figures = measured.figures
    chosen = choose(column, measured, recall)
    records = [dg.TableRecord(dict(zip(HEADER, cells, strict=True))) for cells in figure_cells(figures)]
    title = f"{column}, run {measured.run_id}, {figures[0].rows:,} rows"
    return {
        "run_id": dg.MetadataValue.int(measured.run_id),
        "rows": dg.MetadataValue.int(figures[0].rows),
        "recommended": dg.MetadataValue.text(chosen.reason),
        **({} if chosen.command is None else {"build": dg.MetadataValue.text(chosen.command)}),
        "variants": dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in HEADER])),
        "plot": markdown_png(plot_variants(title, figures), f"recall, latency and size of indexes on {title}"),
        "figures": dg.MetadataValue.json([asdict(row) for row in figures]),
    }


def variants_job_name(column: TextColumn) -> str:
    """The job that measures the variants of a column's index."""
    return f"measure_{'_'.join(variants_key(column).path)}"


def build_variants_job(column: TextColumn) -> UnresolvedAssetJobDefinition:
    """Measure the variants of one column."""
    return dg.define_asset_job(
        variants_job_name(column),
        selection=dg.AssetSelection.assets(variants_key(column)),
        description=f"Measure the variants of an index on a copy of {column}.",
    )

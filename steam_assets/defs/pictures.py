"""Maps of tables as assets: a picture in the UI, a page in the home. Laying out and drawing are pictures/'s."""

from collections.abc import Sequence

import dagster as dg

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.defs.assets import table_key, vector_key
from steam_assets.defs.png import markdown_png
from steam_assets.defs.resources import DatabaseResource
from steam_assets.output_file import write_file
from steam_assets.pictures.embedding_map import EmbeddingMap, make_map
from steam_assets.pictures.html import map_html
from steam_assets.pictures.layout import Method
from steam_assets.pictures.map_png import map_png
from steam_assets.pictures.output import place_in_home
from steam_assets.store.locks import living_run
from steam_assets.targets import column_to_search

MAPPED = (APPLICATIONS,)
"""Columns whose tables have a map in the graph; `steam-assets map` draws any."""


class MapConfig(dg.Config):
    """What the launchpad offers: ``sample`` rows, by default all up to 250,000; ``method`` is auto, umap or pca."""

    sample: int | None = None
    method: Method = "auto"


def map_key(column: TextColumn) -> dg.AssetKey:
    """The asset of a table's map: ["applications", "embedding_map"]."""
    return dg.AssetKey([*table_key(column).path, "embedding_map"])


def build_maps(columns: Sequence[TextColumn]) -> list[dg.AssetsDefinition]:
    """The maps of those tables of ``columns`` that have one."""
    of_tables = [[column for column in columns if column.is_of_table(mapped)] for mapped in MAPPED]
    return [build_map(of_table) for of_table in of_tables if of_table]


def build_map(columns: Sequence[TextColumn]) -> dg.AssetsDefinition:
    """A map of the one that searches read of a table's vector columns."""

    @dg.asset(
        key=map_key(columns[0]),
        deps=[vector_key(column) for column in columns],
        group_name="steam_assets",
        kinds={"umap"},
        description=(
            f"Rows of {columns[0].qualified_table} with like meaning side by side, with the names of their clusters; "
            "the page with the name of every row is a file in the home."
        ),
    )
    def embedding_map(
        context: dg.AssetExecutionContext, config: MapConfig, database: DatabaseResource
    ) -> dg.MaterializeResult[object]:
        with living_run(database.connect, context.run.run_id) as conn:
            column = column_to_search(conn, columns)
            drawn = make_map(database.connect, column, context.log.info, config.sample, config.method)
            return dg.MaterializeResult(metadata=published(drawn))

    return embedding_map


def published(drawn: EmbeddingMap) -> dict[str, dg.MetadataValue]:
    """Write the page; the picture, where the page is, and what is on it and what is not."""
    points = drawn.points
    return {
        "map": markdown_png(map_png(drawn), f"map of {points.column}"),
        "page": dg.MetadataValue.path(write_file(place_in_home(drawn), map_html(drawn).encode())),
        "column": dg.MetadataValue.text(str(points.column)),
        "model": dg.MetadataValue.text(points.model_name),
        "run_id": dg.MetadataValue.int(points.run_id),
        "method": dg.MetadataValue.text(drawn.layout.method),
        "rows": dg.MetadataValue.int(len(points)),
        "rows_left_out": dg.MetadataValue.int(points.left_out),
        "rows_not_sampled": dg.MetadataValue.int(points.not_sampled),
        "length_kept_percent": dg.MetadataValue.float(100 * points.kept),
        "clusters": dg.MetadataValue.md("\n".join(f"1. {name}: {size:,}" for name, size in drawn.cluster_sizes())),
        **({"notice": dg.MetadataValue.text(drawn.layout.notice)} if drawn.layout.notice else {}),
    }

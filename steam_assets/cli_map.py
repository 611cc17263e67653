"""`steam-assets map`: a column's rows as a map. The other verbs are in cli.py."""

# Heavy imports are inside the verb, so that --help answers at once.
import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from steam_assets.columns import COLUMNS, find_column
from steam_assets.options import connect, database_option, json_option

if TYPE_CHECKING:
    from steam_assets.pictures.layout import Method


@click.command("map")
@database_option
@click.argument("column", required=False)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The page. [default: maps/ in the home]")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="A picture of it as well.")
@click.option("--sample", type=click.IntRange(3), metavar="N", help="Draw N rows. [default: all, up to 250,000]")
@click.option(
    "--method",
    type=click.Choice(["auto", "umap", "pca"]),
    default="auto",
    show_default=True,
    help="auto is umap where umap-learn is installed (steam-assets[map]), else pca.",
)
@json_option
def map_(
    column: str | None, out: Path | None, png: Path | None, sample: int | None, method: "Method", as_json: bool
) -> None:
    """Draw COLUMN as a map, rows of like meaning side by side: an HTML file to open in a browser.

    Without COLUMN it is the one of the applications that searches read. The file needs no network: hover for a name,
    search for one, zoom, and colour by cluster or by genre.
    """
    from steam_assets.output_file import check_place, write_file
    from steam_assets.pictures.embedding_map import make_map
    from steam_assets.pictures.html import map_html
    from steam_assets.pictures.map_png import map_png
    from steam_assets.pictures.output import place_in_home
    from steam_assets.targets import column_to_search

    for asked in filter(None, (out, png)):
        check_place(asked)

    with closing(connect()) as conn:
        first = [other for other in COLUMNS if other.is_of_table(COLUMNS[0])]
        chosen = find_column(column) if column else column_to_search(conn, first)
    drawn = make_map(connect, chosen, partial(click.echo, err=True), sample, method)
    page = write_file(out or place_in_home(drawn), map_html(drawn).encode())
    if png is not None:
        write_file(png, map_png(drawn))
    if as_json:
        click.echo(json.dumps(drawn.as_json() | {"page": str(page), "png": None if png is None else str(png)}))
        return
    click.echo(f"{drawn.title}; {drawn.subtitle}.")
    click.echo(f"{page} - open it in a browser.")

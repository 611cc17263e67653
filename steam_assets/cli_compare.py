"""`steam-assets compare`: two vector columns of one table side by side. The other verbs are in cli.py."""

# Heavy imports are inside the verb, so that --help answers at once.
import json
import sys
from pathlib import Path
from typing import Unpack

import click

from steam_assets.columns import COLUMNS, find_column
from steam_assets.options import DeviceOptions, connect, database_option, device_options, gpu, json_option


@click.command()
@database_option
@click.argument("first")
@click.argument("second")
@click.option(
    "--queries",
    "path",
    type=click.Path(path_type=Path),
    help="A query set in BEIR's layout, a folder or a zip; else known items of the loaded store pages.",
)
@click.option("--sample", type=click.IntRange(1), metavar="N", help="So many queries. [default: 1,000 known items]")
@click.option("--documents", type=click.IntRange(1), metavar="N", help="So many known items. [default: 10,000]")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the scores into this PNG file.")
@device_options
@json_option
def compare(
    first: str,
    second: str,
    path: Path | None,
    sample: int | None,
    documents: int | None,
    plot: Path | None,
    as_json: bool,
    **device: Unpack[DeviceOptions],
) -> None:
    """Compare two vector columns of one table: quality with significance, overlap, speed, bytes, seconds to embed.

    Both are asked the same queries, each with its own model and preparation.
    """
    from steam_assets.evaluation.compare import compare as compare_columns
    from steam_assets.evaluation.compare_plot import comparison_png
    from steam_assets.evaluation.known_items import DOCUMENTS, Sampling
    from steam_assets.evaluation.score import query_sets
    from steam_assets.terminal_comparison import comparison_lines

    one, other = find_column(first, COLUMNS), find_column(second, COLUMNS)
    sampling = Sampling(sample, documents or DOCUMENTS)
    ((query_set, _),) = query_sets(connect, one, ["exact"], path, sampling, ignore_unknown=False)
    resource = gpu(device)
    leased = resource.lease(connect)
    try:
        done = compare_columns(connect, one, other, query_set, resource.on(leased).encoder, _tell)
    finally:
        if leased is not None:
            leased.close()
    click.echo(json.dumps(done.as_json()) if as_json else comparison_lines(done))
    if plot is not None:
        plot.write_bytes(comparison_png(done))


def _tell(what: str, done: int, total: int) -> None:
    """A line of progress where a person watches; it is written over by the next."""
    if sys.stderr.isatty():
        click.echo(f"{done:,} of {total:,} {what}{chr(10) if done == total else chr(13)}", nl=False, err=True)

"""`steam-assets compare`: two vector columns of one table side by side. The other verbs are in cli.py."""

# Heavy imports are inside the verb, so that --help answers at once.
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Unpack

import click

from steam_assets.cli_progress import say_aside, tell
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
@click.option("--ignore-unknown", is_flag=True, help="Leave out judgements of ids that are not there.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the scores into this PNG file.")
@device_options
@json_option
def compare(
    first: str,
    second: str,
    path: Path | None,
    sample: int | None,
    documents: int | None,
    ignore_unknown: bool,
    plot: Path | None,
    as_json: bool,
    **device: Unpack[DeviceOptions],
) -> None:
    """Compare two vector columns of one table: quality with significance, overlap, speed, bytes, seconds to embed.

    Both are asked the same queries, each with its own model and preparation.
    """
    from steam_assets.device_lease import lease_device
    from steam_assets.evaluation.compare import check_comparable
    from steam_assets.evaluation.compare import compare as compare_columns
    from steam_assets.evaluation.compare_plot import comparison_png
    from steam_assets.evaluation.known_items import DOCUMENTS, Sampling
    from steam_assets.evaluation.score import query_sets
    from steam_assets.output_file import check_place, write_file
    from steam_assets.terminal_comparison import comparison_lines

    one, other = find_column(first, COLUMNS), find_column(second, COLUMNS)
    check_comparable(one, other)
    if plot is not None:
        check_place(plot)
    sampling = Sampling(sample, documents or DOCUMENTS)
    ((query_set, _),) = query_sets(connect, one, ["exact"], path, sampling, ignore_unknown)
    resource = gpu(device)
    with lease_device(connect, resource.settings, say_aside) or nullcontext() as leased:
        done = compare_columns(connect, one, other, query_set, resource.on(leased).encoder, tell, ignore_unknown)
    click.echo(json.dumps(done.as_json()) if as_json else comparison_lines(done))
    if plot is not None:
        write_file(plot, comparison_png(done))

"""`steam-assets evaluate`: whether searches find what they should. The other verbs are in cli.py."""

import json
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from steam_assets.cli_progress import say_aside, tell
from steam_assets.columns import APPLICATIONS, COLUMNS, TextColumn, find_column
from steam_assets.options import DeviceOptions, connect, database_option, device_options, gpu, json_option

if TYPE_CHECKING:
    from steam_assets.evaluation.rankings import How


@click.command()
@database_option
@click.argument("column", required=False)
@click.option(
    "--queries",
    "path",
    type=click.Path(path_type=Path),
    help="A query set in BEIR's layout, a folder or a zip; else known items of the loaded store pages.",
)
@click.option("--sample", type=click.IntRange(1), metavar="N", help="So many queries. [default: 1,000 known items]")
@click.option("--documents", type=click.IntRange(1), metavar="N", help="So many known items. [default: 10,000]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws queries and documents.")
@click.option(
    "--how",
    multiple=True,
    type=click.Choice(["exact", "index", "hybrid"]),
    default=["exact"],
    show_default=True,
    help="A way to search; give it again for another.",
)
@click.option("--ignore-unknown", is_flag=True, help="Leave out judgements of ids that are not there.")
@click.option("--history", is_flag=True, help="Only show what was evaluated so far.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the scores into this PNG file.")
@device_options
@json_option
def evaluate(
    column: str | None,
    path: Path | None,
    sample: int | None,
    documents: int | None,
    seed: int,
    how: Sequence["How"],
    ignore_unknown: bool,
    history: bool,
    plot: Path | None,
    as_json: bool,
    **device: Unpack[DeviceOptions],
) -> None:
    """Score searches of COLUMN over a set of queries: nDCG@10, MRR@10 and recall, with 95 % intervals.

    COLUMN is by default the one of the store pages that searches read. Every evaluation is stored.
    """
    from steam_assets.device_lease import lease_device
    from steam_assets.evaluation.known_items import DOCUMENTS, Sampling
    from steam_assets.evaluation.plot import evaluations_png
    from steam_assets.evaluation.score import beside_exact, plan_evaluations
    from steam_assets.evaluation.score import evaluate as evaluate_column
    from steam_assets.evaluation.stored import comparable_history, record
    from steam_assets.output_file import check_place, write_file
    from steam_assets.terminal_evaluation import cost_lines, evaluation_lines

    chosen = find_column(column) if column else _column_of_pages()
    if history:
        _show_history(chosen, as_json)
        return
    if plot is not None:
        check_place(plot)
    # What cannot be evaluated is said before a device is waited for.
    sampling = Sampling(sample, documents or DOCUMENTS, seed)
    plan = plan_evaluations(connect, chosen, list(dict.fromkeys(how)), path, sampling, ignore_unknown)
    resource = gpu(device)
    done = []
    with lease_device(connect, resource.settings, say_aside) or nullcontext() as leased:
        load = resource.on(leased).encoder
        for query_set, way in plan:
            one = evaluate_column(connect, chosen, query_set, load, way, tell, ignore_unknown)
            done.append(one)
            if not as_json:
                click.echo(evaluation_lines(one))
            with closing(connect()) as conn, conn:
                record(conn, chosen, one)
    if as_json:
        click.echo(json.dumps([one.as_json() for one in done]))
    else:
        for exact, other in beside_exact(done):
            click.echo(cost_lines(exact, other))
    if plot is not None:
        with closing(connect()) as conn:
            write_file(plot, evaluations_png(done, comparable_history(conn, chosen, done[0])))


def _column_of_pages() -> TextColumn:
    """The vector column of the store pages that searches read; the first one where none does."""
    from steam_assets.targets import column_to_search

    with closing(connect()) as conn:
        return column_to_search(conn, [column for column in COLUMNS if column.is_of_table(APPLICATIONS)])


def _show_history(column: TextColumn, as_json: bool) -> None:
    from steam_assets.store.evaluations import newest_evaluations
    from steam_assets.store.status import is_initialised
    from steam_assets.terminal_evaluation import history_lines

    with closing(connect()) as conn:
        found = newest_evaluations(conn, column) if is_initialised(conn) else []
    if as_json:
        click.echo(json.dumps([{**asdict(one), "evaluated_at": one.evaluated_at.isoformat()} for one in found]))
    else:
        click.echo(history_lines(found))

"""`steam-assets index measure` and `index recommend`: what variants of an index are worth. The others: cli_index.py."""

# Heavy imports are inside the verbs, so that --help answers at once.
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from steam_assets.cli_progress import say_aside
from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.options import (
    columns_argument,
    columns_to_read,
    connect,
    database_option,
    json_option,
    recall_option,
)

if TYPE_CHECKING:
    from steam_assets.indexes.recommend import Recommendation
    from steam_assets.store.variant_records import Measurement


@click.command()
@database_option
@columns_argument
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=100_000,
    show_default=True,
    metavar="ROWS",
    help="Copy at most so many; 0 copies all.",
)
@recall_option
@json_option
def measure(columns: Sequence[str], sample: int, recall: float | None, as_json: bool) -> None:
    """Build every variant of an index on a copy of COLUMNs and measure it; those that serve by default.

    Indexes and searches of the columns themselves are not touched. The figures are kept for `index recommend`.
    """
    from steam_assets.indexes.measure import MeasureOptions, measure_column
    from steam_assets.indexes.recall import recall_asked

    options = MeasureOptions(sample=sample or None, recall=recall_asked(recall))
    found = {column: measure_column(connect, column, options, say_aside) for column in _to_read(columns)}
    if as_json:
        click.echo(json.dumps([_as_dict(column, measured) for column, measured in found.items()]))
        return
    for column, measured in found.items():
        click.echo(_lines(column, measured))


@click.command()
@database_option
@columns_argument
@recall_option
@json_option
def recommend(columns: Sequence[str], recall: float | None, as_json: bool) -> None:
    """Say which variant of an index to build for COLUMNs, by what `index measure` found, and the command for it."""
    from steam_assets.indexes.recall import recall_asked
    from steam_assets.indexes.recommend import recommend as recommend_variant
    from steam_assets.store.vector_pages import count_vectors
    from steam_assets.targets import run_to_search

    asked = recall_asked(recall)
    found: list[Recommendation] = []
    refused: list[SteamAssetsError] = []
    for column in _to_read(columns):
        with closing(connect()) as conn:
            run_id = run_to_search(conn, column).run.run_id
            try:
                found.append(recommend_variant(conn, column, run_id, asked, count_vectors(conn, column, run_id)))
            except SteamAssetsError as error:
                refused.append(error)
    if refused and (columns or not found):
        raise refused[0]
    for refusal in refused:
        click.echo(str(refusal), err=True)
    click.echo(json.dumps([one.as_dict() for one in found]) if as_json else "\n".join(map(_advice, found)))


def _to_read(names: Sequence[str]) -> Sequence[TextColumn]:
    with closing(connect()) as conn:
        return columns_to_read(conn, names)


def _as_dict(column: TextColumn, measured: "Measurement") -> dict[str, object]:
    return {
        "column": str(column),
        "run_id": measured.run_id,
        "measured_at": measured.measured_at.isoformat(),
        "variants": [asdict(row) for row in measured.figures],
    }


def _lines(column: TextColumn, measured: "Measurement") -> str:
    from steam_assets.indexes.recommend import HEADER, figure_cells
    from steam_assets.terminal import table

    first = measured.figures[0]
    title = (
        f"{column}, run {measured.run_id}: {first.rows:,} rows of {first.dimension} numbers, {first.queries} queries"
    )
    return f"{title}\n{table(HEADER, figure_cells(measured.figures))}\nNext: `steam-assets index recommend {column}`."


def _advice(found: "Recommendation") -> str:
    head = f"{found.column}: {'compare every row' if found.command is None else found.figures.variant}, {found.reason}."
    return "\n".join([head, *found.notices, *(() if found.command is None else (f"  {found.command}",))])

"""`steam-assets search`: rows by meaning, with filters and words. The other verbs are in cli.py."""

# Heavy imports are inside the verb, so that --help answers at once.
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Unpack

import click
from click.core import ParameterSource

from steam_assets.columns import TextColumn, find_column
from steam_assets.errors import SteamAssetsError
from steam_assets.options import (
    DATABASE_URL,
    DeviceOptions,
    connect,
    database_option,
    device_options,
    json_option,
    loader,
)

if TYPE_CHECKING:
    from steam_assets.search import Searcher


@click.command()
@database_option
@click.argument("text", required=False)
@click.option("--like", "row_id", metavar="ID", help="Instead of TEXT: rows like the one with this id.")
@click.option("--in", "name", metavar="COLUMN", help="Where; every column that serves, for --like the first.")
@click.option("--k", type=click.IntRange(1, 1000), default=5, show_default=True, help="Hits; of reviews: games.")
@click.option("--where", metavar="FILTER", help="Only rows for which this holds; see above.")
@click.option("--hybrid", is_flag=True, help="Fuse the nearest in meaning with rows that hold the words.")
@click.option("--exact", is_flag=True, help="Compare every row, though there is an index.")
@click.option(
    "--url",
    envvar="STEAM_ASSETS_SERVE_URL",
    metavar="URL",
    help="Have a running `steam-assets serve` answer, from its own database with its own model, where nothing is "
    "said of them here. [env: STEAM_ASSETS_SERVE_URL]",
)
@device_options
@json_option
def search(
    text: str | None,
    row_id: str | None,
    name: str | None,
    k: int,
    where: str | None,
    hybrid: bool,
    exact: bool,
    url: str | None,
    as_json: bool,
    **device: Unpack[DeviceOptions],
) -> None:
    """Rows nearest in meaning to TEXT, with the model of the run being served; reviews by game, three of each.

    A FILTER compares type, genre, language, year (of release), price (in units, not cents), is_free and voted_up (of
    reviews) with = != < <= > >= or `in (...)`, joined by `and`, `or`, `not` and parentheses. Text with blanks stands
    in quotes:

    \b
      type = game and genre in (Action, 'Massively Multiplayer') and year >= 2015
      is_free or price < 5 and not language = german

    --hybrid takes words as they are written: all of them, or as in "a phrase", this or that, -without.
    """
    from steam_assets.search.lines import search_lines

    if (text is None) == (row_id is None):
        raise click.UsageError("Expected TEXT, or --like ID.")
    if row_id is not None and hybrid:
        raise click.UsageError("--hybrid looks for words, and --like ID has none. Leave one of them out.")
    context = click.get_current_context()
    if DATABASE_URL in context.meta or any(value is not None for value in device.values()):
        if context.get_parameter_source("url") is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                "A service has its own database and model. Leave out --url, or what is said of them."
            )
        url = None
    if url is not None:
        from steam_assets.service.client import search_at

        asked = {"q": text, "like": row_id, "in": name, "k": k, "where": where, "hybrid": hybrid, "exact": exact}
        results = search_at(url, asked)
    else:
        from steam_assets.search import Searcher

        searcher = Searcher(connect, loader(device))
        column = None if name is None else column_named(searcher, name)
        if text is not None:
            results = searcher.search(text, column=column, k=k, where=where, hybrid=hybrid, exact=exact)
        else:
            place = column or next(iter(searcher.serving()))
            assert row_id is not None
            results = [searcher.like(row_id, column=place, k=k, where=where, exact=exact)]
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results]))
    else:
        click.echo("\n".join(f"{result.column}\n{search_lines(result)}" for result in results))


def column_named(searcher: "Searcher", name: str) -> TextColumn:
    """The column of this name; of a table with several vector columns the one that searches read."""
    try:
        return find_column(name, tuple(searcher.serving()))
    except SteamAssetsError:
        return find_column(name)

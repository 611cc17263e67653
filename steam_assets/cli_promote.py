"""`steam-assets promote` and `drop-column`: which of a text's vector columns is searched, and which one goes."""

# Heavy imports are inside the verbs, so that --help answers at once.
import json
import sys
from contextlib import closing
from dataclasses import asdict

import click

from steam_assets.columns import COLUMNS, find_column
from steam_assets.errors import EXIT_INCOMPLETE, SteamAssetsError
from steam_assets.options import connect, database_option, json_option


@click.command()
@database_option
@click.argument("column")
@click.option("--undo", is_flag=True, help="Go back to what was searched before the newest promotion.")
@json_option
def promote(column: str, undo: bool, as_json: bool) -> None:
    """Have searches read COLUMN, once it is complete, and no longer another column of the same text.

    Searches that go on meanwhile answer from the one or from the other, never from both. No vector is changed.
    """
    from steam_assets.promotion import promote as promote_column
    from steam_assets.promotion import undo_promotion

    chosen = find_column(column, COLUMNS)
    with closing(connect()) as conn, conn:
        done = (undo_promotion if undo else promote_column)(conn, chosen, COLUMNS)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    before = (
        "Nothing was searched before" if done.former is None else f"Before: {done.former}, run {done.former_run_id}"
    )
    click.echo(f"Searches read {done.column} now: run {done.run_id}, {done.model_name}. {before}.")
    if done.notice:
        click.echo(done.notice)
    if not undo and done.former is not None:
        click.echo(f"To go back: `steam-assets promote {done.column} --undo`.")


@click.command("drop-column")
@database_option
@click.argument("column")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop_column(column: str, yes: bool) -> None:
    """Drop COLUMN's vectors, with their runs, digests, indexes and failures; a column that searches read stays.

    What was done to it and measured of it stays on record: attempts at ranges, evaluations, promotions.
    """
    from steam_assets.store.drop_column import drop_column as drop
    from steam_assets.store.drop_column import look_at

    chosen = find_column(column, COLUMNS)
    if not yes and not sys.stdin.isatty():
        raise SteamAssetsError("Vectors that are dropped are gone, and nobody is there to be asked. Repeat with --yes.")
    with closing(connect()) as conn:
        with conn:
            found = look_at(conn, chosen)
        indexes = f" and {', '.join(found.indexes)}" if found.indexes else ""
        question = f"Drop {chosen}, {chosen.run} and {chosen.digest}, {found.vectors:,} vectors{indexes}?"
        if not yes and not click.confirm(f"{question} They can only be encoded again."):
            click.echo("Nothing was dropped.", err=True)
            sys.exit(EXIT_INCOMPLETE)
        with conn:
            drop(conn, chosen)
    click.echo(
        f"{chosen} was dropped with {found.vectors:,} vectors{indexes}. Take its entry out of steam_assets/columns.py, "
        "or the next `steam-assets init` adds it again; a web UI that is up has to reload its code location. "
        f"PostgreSQL gives the room back as rows are written anew, VACUUM FULL {chosen.qualified_table} at once."
    )

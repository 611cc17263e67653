"""`steam-assets purge`: old runs, events and logs go. The other verbs are in cli.py."""

# Heavy imports are inside the verbs, so that --help answers at once.
import json
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from steam_assets.cli_progress import progress_bar
from steam_assets.errors import EXIT_INCOMPLETE, SteamAssetsError
from steam_assets.options import database_option, json_option

if TYPE_CHECKING:
    from steam_assets.defs.retention import Purged


@click.command()
@database_option
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="What is younger stays.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(days: int, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete old runs and events of Dagster, what runs printed, and old log files.

    What the web UI says of ranges and checks stays as it is: the newest materialization and check of each are kept, and
    nothing of the data is touched.
    """
    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.retention import purge as purge_history
    from steam_assets.store.dagster_database import connect_dagster

    if not (dry_run or yes or sys.stdin.isatty()):
        raise SteamAssetsError("What is deleted is gone, and nobody is there to be asked. Repeat with --yes.")
    with open_instance() as instance, closing(connect_dagster()) as conn:
        found = purge_history(instance, conn, days, dry_run=True)
        if dry_run:
            click.echo(json.dumps(asdict(found)) if as_json else f"Older than {days} days: {_said(found)}.")
            return
        if not yes and not click.confirm(f"Delete what is older than {days} days: {_said(found)}?"):
            click.echo("Nothing was deleted.", err=True)
            sys.exit(EXIT_INCOMPLETE)
        with progress_bar("Purging", " runs") as progress:
            done = purge_history(instance, conn, days, progress=progress)
        database = conn.info.dbname
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(f"Deleted: {_said(done)}.")
    if done.events:
        click.echo(
            "New events take their room. To give it back to the disk, while no run goes on: VACUUM FULL event_logs, in "
            f"the database {database}."
        )


def _said(found: "Purged") -> str:
    return (
        f"{found.runs_deleted:,} runs, {found.events:,} events (also of {found.runs_thinned:,} runs that are kept, for "
        f"they say what is true now), {found.log_files:,} logs of {found.log_bytes / 1e6:,.1f} MB"
    )

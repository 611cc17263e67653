"""`steam-assets db`: the whole database out to a file and back, and psql. The other verbs are in cli.py."""

# Heavy imports are inside the verbs, so that --help answers at once.
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from steam_assets.cli_progress import progress_bar
from steam_assets.options import database, database_option


@click.group()
def db() -> None:
    """Dump the whole database into a file, restore it, or open psql."""


@db.command()
@database_option
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE when it is there already.")
def dump(file: Path, force: bool) -> None:
    """Write the whole database into FILE, in pg_dump's custom format, while others go on working in it.

    Dagster's runs and events are in a database of their own and are not in the file.
    """
    from steam_assets.store.dump import dump_database

    with progress_bar("Dumping", "B") as progress:
        done = dump_database(database(), file, progress, replace=force)
    click.echo(f"{file}: {done.rows:,} rows of {done.tables} tables, {_size(done.bytes)}, in {done.seconds:.1f} s.")


@db.command()
@database_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Restore FILE into the database, all of it or nothing; tables that are there are never replaced.

    Everything will belong to whoever restores: owners and rights of the old server are left out.
    """
    from steam_assets.store.restore import restore_database

    with progress_bar("Restoring", "B") as progress:
        done = restore_database(database(), file, progress)
    click.echo(f"{file}: {done.rows:,} rows of {done.tables} tables restored in {done.seconds:.1f} s.")


@db.command(context_settings={"ignore_unknown_options": True})
@database_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
def psql(arguments: Sequence[str]) -> None:
    """Open psql on the database; ARGS are psql's own, such as -c "SELECT 1". Its exit code is ours."""
    from steam_assets.store import embedded
    from steam_assets.store.client_programs import find_client

    client = find_client(database(), "psql")
    # psql becomes this process. The embedded server lives on for it, and a closed pipe ends it as usual.
    embedded.stay_after_exec()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    command = client.command("psql", *arguments)
    sys.stdout.flush()
    os.execve(command[0], command, client.environment)  # noqa: S606 (no shell)


def _size(size: float) -> str:
    """Bytes as people say them: 12_345_678 -> 12.3 MB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:,.4g} GB"

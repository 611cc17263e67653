"""The door for people: thin verbs over the functions that the assets call too, and the only place that prints."""

# Heavy imports are inside the verbs, so that --help answers at once.
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from steam_assets import __version__
from steam_assets.cli_compare import compare
from steam_assets.cli_db import db
from steam_assets.cli_evaluate import evaluate
from steam_assets.cli_export import export, load_vectors, vectors_options
from steam_assets.cli_index import index
from steam_assets.cli_map import map_
from steam_assets.cli_metrics import metrics, metrics_beside
from steam_assets.cli_progress import say_aside
from steam_assets.cli_promote import drop_column, promote
from steam_assets.cli_purge import purge
from steam_assets.cli_search import search
from steam_assets.cli_serve import serve
from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.errors import EXIT_INCOMPLETE, SteamAssetsError
from steam_assets.exits import run_and_exit
from steam_assets.options import (
    DeviceOptions,
    chosen_columns,
    columns_argument,
    connect,
    database,
    database_option,
    database_url,
    device_options,
    gpu,
    json_option,
    keep_to_embedded_database,
    loader,
    port_option,
    upkeep_options,
)
from steam_assets.settings import setting

if TYPE_CHECKING:
    from psycopg2.extensions import connection


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Text columns of PostgreSQL into pgvector columns you can trust, as Dagster assets on your own GPU.

    Exit codes: 0 done, 1 ran but not complete, 2 wrong usage or something is not there, 70 unexpected error,
    130 interrupted, 143 terminated.
    """


cli.add_command(db)
cli.add_command(index)
cli.add_command(export)
cli.add_command(map_)
cli.add_command(metrics)
cli.add_command(purge)
cli.add_command(evaluate)
cli.add_command(search)
cli.add_command(serve)
cli.add_command(compare)
cli.add_command(promote)
cli.add_command(drop_column)


def main() -> None:
    """The console script."""
    run_and_exit(lambda: cli.main(standalone_mode=False, prog_name="steam-assets"))


@cli.command()
@database_option
@click.option("--model", metavar="NAME", help="A hub id, a directory, or all-MiniLM-L6-v2. [default: BAAI/bge-m3]")
@click.option("--adopt", is_flag=True, help="Take over vectors that are there, if encoding 200 of them again agrees.")
@click.option("--no-index", is_flag=True, help="Do without the indexes that find new rows in milliseconds.")
@click.option("--dry-run", is_flag=True, help="Print the SQL and change nothing.")
@device_options
def init(model: str | None, adopt: bool, no_index: bool, dry_run: bool, **device: Unpack[DeviceOptions]) -> None:
    """Create or complete the schema, and choose the model of columns that have none."""
    from steam_assets.initialise import initialise
    from steam_assets.store.missing_index import build_after_commit
    from steam_assets.targets import adopt as adopt_column
    from steam_assets.terminal import adoption_line

    with closing(connect()) as conn:
        with conn:
            done = initialise(conn, COLUMNS, model, dry_run=dry_run, indexed=not no_index)
        if dry_run:
            click.echo(str(done.plan) or "-- The schema is complete; nothing to do.")
            return
        for line in (*done.plan.notices, *(f"+ {statement.reason}" for statement in done.plan.statements)):
            click.echo(line)
        for line in build_after_commit(conn, done.plan.after_commit):
            click.echo(line)
        if not str(done.plan):
            click.echo("The schema is complete; nothing to do.")
        for column in COLUMNS if adopt else ():
            click.echo(adoption_line(column, adopt_column(conn, column, loader(device))))
    click.echo(f"Model: {done.model_name}. Next: `steam-assets load FILES`, then `steam-assets embed`.")


@cli.command()
@database_option
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--as", "table", metavar="TABLE", help="The table, where the header does not tell.")
@vectors_options
@device_options
@json_option
def load(
    paths: Sequence[Path],
    table: str | None,
    vectors: Path | None,
    ids: Path | None,
    column: str | None,
    as_json: bool,
    **device: Unpack[DeviceOptions],
) -> None:
    """Load CSV or JSONL files (also .gz, folders and zips of the published package) into their tables.

    With --vectors: the vectors of an export, or of a .npy file with a CSV of ids, to the rows whose text they were made
    of. Where such a file does not say what made them, some are encoded again.
    """
    if vectors is not None and not paths and table is None:
        load_vectors(vectors, ids, column, loader(device), as_json)
        return
    if vectors is not None or not paths:
        raise click.UsageError("Name files of rows, or one of vectors with --vectors: rows first.")
    if any(value is not None for value in (ids, column, *device.values())):
        raise click.UsageError("--ids, --column and where a model runs are for --vectors. Leave them out for rows.")
    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.loads import load_and_report
    from steam_assets.store.files import find_files
    from steam_assets.terminal import load_bar, load_lines

    files = find_files(paths, table)
    with closing(connect()) as conn, open_instance() as instance, load_bar() as progress:
        reports = load_and_report(instance, conn, files, COLUMNS, progress)
    click.echo(json.dumps([asdict(report) for report in reports]) if as_json else load_lines(reports))
    if any(report.rejected for report in reports):
        sys.exit(EXIT_INCOMPLETE)


@cli.command()
@database_option
@columns_argument
@click.option("--model", metavar="NAME", help="Fill the columns with this model from now on (asks first).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N rows.")
@upkeep_options
@click.option("--dry-run", is_flag=True, help="Only say what it would take: rows, tokens, time, disk.")
@device_options
@json_option
def embed(
    columns: Sequence[str],
    model: str | None,
    yes: bool,
    limit: int | None,
    max_failed_percent: float | None,
    drop_index: bool | None,
    vacuum: bool | None,
    dry_run: bool,
    as_json: bool,
    **device: Unpack[DeviceOptions],
) -> None:
    """Fill the pending rows of COLUMNs (all of them by default), through the same assets as the web UI."""
    from steam_assets.embed import embed_columns
    from steam_assets.estimate import estimate
    from steam_assets.store.status import column_status
    from steam_assets.targets import check_environment_agrees, target_run
    from steam_assets.terminal import estimate_lines, status_table

    if model and dry_run:
        raise click.UsageError("--dry-run changes nothing, the model neither. Leave out one of --model and --dry-run.")
    chosen = chosen_columns(columns)
    with closing(connect()) as conn:
        if model:
            for column in chosen:
                _change_model(conn, column, model, yes)
        for column in chosen:
            check_environment_agrees(target_run(conn, column), column)
    if dry_run:
        found = [estimate(connect, column, loader(device)) for column in chosen]
        click.echo(json.dumps([asdict(e) for e in found]) if as_json else "\n".join(map(estimate_lines, found)))
        return
    config = {"max_failed_percent": max_failed_percent, "drop_index": drop_index, "vacuum": vacuum}
    outcome = embed_columns(chosen, connect, gpu(device), limit, say_aside, config)
    with closing(connect()) as conn:
        statuses = [status for column in chosen if (status := column_status(conn, column))]
    click.echo(json.dumps([s.as_json() for s in statuses]) if as_json else status_table(statuses))
    for error in outcome.errors:
        click.echo(error, err=True)
    if outcome.red_checks:
        click.echo(f"Red checks: {', '.join(outcome.red_checks)}. The log is {outcome.log}.", err=True)
    limit_reached = limit is not None and outcome.rows >= limit
    if not limit_reached and (outcome.errors or outcome.red_checks):
        sys.exit(EXIT_INCOMPLETE)


@cli.command()
@database_option
@json_option
def status(as_json: bool) -> None:
    """Rows by state for every column, counted in SQL now, and whether Dagster's daemon runs."""
    from steam_assets.health import daemon_line
    from steam_assets.store.daemon import daemon_status
    from steam_assets.store.database import find_database
    from steam_assets.store.status import column_status
    from steam_assets.terminal import status_table

    with closing(connect()) as conn:
        statuses = [status for column in COLUMNS if (status := column_status(conn, column))]
    daemon = daemon_status(find_database())
    if as_json:
        told = None if daemon is None else daemon.as_json()
        click.echo(json.dumps([{**status.as_json(), "daemon": told} for status in statuses]))
        return
    click.echo(status_table(statuses) if statuses else "No column has a model yet. Run `steam-assets init`.")
    if daemon is not None:
        click.echo(daemon_line(daemon))


@cli.command()
@database_option
@columns_argument
@json_option
def failures(columns: Sequence[str], as_json: bool) -> None:
    """Rows of COLUMNs (all of them by default) that could not be embedded, each with its reason."""
    from steam_assets.store.failures import list_failures
    from steam_assets.targets import target_run
    from steam_assets.terminal import failure_lines, json_array

    with closing(connect()) as conn:
        conn.autocommit = True
        targets = {column: target_run(conn, column).run_id for column in chosen_columns(columns)}
        rows = (row for column, run_id in targets.items() for row in list_failures(conn, column, run_id))
        for line in json_array(map(asdict, rows)) if as_json else failure_lines(rows):
            click.echo(line)


@cli.command()
@database_option
@click.option("--column", "columns", multiple=True, metavar="COLUMN", help="Where; every column by default.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="A row; every row that failed by default.")
@json_option
def retry(columns: Sequence[str], ids: Sequence[str], as_json: bool) -> None:
    """Have the next `embed` try rows again that could not be embedded."""
    from steam_assets.store.failures import release
    from steam_assets.targets import target_run
    from steam_assets.terminal import retry_lines

    with closing(connect()) as conn, conn:
        targets = {column: target_run(conn, column).run_id for column in chosen_columns(columns)}
        released = release(conn, targets, ids or None)
    found = [{"column": str(column), "released": rows} for column, rows in released.items()]
    click.echo(json.dumps(found) if as_json else retry_lines(released))


@cli.command()
@database_option
@columns_argument
@click.option("--recut", is_flag=True, help="Cut the tables of COLUMNs into even ranges again (asks first).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def ranges(columns: Sequence[str], recut: bool, yes: bool, as_json: bool) -> None:
    """The id ranges of each column: rows, what is pending, how long ago each was filled, and how even they are."""
    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.range_status import column_ranges
    from steam_assets.terminal import ranges_table

    if recut:
        _recut(columns, yes, as_json)
        return
    chosen = chosen_columns(columns)
    with open_instance() as instance:
        found = [column_ranges(instance, column, connect) for column in chosen]
    click.echo(json.dumps([column.as_json() for column in found]) if as_json else ranges_table(found))


@cli.command()
@database_option
@port_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Whom the web UI listens to; it has no login.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), metavar="N", help="Answer Prometheus there as well.")
def up(port: int, host: str, metrics_port: int | None) -> None:
    """Run the web UI and the daemon until Ctrl-C."""
    from steam_assets.up import serve

    serve(connect, database(), COLUMNS, host, port, click.echo, metrics_beside(host, metrics_port))


@cli.command()
@database_option
@click.option(
    "--data", multiple=True, type=click.Path(exists=True, path_type=Path), help="Files instead of the sample."
)
@click.argument("more_data", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--exit", "then_exit", is_flag=True, help="End after the searches; do not keep the web UI up.")
@port_option
@device_options
def demo(
    data: Sequence[Path], more_data: Sequence[Path], then_exit: bool, port: int, **device: Unpack[DeviceOptions]
) -> None:
    """Everything once: schema, sample data, every range embedded and checked, three searches, the web UI."""
    from steam_assets.demo import run_demo
    from steam_assets.up import serve

    keep_to_embedded_database()

    if not run_demo(connect, [*data, *more_data], gpu(device), click.echo):
        sys.exit(EXIT_INCOMPLETE)
    if not then_exit:
        serve(connect, database(), COLUMNS, "127.0.0.1", port, click.echo)


@cli.command()
@database_option
@device_options
@json_option
def doctor(as_json: bool, **device: Unpack[DeviceOptions]) -> None:
    """Whether this machine and database are fit for it, line by line, with what to do where they are not."""
    from steam_assets.doctor import exit_code, run_checks
    from steam_assets.targets import configured_model

    chosen = gpu(device)
    model = partial(configured_model, connect, COLUMNS)
    checks = []
    for check in run_checks(configured=model, database_url=database_url(), settings=chosen.settings):
        checks.append(check)
        if as_json:
            click.echo(json.dumps(asdict(check)))
        else:
            click.echo(f"{check.state:<4}  {check.name}: {check.found}" + (f"\n      {check.fix}" if check.fix else ""))
    if code := exit_code(checks):
        sys.exit(code)


def _change_model(conn: "connection", column: TextColumn, name: str, yes: bool) -> None:
    from steam_assets.encoder.models import find_model
    from steam_assets.store.status import column_status
    from steam_assets.targets import change_model

    status = column_status(conn, column)
    model = find_model(name, setting("STEAM_ASSETS_MODEL_REVISION"))
    if status is None:
        raise SteamAssetsError(f"{column} has no model yet. Run `steam-assets init --model {name}`.")
    if not yes and not sys.stdin.isatty():
        raise SteamAssetsError(f"{column}: a change of model is asked about, and nobody is there. Repeat with --yes.")
    question = (
        f"Fill {column} with {model.name} instead of {status.model_name}? {status.state.embedded:,} rows become stale"
    )
    if status.serving_run_id is not None:
        question += ", and searches lose each row as it is encoded anew, until all are done"
    if not yes and not click.confirm(f"{question}."):
        click.echo("Nothing was changed.", err=True)
        sys.exit(EXIT_INCOMPLETE)
    with conn:
        change_model(conn, column, model)


def _recut(names: Sequence[str], yes: bool, as_json: bool) -> None:
    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.partitions import current_name
    from steam_assets.defs.recut import check_idle, recut
    from steam_assets.terminal import recut_lines, recut_question

    if not names:
        raise click.UsageError("--recut needs a COLUMN.")
    if not yes and not sys.stdin.isatty():
        raise SteamAssetsError("A new cut is asked about, and nobody is there. Repeat with --yes.")
    tables = {column.qualified_table: column for column in chosen_columns(names)}
    done = []
    with open_instance() as instance, closing(connect()) as conn:
        for column in tables.values():
            check_idle(instance, column)
            if not yes and not click.confirm(recut_question(column, current_name(instance, column))):
                click.echo("Nothing was changed.", err=True)
                sys.exit(EXIT_INCOMPLETE)
            done.append(recut(instance, conn, column))
    click.echo(json.dumps([asdict(cut) for cut in done]) if as_json else recut_lines(done))

"""`steam-assets export`, and the vectors of `load`. The other verbs are in cli.py."""

# Heavy imports are inside the verbs, so that --help answers at once.
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from steam_assets.cli_progress import progress_bar, say_aside
from steam_assets.columns import find_column
from steam_assets.errors import EXIT_INCOMPLETE
from steam_assets.options import Verb, columns_argument, columns_to_read, connect, database_option, json_option

if TYPE_CHECKING:
    from steam_assets.encoder.encoder import Encoder
    from steam_assets.encoder.models import Model
    from steam_assets.exports.export import ExportReport
    from steam_assets.exports.importing import ImportReport
    from steam_assets.exports.manifest import Format


@click.command()
@database_option
@columns_argument
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("parquet", "npy")),
    default="parquet",
    show_default=True,
    help="npy: float32 rows, and a CSV of ids beside them.",
)
@click.option("--target", is_flag=True, help="The run that the column is being filled with, not the one searches read.")
@click.option("--resume", is_flag=True, help="Go on with an export that was interrupted.")
@click.option("--force", is_flag=True, help="Replace an export that is in DIRECTORY.")
@json_option
def export(
    columns: Sequence[str],
    directory: Path,
    file_format: "Format",
    target: bool,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write vectors of COLUMNs (by default those that searches read) into DIRECTORY, with their ids and recipe.

    They are of one run, the one that searches read. A column's export is complete when COLUMN.json is there.
    """
    from steam_assets.exports.export import export_column
    from steam_assets.targets import run_to_search, target_run

    if resume and force:
        raise click.UsageError("--resume keeps what is there and --force replaces it. Leave out one of them.")
    done = []
    with closing(connect()) as conn:
        conn.autocommit = True
        for column in columns_to_read(conn, columns):
            run = target_run(conn, column) if target else run_to_search(conn, column).run
            with progress_bar(f"Exporting {column}", " rows") as progress:
                done.append(
                    export_column(conn, column, run, directory, file_format, progress, resume=resume, force=force)
                )
    if as_json:
        click.echo(json.dumps([asdict(report) for report in done]))
        return
    for report in done:
        for line in _export_lines(report, directory):
            click.echo(line)


def vectors_options(verb: Verb) -> Verb:
    """What `steam-assets load --vectors` takes."""
    for option in (
        click.option("--column", metavar="COLUMN", help="Whose vectors they are, where the file does not say."),
        click.option(
            "--ids",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A CSV with the id of each row of a .npy file. [default: NAME_ids.csv]",
        ),
        click.option(
            "--vectors",
            type=click.Path(exists=True, path_type=Path),
            help="A directory with an export, its COLUMN.json, a .parquet or a .npy file.",
        ),
    ):
        verb = option(verb)
    return verb


def load_vectors(
    path: Path, ids: Path | None, column: str | None, load: "Callable[[Model], Encoder]", as_json: bool
) -> None:
    """What `steam-assets load --vectors` does."""
    from steam_assets.exports.importing import import_vectors
    from steam_assets.exports.vector_files import open_vectors
    from steam_assets.upkeep import FillOptions

    file = open_vectors(path, ids)
    if column is None and file.origin is None:
        raise click.UsageError(f"{file.label} does not say whose vectors it holds. Say it with --column COLUMN.")
    chosen = find_column(column or (file.origin.column if file.origin is not None else ""))
    with progress_bar(f"Loading {file.label}", " rows") as told:
        done = 0

        def progress(rows: int) -> None:
            nonlocal done
            done += rows
            told(done, file.rows)

        drop_index = FillOptions.from_environment().drop_index
        report = import_vectors(connect, chosen, file, load, progress, drop_index, say_aside)
    click.echo(json.dumps(asdict(report)) if as_json else "\n".join(_import_lines(report)))
    if report.changed or report.unknown:
        sys.exit(EXIT_INCOMPLETE)


def _export_lines(report: "ExportReport", directory: Path) -> Iterator[str]:
    kept = f" ({report.kept_rows:,} of them before)" if report.kept_rows else ""
    yield (
        f"{report.column}: {report.rows:,} vectors{kept} of run {report.run_id} ({report.model_name}), "
        f"{report.bytes / 1e6:,.1f} MB, in {report.seconds:.1f} s: {directory / report.files[-1]}"
    )
    if report.other_runs:
        yield f"  {report.other_runs:,} rows have a vector of another run and were left out."
    if report.without_vector:
        yield f"  {report.without_vector:,} rows have no vector."
    if report.written_meanwhile:
        yield (
            f"  {report.written_meanwhile:,} rows got their vector behind the export while it went on, and are not in "
            "it. Export again with --force to have them."
        )


def _import_lines(report: "ImportReport") -> Iterator[str]:
    yield (
        f"{report.file}: {report.written:,} of {report.rows:,} vectors are in {report.column} now, as run "
        f"{report.run_id} ({report.model_name}); {report.embedded:,} rows had theirs already."
    )
    if report.lowest_cosine is not None:
        yield f"  {report.sampled:,} rows were encoded again: the lowest cosine is {report.lowest_cosine:.6f}."
    if report.changed:
        yield f"  {report.changed:,} rows have another text by now: `steam-assets embed {report.column}` encodes them."
    if report.blank:
        yield f"  {report.blank:,} rows have no text by now."
    if report.unknown:
        yield f"  {report.unknown:,} ids are not in the table: `steam-assets load` their rows first."

"""`steam-assets index`: build, drop and list indexes on vectors. Which to build is cli_variants.py's."""

# Heavy imports are inside the verbs, so that --help answers at once.
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from steam_assets.cli_progress import say_aside
from steam_assets.cli_variants import measure, recommend
from steam_assets.columns import TextColumn, find_column
from steam_assets.errors import EXIT_INCOMPLETE, EXIT_USAGE, SteamAssetsError
from steam_assets.options import chosen_columns, columns_argument, connect, database_option, json_option, recall_option

if TYPE_CHECKING:
    from psycopg2.extensions import connection

    from steam_assets.indexes.listing import ListedIndex

IMPOSSIBLE = ("IndexImpossible", "IndexBeingBuilt", SteamAssetsError.__name__)
"""Errors of a run that no later run would do without; others have to do with the state of the rows or the server."""

variant_option = click.option("--variant", metavar="NAME", help="vector, halfvec, bit, pca or truncated.")


@click.group()
def index() -> None:
    """HNSW indexes on the vectors: build, drop, list, measure, recommend."""


index.add_command(measure)
index.add_command(recommend)


@index.command()
@database_option
@columns_argument
@variant_option
@click.option("--m", type=click.IntRange(2, 100), metavar="N", help="Neighbours of a row in the graph. [default: 16]")
@click.option("--ef-construction", type=click.IntRange(4, 1000), metavar="N", help="Candidates of each. [default: 64]")
@recall_option
@json_option
def build(
    columns: Sequence[str],
    variant: str | None,
    m: int | None,
    ef_construction: int | None,
    recall: float | None,
    as_json: bool,
) -> None:
    """Build the index of COLUMNs (all of them by default) through the same assets as the web UI, and measure it.

    Searches go on meanwhile with the index that is there. What is not said is as it was when the index was last built.
    """
    from steam_assets.definitions import build_definitions
    from steam_assets.defs.indexes import index_job_name, run_index
    from steam_assets.defs.instance import open_instance
    from steam_assets.defs.lost_runs import fail_lost_runs
    from steam_assets.exits import raise_if_interrupted
    from steam_assets.indexes.build import Wanted, check_possible, resolve
    from steam_assets.indexes.judge import judge_index
    from steam_assets.targets import target_run

    chosen = chosen_columns(columns)
    wanted = Wanted(variant, m, ef_construction, recall)
    with closing(connect()) as conn:
        conn.autocommit = True
        for column in chosen:
            run = target_run(conn, column)
            check_possible(conn, column, run, resolve(conn, column, wanted)[0])
    code = 0
    with open_instance() as instance, _bar():
        fail_lost_runs(instance, connect)
        definitions = build_definitions(chosen)
        for column in chosen:
            outcome = run_index(instance, definitions.resolve_job_def(index_job_name(column)), column, wanted)
            raise_if_interrupted()
            for name, message in outcome.errors:
                click.echo(message.partition(f"{name}: ")[2] or message, err=True)
            if outcome.is_red and not outcome.errors:
                with closing(connect()) as conn:
                    click.echo(judge_index(conn, column).said, err=True)
            impossible = any(name in IMPOSSIBLE for name, _ in outcome.errors)
            code = max(code, EXIT_USAGE if impossible else EXIT_INCOMPLETE if outcome.errors or outcome.is_red else 0)
    _tell(chosen, as_json)
    sys.exit(code)


@index.command()
@database_option
@click.argument("column")
@variant_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(column: str, variant: str | None, yes: bool) -> None:
    """Drop the index of COLUMN that we built; searches then compare every row."""
    from steam_assets.indexes.build import Wanted, resolve
    from steam_assets.store.hnsw import index_name, index_records
    from steam_assets.store.hnsw_drop import drop_index

    chosen = find_column(column)
    with closing(connect()) as conn:
        conn.autocommit = True
        _require_schema(conn)
        found, _ = resolve(conn, chosen, Wanted(variant))
        name = index_name(chosen, found)
        if not yes and not sys.stdin.isatty():
            raise SteamAssetsError("Dropping an index is asked about, and nobody is there. Repeat with --yes.")
        if not yes and not click.confirm(f"Drop {name}? Searches of {chosen} then compare every row."):
            click.echo("Nothing was dropped.", err=True)
            sys.exit(EXIT_INCOMPLETE)
        if not drop_index(conn, chosen, found):
            raise SteamAssetsError(f"{chosen} has no index {name}. `steam-assets index list` shows what there is.")
        is_last = not index_records(conn, chosen)
    click.echo(f"{name} is dropped.")
    if is_last:
        from steam_assets.defs.indexes import index_key

        sensor = f"{'_'.join(index_key(chosen).path)}_wanted"
        click.echo(f"The sensor {sensor} would have one built again: turn it off in the web UI, where it is on.")


@index.command(name="list")
@database_option
@columns_argument
@json_option
def list_(columns: Sequence[str], as_json: bool) -> None:
    """Every index on the vectors of COLUMNs (all of them by default), and whether searches go through it.

    What a killed build has left behind is dropped.
    """
    _tell(chosen_columns(columns), as_json)


def _tell(columns: Sequence[TextColumn], as_json: bool) -> None:
    from steam_assets.indexes.listing import clear_leftovers, list_indexes

    listed = []
    with closing(connect()) as conn:
        conn.autocommit = True
        _require_schema(conn)
        for column in columns:
            for name in clear_leftovers(conn, column):
                click.echo(f"{name}, which a killed build had left, is dropped.", err=True)
            listed += list_indexes(conn, column)
    click.echo(json.dumps([asdict(one) for one in listed]) if as_json else _lines(listed))


def _require_schema(conn: "connection") -> None:
    from steam_assets.store.status import is_initialised

    if not is_initialised(conn):
        raise SteamAssetsError("There are no tables of steam-assets here yet. Run `steam-assets init`.")


def _lines(listed: Sequence["ListedIndex"]) -> str:
    from steam_assets.terminal import duration, table

    if not listed:
        return "There is no index on vectors; searches compare every row. Build one: `steam-assets index build`."
    header = ("column", "index", "run", "recall@10", "ef_search", "rows", "MB", "built in", "state")
    rows = [
        (
            *(one.column, one.variant or one.name, one.run_id or "", "" if one.recall is None else f"{one.recall:.4f}"),
            *(one.ef_search or "", "" if one.rows is None else one.rows, _megabytes(one.bytes)),
            *("" if one.seconds is None else duration(one.seconds), one.state),
        )
        for one in listed
    ]
    lost = [f"{one.name}: {one.definition}" for one in listed if one.definition and one.bytes is None]
    return "\n".join([table(header, rows, left=2), *(["Dropped, to be built again by hand:", *lost] if lost else [])])


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f}"


@contextmanager
def _bar() -> Iterator[None]:
    """How far builds are: a bar on a terminal, a line every ten seconds elsewhere."""
    from tqdm import tqdm

    from steam_assets.indexes.build_progress import progress_line, watching_builds
    from steam_assets.progress import now_and_then
    from steam_assets.store.hnsw_create import BuildProgress

    on_terminal = sys.stderr.isatty()
    say = now_and_then(say_aside)
    with tqdm(unit=" rows", desc="Indexing", disable=not on_terminal, dynamic_ncols=True) as bar:

        def on_progress(progress: BuildProgress) -> None:
            if not on_terminal:
                say(progress_line(progress))
                return
            bar.total = progress.total
            bar.set_description_str(f"{progress.column}: {progress.phase}", refresh=False)
            bar.set_postfix_str("" if progress.waits_for is None else progress_line(progress), refresh=False)
            bar.update(progress.rows - bar.n)

        with watching_builds(on_progress):
            yield

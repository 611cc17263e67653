"""The main job once, from nothing to a search: `steam-assets demo`. Each step is a verb of its own elsewhere."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS
from steam_assets.defs.instance import open_instance
from steam_assets.defs.loads import load_and_report
from steam_assets.defs.resources import GpuResource
from steam_assets.embed import embed_columns
from steam_assets.encoder.models import DEMO_MODEL
from steam_assets.errors import SteamAssetsError
from steam_assets.initialise import initialise
from steam_assets.sample import write_sample
from steam_assets.search import Searcher
from steam_assets.search.lines import search_lines
from steam_assets.settings import make_home, setting
from steam_assets.store.demo_mark import foreign_tables, mark_tables
from steam_assets.store.files import find_files
from steam_assets.store.status import column_status
from steam_assets.terminal import load_bar, load_lines, status_table

SEARCHES = (
    "cozy farming game with friends",
    "scary game in an abandoned hospital",
    "build railways and manage trains",
)
HITS = 3


def run_demo(
    connect: Callable[[], connection], data: Sequence[Path], gpu: GpuResource, say: Callable[[str], None]
) -> bool:
    """Schema, data, ranges, vectors, checks, coverage and three searches; whether every check is green.

    Raises SteamAssetsError when the tables are there and were not made by a demo.
    """
    with closing(connect()) as conn:
        foreign = foreign_tables(conn, COLUMNS)
        if foreign:
            raise SteamAssetsError(
                f"{', '.join(foreign)} is there and was not made by `demo`, which would write into it. "
                "Use `steam-assets load` and `steam-assets embed`, or set STEAM_ASSETS_HOME to an empty directory."
            )
        with conn:
            done = initialise(conn, COLUMNS, setting("STEAM_ASSETS_MODEL") or DEMO_MODEL)
            mark_tables(conn, COLUMNS)
        say(f"1. Schema: {len(done.plan.statements)} statements; model {done.model_name}.")
        paths = list(data) or write_sample(make_home("sample"))
        with open_instance() as instance, load_bar() as progress:
            reports = load_and_report(instance, conn, find_files(paths), COLUMNS, progress)
        say(f"2. Data:\n{load_lines(reports)}")
    outcome = embed_columns(COLUMNS, connect, gpu, None, say)
    with closing(connect()) as conn:
        statuses = [status for column in COLUMNS if (status := column_status(conn, column))]
        say(f"3. Vectors: {outcome.rows:,} rows encoded.\n{status_table(statuses)}")
    searcher = Searcher(connect, gpu.encoder)
    for text in SEARCHES:
        for found in searcher.search(text, k=HITS):
            say(f'4. "{text}" in {found.column}\n{search_lines(found)}')
    problems = [
        *outcome.errors,
        *(f"red check: {name}" for name in outcome.red_checks),
        *(f"{report.rejected:,} rows of {report.file} were rejected" for report in reports if report.rejected),
    ]
    say("5. Checks: " + ("all green." if not problems else "\n".join(problems)))
    return not problems

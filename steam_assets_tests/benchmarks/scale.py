"""The same work on ten thousand, a hundred thousand and a million rows: what a row costs must not grow with them.

`python -m steam_assets_tests.benchmarks.scale --json scale.json --plot scale.png`
"""

import argparse
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
from psycopg2 import sql

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.encoder.models import DEMO_MODEL, find_model
from steam_assets.store.missing_index import has_missing_index
from steam_assets.store.read import has_missing, read_pending
from steam_assets.store.states import names
from steam_assets.store.status import column_status
from steam_assets.targets import target_run
from steam_assets_tests.benchmarks.corpus import REAL_ROWS, read_corpora
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.platform import Platform, platform
from steam_assets_tests.benchmarks.plots import plot_scale, require_matplotlib
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table

MODULE = "steam_assets_tests.benchmarks.scale"
SIZES = (10_000, 100_000, 1_000_000)
LOOK_EVERY_S = 0.05
PROBES = 5
MOST_GROWTH = 1.25
MOST_MEMORY_BYTES = 1_000_000_000
MOST_NO_OP_S = 10.0
MOST_PROBE_MS = 50.0
HEADER = (
    "rows",
    "read us/row",
    "fill us/row",
    "embed us/row",
    "status us/row",
    "no-op s",
    "no-op us/row",
    "probe ms",
    "memory MB",
)

ADD_ROW = sql.SQL("INSERT INTO {table} ({id}, appid, {text}) VALUES ('99999999999', 10, 'a new review')").format(
    **names(REVIEWS)
)
DELETE_ROW = sql.SQL("DELETE FROM {table} WHERE {id} = '99999999999'").format(**names(REVIEWS))


@dataclass(frozen=True)
class ScaleRow:
    """One size of both tables together: seconds of each work, and the most memory of the client beyond its start.

    ``embed_s`` and ``no_op_s`` are of the whole platform with an encoder of hashes, Dagster and checks included;
    ``fill_s`` is what its ranges recorded from their first read to their last commit. ``probe_ms`` is looking for new
    rows, with one there and with none.
    """

    name: str
    rows: int
    read_s: float
    embed_s: float
    fill_s: float
    status_s: float
    no_op_s: float
    probe_ms: float
    memory_bytes: int
    partial_index: bool

    def us_per_row(self, seconds: float) -> float:
        """Microseconds of a row."""
        return 1e6 * seconds / self.rows


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """The most resident memory of this process so far, beyond what it had at the start."""
    process = psutil.Process()
    start = peak = process.memory_info().rss
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(LOOK_EVERY_S):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak - start
    finally:
        ended.set()
        thread.join()


def seconds_of(work: Callable[[], object]) -> float:
    """By the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(texts: Mapping[str, Sequence[str]], rows: int) -> ScaleRow:
    """Everything on a platform of this size."""
    with platform(texts, rows) as here:
        with peak_memory() as memory:
            read_s = seconds_of(lambda: read_everything(here))
            embed_s = here.embed()
            fill_s = filling(here)
            vacuum(here)
            status_s = seconds_of(lambda: statuses(here))
            no_op_s = here.embed()
            memory_bytes = memory()
        with closing(here.connect()) as conn:
            run_id = target_run(conn, REVIEWS).run_id
            indexed = has_missing_index(conn, REVIEWS)
            with conn, conn.cursor() as cursor:
                cursor.execute(ADD_ROW)
            probe_s = median(seconds_of(lambda: has_missing(conn, REVIEWS, run_id)) for _ in range(PROBES))
            with conn, conn.cursor() as cursor:
                cursor.execute(DELETE_ROW)
            probe_s = max(probe_s, seconds_of(lambda: has_missing(conn, REVIEWS, run_id)))
    return ScaleRow("ours", rows, read_s, embed_s, fill_s, status_s, no_op_s, 1e3 * probe_s, memory_bytes, indexed)


def filling(here: Platform) -> float:
    """Seconds of all ranges, as their records have them."""
    with closing(here.connect()) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT sum(seconds) FROM embedding_run_ranges")
        ((seconds,),) = cursor.fetchall()
    return float(seconds)


def read_everything(here: Platform) -> None:
    """Every pending row's text."""
    with closing(here.connect()) as conn:
        conn.autocommit = True
        for column in COLUMNS:
            for _page in read_pending(conn, column, target_run(conn, column).run_id):
                pass


def statuses(here: Platform) -> None:
    """What `steam-assets status` counts."""
    with closing(here.connect()) as conn:
        for column in COLUMNS:
            column_status(conn, column)


def vacuum(here: Platform) -> None:
    """As autovacuum does some time after."""
    with closing(here.connect()) as conn:
        conn.autocommit = True
        with conn.cursor() as cursor:
            for column in (APPLICATIONS, REVIEWS):
                cursor.execute(sql.SQL("VACUUM ANALYZE {table}").format(**names(column)))


def targets(rows: Sequence[ScaleRow]) -> Iterator[Target]:
    """What was promised: flat cost, little memory, and quick answers at a million rows."""
    place, corpus = "2 cores", "both tables"
    first, last = rows[0], rows[-1]
    size = f"{last.rows:,} rows"
    yield compared(place, corpus, f"no-op re-run of {size} <= {MOST_NO_OP_S:g} s", last.no_op_s, most=MOST_NO_OP_S)
    yield compared(place, corpus, f"new-row probe in {size} <= {MOST_PROBE_MS:g} ms", last.probe_ms, most=MOST_PROBE_MS)
    yield compared(place, corpus, f"memory of {size} < 1 GB", last.memory_bytes / 1e9, most=MOST_MEMORY_BYTES / 1e9)
    # Not of embed: a run's fixed seconds are most of ten thousand rows', and would flatter a million.
    for name in ("read", "fill", "status") if last.rows > first.rows else ():
        growth = last.us_per_row(getattr(last, f"{name}_s")) / first.us_per_row(getattr(first, f"{name}_s"))
        what = f"{name} of a row, {last.rows:,} beside {first.rows:,} <= {MOST_GROWTH:g}x"
        yield compared(place, corpus, what, growth, most=MOST_GROWTH)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size, print the table and what came of the targets, write the JSON and the plot."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(given)
    if options.plot is not None:
        require_matplotlib()
    machine = describe_machine("cpu")
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    find_model(DEMO_MODEL)
    texts = {
        corpus.name: corpus.stored for corpus in read_corpora((REVIEWS.table, APPLICATIONS.table), data=options.data)
    }
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    rows = []
    for size in options.rows:
        rows.append(measure(texts, size))
        print(f"{size:,} rows: {replace(rows[-1])}", file=sys.stderr, flush=True)
    print()
    print(markdown_table(HEADER, [_cells(row) for row in rows]))
    print(f"\n{targets_table(list(targets(rows)))}")
    if options.json is not None:
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}", rows, {})
    if options.plot is not None:
        plot_scale(options.plot, rows)


def _cells(row: ScaleRow) -> list[str]:
    return [
        f"{row.rows:,}",
        *(f"{row.us_per_row(seconds):.1f}" for seconds in (row.read_s, row.fill_s, row.embed_s, row.status_s)),
        f"{row.no_op_s:.2f}",
        f"{row.us_per_row(row.no_op_s):.1f}",
        f"{row.probe_ms:.2f}",
        f"{row.memory_bytes / 1e6:,.0f}",
    ]


if __name__ == "__main__":
    main()

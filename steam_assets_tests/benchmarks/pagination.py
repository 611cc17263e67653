"""Paging: OFFSET beside keyset, by page and by size of table, what OFFSET leaves out, and what a resume costs.

`python -m steam_assets_tests.benchmarks.pagination --json pagination.json --plot pagination.png`
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.embeddings import Embeddings, EncodedBatch, SourceTexts
from steam_assets.id_range import EVERYTHING
from steam_assets.store.missing_index import missing
from steam_assets.store.read import PAGE_ROWS, read_pending
from steam_assets.store.states import names
from steam_assets.store.write import write_batches
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.page_tables import (
    PAGES,
    VECTOR,
    count_missing,
    embed_these,
    make_pages,
    vacuum,
)
from steam_assets_tests.benchmarks.plots import plot_pages, require_matplotlib
from steam_assets_tests.benchmarks.report import markdown_table, shown, write_rows
from steam_assets_tests.benchmarks.resumes import ResumeRow, measure_resumes, resumes_table
from steam_assets_tests.benchmarks.scratch import scratch_database, server_settings

MODULE = "steam_assets_tests.benchmarks.pagination"
SIZES = (10_000, 100_000, 1_000_000)
LEAST_PAGE_ROWS = 1_000
PAGES_OF_A_TABLE = 100
"""At most, of OFFSET and keyset: OFFSET's work grows with the square, and a million rows are 50 million steps then."""
PASSES = 3
PASSES_S = 5.0
"""A way whose first pass takes longer has that one only."""
FILLED_ROWS = 100_000
"""A larger table is filled by OFFSET only: keyset and ours are to leave out nothing of any."""
OFFSET = sql.SQL("SELECT {id}, {text} FROM {table} WHERE {missing} ORDER BY {id} LIMIT {rows} OFFSET {skip}")
KEYSET = sql.SQL("SELECT {id}, {text} FROM {table} WHERE {missing} AND {id} > {after} ORDER BY {id} LIMIT {rows}")

Page = list[str]
Way = Callable[[connection, int, int], Iterator[Page]]


@dataclass(frozen=True)
class PageRow:
    """A pass over a table of pending rows in one way; ``left_out`` are those without a vector after a fill."""

    name: str
    table_rows: int
    page_rows: int
    ratio_to_predecessor: float
    first_ms: float
    middle_ms: float
    last_ms: float
    pass_s: float
    passes: int
    left_out: int | None
    pages_ms: Sequence[float]


def by_offset(conn: connection, _run_id: int, page_rows: int) -> Iterator[Page]:
    """As the predecessor's generator paged: the next rows are counted from the start each time."""
    skip = 0
    while page := _fetch(conn, OFFSET, rows=page_rows, skip=skip):
        yield page
        skip += page_rows


def by_keyset(conn: connection, _run_id: int, page_rows: int) -> Iterator[Page]:
    """The next rows are those behind the last id."""
    after = ""
    while page := _fetch(conn, KEYSET, rows=page_rows, after=after):
        yield page
        after = page[-1]


def ours(conn: connection, run_id: int, _page_rows: int) -> Iterator[Page]:
    """The product's reader, whose pages bring the server's digest of each text, and the row's version."""
    for page in read_pending(conn, PAGES, run_id):
        yield [str(id_) for id_ in page.ids]


WAYS: dict[str, Way] = {"predecessor": by_offset, "keyset": by_keyset, "ours, read_pending": ours}


def _fetch(conn: connection, statement: sql.SQL, **values: object) -> Page:
    bound = {name: sql.Literal(value) for name, value in values.items()}
    with conn.cursor() as cursor:
        cursor.execute(statement.format(**names(PAGES), missing=missing(PAGES), **bound))
        return [row[0] for row in cursor.fetchall()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size of table, print two tables, write the JSON and the plot."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    if options.plot is not None:
        require_matplotlib()
    machine = describe_machine(None)
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    rows: list[PageRow] = []
    resumes: list[ResumeRow] = []
    with scratch_database() as connect, closing(connect()) as conn:
        conn.autocommit = True
        for size in options.rows:
            rows += measure_passes(conn, size)
            resumes += measure_resumes(conn, size)
        server = server_settings(conn)
    print(f"\n{pages_table(rows)}\n\n{resumes_table(resumes)}")
    if options.json is not None:
        others = {"server": server, "resume": [asdict(row) for row in resumes]}
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}".strip(), rows, others)
    if options.plot is not None:
        plot_pages(options.plot, rows)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", nargs="+", type=int, default=SIZES, help="of each table")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, metavar="PNG")
    return parser.parse_args(arguments)


def measure_passes(conn: connection, size: int) -> list[PageRow]:
    """Each way over a table where everything is pending; then a fill in each way, counted."""
    run_id = make_pages(conn, size)
    page_rows = max(LEAST_PAGE_ROWS, size // PAGES_OF_A_TABLE)
    found = [_pass(conn, name, way, run_id, page_rows, size) for name, way in WAYS.items()]
    for row in found:
        print(f"{size:,} rows, {row.name}: {row.pass_s:.2f} s", file=sys.stderr, flush=True)
    missed = {name: left_out(conn, name, run_id, page_rows, size) for name in WAYS}
    return [replace(row, ratio_to_predecessor=found[0].pass_s / row.pass_s, left_out=missed[row.name]) for row in found]


def _pass(conn: connection, name: str, way: Way, run_id: int, page_rows: int, size: int) -> PageRow:
    passes: list[list[float]] = []
    while len(passes) < PASSES and sum(map(sum, passes)) < PASSES_S:
        times: list[float] = []
        seen = 0
        started = time.perf_counter()
        for page in way(conn, run_id, page_rows):
            times.append(time.perf_counter() - started)
            seen += len(page)
            started = time.perf_counter()
        if seen != size:
            raise RuntimeError(f"{name}: {seen:,} rows were read of {size:,}.")
        passes.append(times)
    pages = [1e3 * median(times) for times in zip(*passes, strict=True)]
    return PageRow(
        name,
        size,
        PAGE_ROWS if way is ours else page_rows,
        ratio_to_predecessor=1.0,
        first_ms=pages[0],
        middle_ms=pages[len(pages) // 2],
        last_ms=pages[-1],
        pass_s=median(map(sum, passes)),
        passes=len(passes),
        left_out=None,
        pages_ms=[round(page, 3) for page in pages],
    )


def left_out(conn: connection, name: str, run_id: int, page_rows: int, size: int) -> int | None:
    """Fill the table page by page while paging through it, really; rows that are without a vector afterwards."""
    if size > FILLED_ROWS and WAYS[name] is not by_offset:
        return None
    if WAYS[name] is ours:
        write_batches(conn, PAGES, run_id, EVERYTHING, map(_encoded, read_pending(conn, PAGES, run_id)))
        return count_missing(conn)
    conn.autocommit = False
    for page in WAYS[name](conn, run_id, page_rows):
        embed_these(conn, run_id, page)
    waiting = count_missing(conn)
    conn.rollback()
    conn.autocommit = True
    vacuum(conn)
    return waiting


def _encoded(page: SourceTexts) -> EncodedBatch:
    vectors = np.tile(np.array(VECTOR, dtype=np.float32), (len(page), 1))
    return EncodedBatch(Embeddings(page.ids, page.row_versions, page.source_md5, vectors))


def pages_table(rows: Sequence[PageRow]) -> str:
    """A line for each size and way."""
    header = ("rows", "", "rows a page", "first ms", "middle ms", "last ms", "pass s", "x", "left out")
    return markdown_table(
        header,
        [
            (
                f"{row.table_rows:,}",
                row.name,
                f"{row.page_rows:,}",
                f"{row.first_ms:,.1f}",
                f"{row.middle_ms:,.1f}",
                f"{row.last_ms:,.1f}",
                f"{row.pass_s:,.2f}",
                f"{row.ratio_to_predecessor:.2f}",
                shown(row.left_out, ",d"),
            )
            for row in rows
        ],
        left=2,
    )


if __name__ == "__main__":
    main()

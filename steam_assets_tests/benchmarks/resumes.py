"""What it costs to find the rows that are left of a table that is nearly done; a part of pagination.py."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.store.missing_index import has_missing_index, missing
from steam_assets.store.read import PAGE_ROWS, has_pending, read_pending
from steam_assets.store.states import names
from steam_assets_tests.benchmarks.page_tables import PAGES, count_missing, embed_all_but, make_pages, missing_index
from steam_assets_tests.benchmarks.report import markdown_table

DONE = {"95 %": 20, "99.99 %": 10_000, "100 %": 10**9}
"""What a resume finds done, and which rows are left: every so many."""
PROBES = 3

PROBE = sql.SQL("SELECT {id} FROM {table} WHERE {missing} ORDER BY {id} LIMIT {rows}")


@dataclass(frozen=True)
class ResumeRow:
    """What it costs to find what is left; ``done`` is the share of rows that are embedded."""

    table_rows: int
    done: str
    pending: int
    partial_index: bool
    first_page_ms: float
    has_pending_ms: float
    pass_s: float


def measure_resumes(conn: connection, size: int) -> Iterator[ResumeRow]:
    """Finding what is left of a table that is nearly done, without the partial index and with it."""
    run_id = make_pages(conn, size, DONE["95 %"])
    for done, every in DONE.items():
        embed_all_but(conn, run_id, every)
        for with_index in (False, True):
            with missing_index(conn) if with_index else nullcontext():
                yield _resume(conn, run_id, size, done)


def _resume(conn: connection, run_id: int, size: int, done: str) -> ResumeRow:
    probe = PROBE.format(**names(PAGES), missing=missing(PAGES), rows=sql.Literal(PAGE_ROWS))
    with conn.cursor() as cursor:
        first_page_s = median(_seconds(lambda: cursor.execute(probe)) for _ in range(PROBES))
    return ResumeRow(
        size,
        done,
        pending=count_missing(conn),
        partial_index=has_missing_index(conn, PAGES),
        first_page_ms=1e3 * first_page_s,
        has_pending_ms=1e3 * _seconds(lambda: has_pending(conn, PAGES, run_id)),
        pass_s=_seconds(lambda: list(read_pending(conn, PAGES, run_id))),
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def resumes_table(rows: Sequence[ResumeRow]) -> str:
    """A line for each size, state and index."""
    header = ("rows", "done", "partial index", "pending", "first page ms", "has_pending ms", "read_pending s")
    return markdown_table(
        header,
        [
            (
                f"{row.table_rows:,}",
                row.done,
                "yes" if row.partial_index else "no",
                f"{row.pending:,}",
                f"{row.first_page_ms:,.2f}",
                f"{row.has_pending_ms:,.2f}",
                f"{row.pass_s:,.3f}",
            )
            for row in rows
        ],
        left=3,
    )

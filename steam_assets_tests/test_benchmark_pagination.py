"""The benchmark of paging: OFFSET really leaves rows out, keyset and ours do not, and resumes find what is left."""

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.store.database import connect, find_database
from steam_assets.store.missing_index import has_missing_index
from steam_assets.store.read import FIRST_PAGE_ROWS
from steam_assets.store.states import range_state
from steam_assets_tests.benchmarks import pagination, resumes
from steam_assets_tests.benchmarks.page_tables import (
    DIMENSION,
    PAGES,
    count_missing,
    embed_all_but,
    embed_these,
    make_pages,
    missing_index,
)
from steam_assets_tests.benchmarks.pagination import WAYS

ROWS = 650
PAGE = 200
MOST_PLOT_BYTES = 60_000


@pytest.fixture
def conn(empty_database_url: str) -> Iterator[connection]:
    """A connection in autocommit to an empty database."""
    with closing(connect(find_database(empty_database_url))) as opened:
        opened.autocommit = True
        yield opened


def in_order(conn: connection) -> list[str]:
    """All ids in the table's own order."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT id FROM pages ORDER BY id")
        return [id_ for (id_,) in cursor]


@pytest.mark.parametrize("name", WAYS)
def test_every_way_yields_each_row_once_and_in_order_while_nothing_changes(conn: connection, name: str) -> None:
    """Pages of 200 of 650 rows, ours of more after the first; the ids are numbers, and their order is that of text."""
    run_id = make_pages(conn, ROWS)
    pages = list(WAYS[name](conn, run_id, PAGE))
    assert list(chain(*pages)) == in_order(conn)
    assert in_order(conn) != sorted(in_order(conn), key=int)
    of_ours = [FIRST_PAGE_ROWS, ROWS - FIRST_PAGE_ROWS]
    assert [len(page) for page in pages] == (of_ours if name.startswith("ours") else [200, 200, 200, 50])


@pytest.mark.parametrize(("name", "left_out"), [("predecessor", 250), ("keyset", 0)])
def test_offset_leaves_out_a_page_for_each_that_it_fills(conn: connection, name: str, left_out: int) -> None:
    """The second page is looked for behind 200 of the 450 that still wait, the third behind 400 of 250: it is empty."""
    run_id = make_pages(conn, ROWS)
    for page in WAYS[name](conn, run_id, PAGE):
        embed_these(conn, run_id, page)
    assert count_missing(conn) == left_out


def test_counting_what_is_left_out_leaves_the_table_as_it_was(conn: connection) -> None:
    """The fills of OFFSET and keyset are undone, so that the next one begins with the same rows."""
    run_id = make_pages(conn, ROWS)
    assert pagination.left_out(conn, "predecessor", run_id, PAGE, ROWS) == 250
    assert count_missing(conn) == ROWS
    assert pagination.left_out(conn, "keyset", run_id, PAGE, ROWS) == 0
    assert count_missing(conn) == ROWS
    assert pagination.left_out(conn, "ours, read_pending", run_id, PAGE, ROWS) == 0
    assert count_missing(conn) == 0


def test_a_table_that_is_nearly_done_has_valid_vectors_and_every_so_many_rows_left(conn: connection) -> None:
    """The product itself finds the same rows missing, and nothing stale among the others."""
    run_id = make_pages(conn, ROWS, every=20)
    state = range_state(conn, PAGES, run_id, DIMENSION)
    assert (state.missing, state.embedded, state.total) == (ROWS // 20, ROWS - ROWS // 20, ROWS)
    embed_all_but(conn, run_id, every=100)
    assert count_missing(conn) == ROWS // 100
    embed_all_but(conn, run_id, every=10**9)
    state = range_state(conn, PAGES, run_id, DIMENSION)
    assert (state.embedded, {rule for rule, found in state.offences.items() if found.rows}) == (ROWS, set())


def test_the_partial_index_is_there_for_the_rows_that_it_is_said_to_be(conn: connection) -> None:
    """The product's own index, complete; gone afterwards."""
    make_pages(conn, ROWS)
    assert not has_missing_index(conn, PAGES)
    with missing_index(conn):
        assert has_missing_index(conn, PAGES)
    assert not has_missing_index(conn, PAGES)


def test_a_resume_is_measured_without_the_index_and_with_it(conn: connection) -> None:
    """At three shares done, of the rows that are left then."""
    found = list(resumes.measure_resumes(conn, 20_000))
    assert [(row.done, row.partial_index, row.pending) for row in found] == [
        *(("95 %", False, 1_000), ("95 %", True, 1_000)),
        *(("99.99 %", False, 2), ("99.99 %", True, 2)),
        *(("100 %", False, 0), ("100 %", True, 0)),
    ]
    assert all(min(row.first_page_ms, row.has_pending_ms, row.pass_s) > 0 for row in found)


@pytest.mark.slow
def test_the_benchmark_of_paging_prints_its_tables_and_writes_json_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sizes of table on the server of this home; the plot is a small PNG."""
    pytest.importorskip("matplotlib")
    json_path, plot = tmp_path / "pagination.json", tmp_path / "plots" / "pagination.png"
    pagination.main(["--rows", "2000", "3000", "--json", str(json_path), "--plot", str(plot)])
    found = json.loads(json_path.read_text())
    printed = capsys.readouterr().out
    expected = [(rows, name) for rows in (2_000, 3_000) for name in ("predecessor", "keyset", "ours, read_pending")]
    assert [(row["table_rows"], row["name"]) for row in found["rows"]] == expected
    assert [row["left_out"] for row in found["rows"]] == [1_000, 0, 0, 1_000, 0, 0]
    for row in found["rows"]:
        assert [row["first_ms"], row["last_ms"]] == pytest.approx([row["pages_ms"][0], row["pages_ms"][-1]], abs=1e-3)
    assert len(found["resume"]) == 12
    assert found["server"]["fsync"] == "on"
    assert printed.count("ours, read_pending") == 2
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert plot.stat().st_size < MOST_PLOT_BYTES

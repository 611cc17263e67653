"""Reading pending rows: each exactly once, in short statements, whatever others do to the table meanwhile."""

from collections import Counter
from itertools import pairwise

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.columns import TextColumn
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store import read
from steam_assets.store.read import (
    Pending,
    RangeCounts,
    count_pending,
    count_pending_by_range,
    has_pending,
    read_pending,
    sample_rows,
)
from steam_assets_tests.rows import (
    ODD_IDS,
    add_rows,
    embed,
    execute,
    fetch,
    ids_of,
    read_all,
    set_text,
    tables_in_all_collations,
    target_of,
)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pages of 20 rows, so that a few rows make many."""
    monkeypatch.setattr(read, "PAGE_ROWS", 20)
    return 20


def test_every_pending_row_is_read_exactly_once_in_the_tables_order(
    conn: connection, numbered: TextColumn, small_pages: int
) -> None:
    """Blank, failed and embedded rows lie between them."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(-300, 300, 3)})
    embed(conn, numbered, IdRange(-30, 60))
    add_rows(conn, numbered, {n: f"text {n}" for n in range(-299, 300, 3)})
    add_rows(conn, numbered, dict.fromkeys(range(-298, 300, 3), " "))

    pages = read_all(conn, numbered)
    expected = [n for n in range(-300, 300) if n % 3 == 1 or (n % 3 == 0 and not -30 <= n < 60)]
    assert ids_of(pages) == expected
    assert [len(page) for page in pages[:-1]] == [small_pages] * (len(pages) - 1)
    assert all(text == f"text {id_}" for page in pages for id_, text in zip(page.ids, page.texts, strict=True))


@pytest.mark.parametrize("rows_in_a_page", [1, 3])
def test_odd_text_ids_are_read_in_the_order_of_their_collation(
    conn: connection, monkeypatch: pytest.MonkeyPatch, rows_in_a_page: int
) -> None:
    """Ids are compared by the server only: no collation makes a page begin twice or leave a row out."""
    monkeypatch.setattr(read, "PAGE_ROWS", rows_in_a_page)
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, dict.fromkeys(ODD_IDS, "text"))
        in_order = fetch(conn, sql.SQL("SELECT id FROM {} ORDER BY id").format(sql.Identifier(column.table)))
        assert ids_of(read_all(conn, column)) == [id_ for (id_,) in in_order]


def test_a_page_brings_the_version_and_digest_of_the_very_text(conn: connection, notes: TextColumn) -> None:
    """Both come from the statement that read it."""
    add_rows(conn, notes, {"a": "naïve 日本"})
    ((version, digest),) = fetch(conn, "SELECT xmin::text::bigint, decode(md5(body), 'hex') FROM notes")
    (page,) = read_all(conn, notes)
    assert isinstance(digest, memoryview)
    assert (page.texts, page.row_versions, page.source_md5) == (("naïve 日本",), (version,), [bytes(digest)])


def test_only_rows_of_the_range_are_read(conn: connection, numbered: TextColumn) -> None:
    """The start is in, the stop is not."""
    add_rows(conn, numbered, dict.fromkeys((1, 5, 9, 10), "text"))
    assert ids_of(read_all(conn, numbered, IdRange(5, 10))) == [5, 9]


def test_a_limit_is_kept_exactly(conn: connection, numbered: TextColumn, small_pages: int) -> None:
    """It counts pending rows, over all pages; the first ones are read."""
    add_rows(conn, numbered, dict.fromkeys(range(50), "text"))
    for limit in (0, 1, small_pages, 33, 1000):
        pages = list(read_pending(conn, numbered, target_of(conn, numbered), limit=limit))
        assert ids_of(pages) == list(range(min(limit, 50)))


def test_a_few_huge_texts_do_not_fill_the_memory(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends early at its limit of bytes; a text above it has a page of its own."""
    monkeypatch.setattr(read, "PAGE_BYTES", 1000)
    lengths = (10, 2000, 400, 400, 400, 10, 10, 990, 5000)
    add_rows(conn, numbered, {n: "é" * (length // 2) for n, length in enumerate(lengths)})
    pages = read_all(conn, numbered)
    assert ids_of(pages) == list(range(len(lengths)))
    assert [[len(text.encode()) for text in page.texts] for page in pages] == [
        [10],
        [2000],
        [400, 400],
        [400, 10, 10],
        [990],
        [5000],
    ]


def test_paging_with_offset_skips_half_the_rows_and_keyset_paging_none(
    conn: connection, numbered: TextColumn, small_pages: int
) -> None:
    """The predecessor's first method: the filter shrinks under its offset while it writes."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(200)})
    page = "SELECT id FROM numbered WHERE body_vector IS NULL ORDER BY id LIMIT 20 OFFSET %(offset)s"
    offset = 0
    with conn, conn.cursor() as cur:
        while True:
            cur.execute(page, {"offset": offset})
            if not (found := [id_ for (id_,) in cur.fetchall()]):
                break
            cur.execute(
                "UPDATE numbered SET body_vector = '[1,0,0,0,0,0,0,0]' WHERE id = ANY (%(ids)s)", {"ids": found}
            )
            offset += 20
    assert fetch(conn, "SELECT count(*) FROM numbered WHERE body_vector IS NULL") == [(100,)]

    execute(conn, "UPDATE numbered SET body_vector = NULL")
    assert embed(conn, numbered).written == 200
    assert fetch(conn, "SELECT count(*) FROM numbered WHERE body_vector IS NULL") == [(0,)]


def test_rows_that_change_ahead_of_the_reader_are_read_as_they_are_by_then(
    conn: connection, numbered: TextColumn, other_conn: connection, small_pages: int
) -> None:
    """Inserted ones are read, deleted ones are not; what changes behind it is left to the next run; none twice."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(0, 100, 2)})
    conn.autocommit = True
    pages = read_pending(conn, numbered, target_of(conn, numbered))
    first = next(pages)
    assert list(first.ids) == list(range(0, 40, 2))
    add_rows(other_conn, numbered, {3: "behind", 51: "ahead"})
    execute(other_conn, "DELETE FROM numbered WHERE id = 60")
    set_text(other_conn, numbered, 62, "changed ahead")
    set_text(other_conn, numbered, 2, "changed behind")

    rest = list(pages)
    seen = Counter(ids_of([first, *rest]))
    assert set(seen) == {*range(0, 100, 2), 51} - {60}
    assert set(seen.values()) == {1}
    assert {"ahead", "changed ahead"} <= {text for page in rest for text in page.texts}


def test_no_transaction_is_open_while_a_page_is_consumed(
    conn: connection, numbered: TextColumn, other_conn: connection, small_pages: int
) -> None:
    """An open one would hold back VACUUM for as long as the model takes."""
    add_rows(conn, numbered, dict.fromkeys(range(100), "text"))
    run_id = target_of(conn, numbered)
    conn.autocommit = True
    activity = sql.SQL("SELECT state, backend_xmin IS NULL, xact_start IS NULL FROM pg_stat_activity WHERE pid = {}")
    for _ in read_pending(conn, numbered, run_id):
        found = fetch(other_conn, activity.format(sql.Literal(conn.info.backend_pid)))
        assert found == [("idle", True, True)]
        # VACUUM waits for nobody's lock or cursor.
        other_conn.autocommit = True
        with other_conn.cursor() as cur:
            cur.execute("VACUUM numbered")


def test_what_is_counted_as_pending_is_what_is_read(conn: connection, numbered: TextColumn) -> None:
    """A vector to be cleared is pending, and nothing to read."""
    run_id = target_of(conn, numbered)
    assert (count_pending(conn, numbered, run_id), has_pending(conn, numbered, run_id)) == ((0, 0, 0), False)
    add_rows(conn, numbered, {1: "é", 2: " ", 3: None, 4: "text"})
    assert (count_pending(conn, numbered, run_id), has_pending(conn, numbered, run_id)) == ((2, 6, 0), True)
    assert ids_of(read_all(conn, numbered)) == [1, 4]
    embed(conn, numbered)
    assert (count_pending(conn, numbered, run_id), has_pending(conn, numbered, run_id)) == ((0, 0, 0), False)
    set_text(conn, numbered, 4, "")
    assert (count_pending(conn, numbered, run_id), has_pending(conn, numbered, run_id)) == ((0, 0, 1), True)
    assert has_pending(conn, numbered, run_id, IdRange(None, 4)) is False


def test_rows_without_an_id_end_no_reader_in_a_loop(conn: connection, notes: TextColumn, small_pages: int) -> None:
    """NULL sorts last and is behind no key."""
    execute(conn, "ALTER TABLE notes DROP CONSTRAINT notes_pkey; ALTER TABLE notes ALTER id DROP NOT NULL")
    execute(conn, "INSERT INTO notes (id, body) SELECT nullif(n, 7)::text, 'text' FROM generate_series(1, 30) AS n")
    assert sorted(map(int, ids_of(read_all(conn, notes)))) == [n for n in range(1, 31) if n != 7]


def test_a_window_costs_the_same_anywhere_in_the_table(
    conn: connection, numbered: TextColumn, small_pages: int
) -> None:
    """The reader walks the key's index and stops; it never sorts or scans the rest of the table."""
    with conn, conn.cursor() as cur:
        execute_values(cur, "INSERT INTO numbered (id, body) VALUES %s", [(n, "x" * 500) for n in range(5000)])
    execute(conn, "ANALYZE numbered")
    buffers: list[int] = []

    class Counting(psycopg2.extensions.cursor):
        def execute(self, query: str | bytes | sql.Composable, vars: object = None) -> None:  # noqa: A002 (psycopg2's)
            text = query if isinstance(query, str | bytes) else query.as_string(self)
            assert isinstance(text, str)
            super().execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}")
            ((plan,),) = self.fetchall()
            buffers.append(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
            super().execute(text)

    run_id = target_of(conn, numbered)
    conn.cursor_factory = Counting
    assert sum(map(len, read_pending(conn, numbered, run_id))) == 5000
    assert max(buffers) < 30, "the whole table has some 350 blocks"


def test_a_sample_shows_ids_texts_and_the_start_of_vectors(conn: connection, numbered: TextColumn) -> None:
    """The first embedded rows of the range, on one line each."""
    add_rows(conn, numbered, {n: f"line\n\tbreak {n} " + "x" * 100 for n in range(10)})
    embed(conn, numbered, IdRange(None, 5))
    found = sample_rows(conn, numbered, IdRange(3, None))
    assert [row.id for row in found] == ["3", "4"]
    assert found[0].text == ("line break 3 " + "x" * 100)[:80]
    assert found[0].vector.count(",") == 3
    assert found[0].vector.endswith(", ...]")


def test_one_scan_counts_what_each_range_would_alone(conn: connection, numbered: TextColumn) -> None:
    """Rows below the first bound and above the last, ranges without rows, and vectors on blank texts are in it."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(-20, 40)})
    embed(conn, numbered, IdRange(-10, 25))
    set_text(conn, numbered, 3, "changed")
    set_text(conn, numbered, 4, " ")
    run_id = target_of(conn, numbered)
    bounds = (None, -10, 0, 10, 100, 200, None)
    ranges = [IdRange(start, stop) for start, stop in pairwise(bounds)]

    counts = count_pending_by_range(conn, numbered, run_id, ranges)
    assert counts == [
        (10, (10, 80, 0)),
        (10, (0, 0, 0)),
        (10, (1, 7, 1)),
        (30, (15, 105, 0)),
        (0, (0, 0, 0)),
        (0, (0, 0, 0)),
    ]
    assert [count.pending for count in counts] == [count_pending(conn, numbered, run_id, each) for each in ranges]
    assert count_pending_by_range(conn, numbered, run_id, ranges[1:3]) == counts[1:3]
    assert count_pending_by_range(conn, numbered, run_id, [EVERYTHING]) == [RangeCounts(60, Pending(26, 192, 1))]
    assert count_pending_by_range(conn, numbered, run_id, []) == []


def test_ranges_of_text_ids_are_counted_in_the_columns_collation(conn: connection) -> None:
    """Bounds are compared as the table's own order has it, whatever collation that is."""
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, dict.fromkeys(ODD_IDS, "text"))
        in_order = [
            str(id_)
            for (id_,) in fetch(conn, sql.SQL("SELECT id FROM {} ORDER BY id").format(sql.Identifier(column.table)))
        ]
        bounds = [None, *in_order[3::5], None]
        ranges = [IdRange(start, stop) for start, stop in pairwise(bounds)]
        counts = count_pending_by_range(conn, column, target_of(conn, column), ranges)
        assert [count.rows for count in counts] == [
            3,
            *[5] * (len(ranges) - 2),
            len(in_order) - 3 - 5 * (len(ranges) - 2),
        ]
        conn.rollback()

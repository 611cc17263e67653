"""Cutting a table into ranges of equal rows, and keeping one ahead of its newest id."""

from itertools import pairwise

import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.id_range import IdRange
from steam_assets.store import ranges as ranges_module
from steam_assets.store.ranges import (
    BrokenRanges,
    check_contiguous,
    cut_ranges,
    extend_ranges,
    is_outgrown,
    range_ages,
)
from steam_assets.store.runs import RangeStatus, finish_range, start_range
from steam_assets.store.states import in_range, names
from steam_assets_tests.rows import ODD_IDS, add_rows, execute, fetch, make_table, tables_in_all_collations, target_of


def rows_in(conn: connection, column: TextColumn, id_range: IdRange) -> int:
    """Rows of one range, counted by the server."""
    ((rows,),) = fetch(
        conn,
        sql.SQL("SELECT count(*) FROM {table} AS t WHERE {in_range}").format(
            **names(column), in_range=in_range(column, id_range)
        ),
    )
    assert isinstance(rows, int)
    return rows


def add_ids(conn: connection, column: TextColumn, query: str) -> None:
    """Insert the ids that a query gives."""
    insert = sql.SQL("INSERT INTO {} (id, body) SELECT id, 'text' FROM ({}) AS made (id)")
    execute(conn, insert.format(sql.Identifier(column.table), sql.SQL(query)))


def check_every_row_in_one_range(conn: connection, column: TextColumn, found: list[IdRange]) -> list[int]:
    """Rows per range; fails unless they are contiguous, hold each row once, and their keys can be registered."""
    check_contiguous(column, found)
    in_each = [rows_in(conn, column, id_range) for id_range in found]
    assert sum(in_each) == rows_in(conn, column, IdRange(None, None))
    for id_range in found:
        assert len(id_range.key) <= 1000
        assert IdRange.from_key(id_range.key, column.id_type) == id_range
    return in_each


def test_sparse_skewed_ids_are_cut_into_equal_ranges(conn: connection, numbered: TextColumn) -> None:
    """Cubes from far below zero on: equal width would put nearly all rows into one range."""
    for rows in (1, 2, 8, 9, 16, 100, 1001):
        execute(conn, "TRUNCATE numbered")
        add_rows(conn, numbered, {7 * n**3 - 1_000_000: "text" for n in range(1, rows + 1)})
        found = cut_ranges(conn, numbered)
        *filled, ahead = check_every_row_in_one_range(conn, numbered, found)
        assert (len(filled), sum(filled), ahead) == (min(rows, 8), rows, 0)
        assert max(filled) - min(filled) <= 1
        assert found[0].start is None


def test_a_range_holds_five_thousand_rows_and_a_table_a_few_hundred_ranges(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster stays fast with that many keys."""
    add_ids(conn, numbered, "SELECT generate_series(1, 45001)")
    assert len(cut_ranges(conn, numbered)) == 10 + 1
    monkeypatch.setattr(ranges_module, "MOST_RANGES", 9)
    assert len(cut_ranges(conn, numbered)) == 9 + 1
    assert len(cut_ranges(conn, numbered, ranges=20)) == 20 + 1


@pytest.mark.parametrize(
    ("ids", "width"),
    [
        ("SELECT 10 * n FROM generate_series(1, 6000) AS n", 59_991 * 5_000 // 6_000),
        ("SELECT generate_series(1, 6000)", 5_000),
        ("SELECT 100 * n FROM generate_series(1, 80) AS n", 7_901),
        ("SELECT 42", 5_000),
    ],
    ids=["sparse", "dense", "few and sparse", "one"],
)
def test_the_range_ahead_of_the_newest_id_has_room_for_a_full_range_of_rows(
    conn: connection, numbered: TextColumn, ids: str, width: int
) -> None:
    """By the density found: a table that grows row by row fills it, and does not add a range for every few rows.

    Few rows tell little of those to come, so it is then no wider than all of them, or than 5,000 ids.
    """
    add_ids(conn, numbered, ids)
    *_, ahead = cut_ranges(conn, numbered)
    ((newest,),) = fetch(conn, "SELECT max(id) FROM numbered")
    assert isinstance(newest, int)
    assert (ahead.start, ahead.stop) == (newest + 1, newest + 1 + width)


def test_a_table_that_grows_row_by_row_gets_a_range_for_every_full_range_of_rows(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first row on, looked at after each."""
    monkeypatch.setattr(ranges_module, "ROWS_PER_RANGE", 20)
    found: list[IdRange] = []
    for id_ in range(1, 101):
        add_rows(conn, numbered, {id_: "text"})
        found += extend_ranges(conn, numbered, found) if found else cut_ranges(conn, numbered)
        assert extend_ranges(conn, numbered, found) == []
    assert check_every_row_in_one_range(conn, numbered, found) == [1, 20, 20, 20, 20, 19, 0]


def test_the_next_range_is_as_wide_as_the_rows_that_came_lately_are_sparse(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that have become a hundred times sparser would otherwise get a hundred times the ranges."""
    monkeypatch.setattr(ranges_module, "ROWS_PER_RANGE", 20)
    add_ids(conn, numbered, "SELECT generate_series(1, 100)")
    found = cut_ranges(conn, numbered)
    add_ids(conn, numbered, "SELECT 100 * n FROM generate_series(2, 400) AS n")
    found += extend_ranges(conn, numbered, found)
    in_each = check_every_row_in_one_range(conn, numbered, found)
    assert len(in_each) < 35
    assert isinstance(found[-1].stop, int)
    assert isinstance(found[-1].start, int)
    assert found[-1].stop - found[-1].start == pytest.approx(2_000, rel=0.05)


@pytest.mark.parametrize("newest", [2**63 - 1, 2**63 - 2, 2**63 - 100])
def test_ids_at_both_ends_of_64_bits_fall_in_a_range(conn: connection, numbered: TextColumn, newest: int) -> None:
    """Near the greatest id the last range is open: no bound is one that PostgreSQL could not compare with an id."""
    add_rows(conn, numbered, {-(2**63): "a", -1: "b", 0: "c", newest - 1: "d", newest: "e"})
    found = cut_ranges(conn, numbered)
    check_every_row_in_one_range(conn, numbered, found)
    assert found[-1].stop is None
    assert all(isinstance(id_range.start, int) and id_range.start < 2**63 for id_range in found[1:])
    assert extend_ranges(conn, numbered, found) == []


@pytest.mark.parametrize("key", ["smallint", "integer"])
def test_small_integer_keys_are_cut_like_large_ones(conn: connection, key: str) -> None:
    """The range ahead may lie beyond what the type can hold."""
    column = TextColumn(table="small", id="id", text="body", vector="v", id_type="bigint")
    make_table(conn, column, key)
    add_ids(conn, column, "SELECT 32767 - n * n FROM generate_series(0, 99) AS n")
    in_each = check_every_row_in_one_range(conn, column, cut_ranges(conn, column))
    assert max(in_each[:-1]) - min(in_each[:-1]) <= 1


def test_an_empty_table_is_cut_when_its_first_rows_are_there(conn: connection, numbered: TextColumn) -> None:
    """A range made before would hold the whole first load, for ever."""
    assert cut_ranges(conn, numbered) == []
    add_ids(conn, numbered, "SELECT 1000 * n FROM generate_series(1, 80) AS n")
    assert check_every_row_in_one_range(conn, numbered, cut_ranges(conn, numbered)) == [10] * 8 + [0]


def test_ranges_are_not_extended_while_the_last_is_empty(conn: connection, numbered: TextColumn) -> None:
    """Looking again and again registers nothing."""
    add_ids(conn, numbered, "SELECT generate_series(1, 100)")
    assert extend_ranges(conn, numbered, cut_ranges(conn, numbered)) == []


def test_a_row_in_the_last_range_calls_for_one_more(conn: connection, numbered: TextColumn) -> None:
    """And then for no more."""
    add_ids(conn, numbered, "SELECT generate_series(1, 100)")
    found = cut_ranges(conn, numbered)
    last = found[-1]
    assert isinstance(last.start, int)
    assert not is_outgrown(conn, numbered, last)
    add_rows(conn, numbered, {last.start: "new"})
    assert is_outgrown(conn, numbered, last)
    (one,) = extend_ranges(conn, numbered, found)
    assert one.start == last.stop
    found.append(one)
    assert extend_ranges(conn, numbered, found) == []


def test_looking_for_growth_reads_one_entry_of_the_index(conn: connection, numbered: TextColumn) -> None:
    """A daemon looks every few seconds: that must cost the same on a table of any size."""
    add_ids(conn, numbered, "SELECT generate_series(1, 20000)")
    execute(conn, "ANALYZE numbered")
    explain = sql.SQL("EXPLAIN (ANALYZE, FORMAT TEXT) {}").format(ranges_module.NEWEST.format(**names(numbered)))
    plan = "\n".join(str(line) for (line,) in fetch(conn, explain))
    assert "Index Only Scan Backward" in plan
    assert "Seq Scan" not in plan


def test_a_last_range_that_somebody_deleted_is_made_again(
    conn: connection, numbered: TextColumn, notes: TextColumn
) -> None:
    """What is at the end can be added in order: integers get one ahead again, texts an open end."""
    for column, ids in (
        (numbered, "SELECT generate_series(1, 100)"),
        (notes, "SELECT n::text FROM generate_series(1, 100) AS n"),
    ):
        add_ids(conn, column, ids)
        *left, _, _ = cut_ranges(conn, column)
        left += extend_ranges(conn, column, left)
        check_every_row_in_one_range(conn, column, left)
        assert extend_ranges(conn, column, left) == []


def test_rows_that_were_deleted_leave_the_ranges_as_they_are(conn: connection, numbered: TextColumn) -> None:
    """Also when they were all: the newest id is then an older one, or none."""
    add_ids(conn, numbered, "SELECT generate_series(1, 100)")
    found = cut_ranges(conn, numbered)
    execute(conn, "DELETE FROM numbered WHERE id > 50")
    assert extend_ranges(conn, numbered, found) == []
    execute(conn, "DELETE FROM numbered")
    assert extend_ranges(conn, numbered, found) == []


def test_many_rows_far_ahead_are_cut_by_quantiles_again(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load of ids far beyond the last range gives equal new ranges, and one ahead of them."""
    monkeypatch.setattr(ranges_module, "ROWS_PER_RANGE", 50)
    add_ids(conn, numbered, "SELECT generate_series(1, 100)")
    found = cut_ranges(conn, numbered)
    before = len(found)
    add_ids(conn, numbered, "SELECT 100000 + n * n FROM generate_series(1, 170) AS n")
    found += extend_ranges(conn, numbered, found)
    in_each = check_every_row_in_one_range(conn, numbered, found)
    assert in_each[before:] == [42, 43, 42, 43, 0]
    assert extend_ranges(conn, numbered, found) == []


def test_a_row_at_the_very_start_of_what_is_new_makes_no_empty_range(conn: connection, numbered: TextColumn) -> None:
    """The first new range begins where the last one ended."""
    add_rows(conn, numbered, {1: "text"})
    found = cut_ranges(conn, numbered)
    stop = found[-1].stop
    assert isinstance(stop, int)
    add_rows(conn, numbered, {stop: "first id behind the registered ranges"})
    found += extend_ranges(conn, numbered, found)
    assert check_every_row_in_one_range(conn, numbered, found) == [1, 0, 1, 0]


def test_rows_without_an_id_do_not_disturb_the_cut(conn: connection, notes: TextColumn) -> None:
    """A nullable key is allowed, and its NULLs lie in no range."""
    execute(conn, "ALTER TABLE notes DROP CONSTRAINT notes_pkey; ALTER TABLE notes ALTER id DROP NOT NULL")
    add_ids(conn, notes, "SELECT NULL::text FROM generate_series(1, 5)")
    assert cut_ranges(conn, notes) == []
    add_ids(conn, notes, "SELECT n::text FROM generate_series(1, 16) AS n")
    assert check_every_row_in_one_range(conn, notes, cut_ranges(conn, notes)) == [2] * 8


def test_an_integer_table_of_rows_without_ids_is_cut_like_an_empty_one(conn: connection, numbered: TextColumn) -> None:
    """There is no newest id to begin from."""
    execute(conn, "ALTER TABLE numbered DROP CONSTRAINT numbered_pkey; ALTER TABLE numbered ALTER id DROP NOT NULL")
    add_ids(conn, numbered, "SELECT NULL::bigint FROM generate_series(1, 5)")
    assert cut_ranges(conn, numbered) == []


def test_text_ranges_are_open_at_both_ends_and_never_extended(conn: connection, notes: TextColumn) -> None:
    """Nobody knows which text id comes next."""
    add_ids(conn, notes, "SELECT n::text FROM generate_series(1, 800) AS n")
    found = cut_ranges(conn, notes)
    assert check_every_row_in_one_range(conn, notes, found) == [100] * 8
    assert (found[0].start, found[-1].stop) == (None, None)
    add_rows(conn, notes, {"zzz": "new"})
    assert extend_ranges(conn, notes, found) == []


def test_odd_text_ids_fall_in_exactly_one_range_in_any_collation(conn: connection) -> None:
    """Spaces, quotes, colons, unicode and 2 KB: every row is in one range, and every key can be registered."""
    random = np.random.default_rng(0)
    long = ["ü" * int(n) + str(n) for n in random.integers(900, 1000, 20)]
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, dict.fromkeys([*ODD_IDS, *("x" + odd for odd in ODD_IDS), *long], "text"))
        in_each = check_every_row_in_one_range(conn, column, cut_ranges(conn, column, ranges=30))
        # Ids that share their first 499 bytes share a range, with a neighbour or two.
        assert max(in_each) <= len(set(long)) + 4
        assert min(in_each) >= 1


def test_long_ids_are_shortened_to_a_prefix_that_still_separates(conn: connection, notes: TextColumn) -> None:
    """2 KB ids that differ early are cut as evenly as short ones."""
    execute(
        conn,
        "INSERT INTO notes (id, body) SELECT n || repeat('x', 2000) || n, 'text' FROM generate_series(100, 899) AS n",
    )
    found = cut_ranges(conn, notes)
    assert check_every_row_in_one_range(conn, notes, found) == [100] * 8
    assert max(len(id_range.key) for id_range in found) > 500


def test_long_ids_with_a_common_prefix_share_a_range(conn: connection, notes: TextColumn) -> None:
    """No key can tell them apart, so the cut between them is given up; the others stay."""
    execute(
        conn,
        "INSERT INTO notes (id, body) SELECT repeat('m', 1900) || n, 'text' FROM generate_series(100, 199) AS n",
    )
    add_rows(conn, notes, {f"{letter}{n}": "text" for letter in "az" for n in range(100)})
    found = cut_ranges(conn, notes, ranges=30)
    in_each = check_every_row_in_one_range(conn, notes, found)
    assert max(in_each) >= 100
    assert len(found) >= 20


def test_a_prefix_that_would_fall_behind_an_earlier_bound_is_given_up(conn: connection, notes: TextColumn) -> None:
    """Its range would begin before the one ahead of it ended, and hold rows twice."""
    common = "m" * 494  # 499 bytes of a key hold five more letters, or not one more é
    add_rows(conn, notes, dict.fromkeys(["a", common + "A", common + "a", common + "é" * 10, "z"], "text"))
    assert check_every_row_in_one_range(conn, notes, cut_ranges(conn, notes, ranges=5)) == [1, 1, 2, 1]


def test_numbers_kept_as_text_are_cut_in_the_order_of_text(conn: connection, notes: TextColumn) -> None:
    """Steam's review ids: '100000000' comes before '99'."""
    add_ids(conn, notes, "SELECT (n * 7919)::text FROM generate_series(1, 1000) AS n")
    found = cut_ranges(conn, notes)
    assert check_every_row_in_one_range(conn, notes, found) == [125] * 8
    bounds = [str(id_range.stop) for id_range in found[:-1]]
    assert all(a < b for a, b in pairwise(bounds))


@pytest.mark.parametrize(
    "broken",
    [
        [IdRange(None, 5), IdRange(6, 9)],
        [IdRange(None, None), IdRange(6, 9)],
        [IdRange(1, 5)],
        [IdRange(None, 5), IdRange(5, 9), IdRange(5, 9)],
    ],
)
def test_ranges_with_a_hole_or_an_overlap_are_refused_with_the_way_out(
    broken: list[IdRange], numbered: TextColumn
) -> None:
    """An id in the hole would never be embedded."""
    with pytest.raises(BrokenRanges, match=r"do not follow each other: .*`steam-assets ranges --recut numbered\."):
        check_contiguous(numbered, broken)


def test_a_range_is_as_old_as_its_last_attempt_that_finished(conn: connection, notes: TextColumn) -> None:
    """A failed or running attempt filled nothing; a range that was never finished has no age, nor one below zero."""
    run_id = target_of(conn, notes)

    def attempt(key: str, status: RangeStatus, finished: str) -> None:
        range_id = start_range(conn, notes, run_id, key, "run", "cpu", "fp32")
        finish_range(conn, range_id, status)
        execute(
            conn,
            "UPDATE embedding_run_ranges SET finished_at = now() - %(ago)s::interval WHERE range_id = %(id)s",
            ago=finished,
            id=range_id,
        )

    attempt("~:b", "done", "3 hours")
    attempt("~:b", "done", "2 hours")
    attempt("~:b", "failed", "1 hour")
    attempt("b:c", "aborted", "1 hour")
    attempt("c:~", "done", "-1 hour")
    ages = range_ages(conn, notes)
    assert ages == {"~:b": pytest.approx(7200, abs=60), "c:~": 0}

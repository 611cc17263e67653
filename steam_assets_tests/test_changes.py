"""What has to be done is found range by range: nothing overlooked, nothing made up, and little read."""

import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow
from steam_assets.id_range import IdRange
from steam_assets.store import changes
from steam_assets.store.changes import (
    count_missing,
    filled_before,
    ranges_of_other_runs,
    scan_for_stale,
)
from steam_assets.store.failures import record_unembeddable, release
from steam_assets.store.missing_index import build_after_commit, index_name
from steam_assets.store.ranges import cut_ranges
from steam_assets.store.runs import RangeStatus, finish_range, start_range
from steam_assets.store.schema import plan_schema
from steam_assets_tests.rows import (
    DIMENSION,
    ODD_IDS,
    add_rows,
    change_recipe,
    embed,
    execute,
    fetch,
    set_text,
    state_of,
    tables_in_all_collations,
    target_of,
)

ROUNDS = 6
SEVEN = 7


def forget_vector(conn: connection, column: TextColumn, id_: int | str) -> None:
    """Make a row one that waits for its first vector."""
    statement = sql.SQL("UPDATE {} SET {} = NULL, {} = NULL, {} = NULL WHERE {} = {}").format(
        sql.Identifier(column.schema, column.table),
        *map(sql.Identifier, (column.vector, column.run, column.digest, column.id)),
        sql.Literal(id_),
    )
    execute(conn, statement)


def give_up(conn: connection, column: TextColumn, id_: int | str, reason: str | None = "too large") -> None:
    """Quarantine a row for its present text; without a reason: nothing was left of it."""
    digest_of = sql.SQL("SELECT decode(md5({}), 'hex') FROM {} WHERE {} = {}").format(
        sql.Identifier(column.text),
        sql.Identifier(column.schema, column.table),
        sql.Identifier(column.id),
        sql.Literal(id_),
    )
    ((digest,),) = fetch(conn, digest_of)
    assert isinstance(digest, memoryview)
    with conn:
        record_unembeddable(conn, column, target_of(conn, column), [UnembeddableRow(id_, bytes(digest), reason)])


def spoil(conn: connection, column: TextColumn, dice: np.random.Generator, rows: int) -> list[IdRange]:
    """Embed everything and do something to a few rows; the ranges of the table."""
    embed(conn, column)
    id_ranges = cut_ranges(conn, column, SEVEN)
    found = fetch(conn, sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column.id), sql.Identifier(column.table)))
    for place in dice.permutation(len(found))[:rows]:
        (id_,) = found[place]
        assert isinstance(id_, int | str)
        match dice.integers(6):
            case 0:
                forget_vector(conn, column, id_)
            case 1:
                set_text(conn, column, id_, "another text")
            case 2:
                set_text(conn, column, id_, "\n \t")
            case 3:
                forget_vector(conn, column, id_)
                set_text(conn, column, id_, None)
            case 4:
                forget_vector(conn, column, id_)
                set_text(conn, column, id_, "too large a text")
                give_up(conn, column, id_)
            case 5:
                forget_vector(conn, column, id_)
                set_text(conn, column, id_, "<br>")
                give_up(conn, column, id_, None)
    return id_ranges


def scanned(
    conn: connection, column: TextColumn, id_ranges: list[IdRange], most_rows: int, most_seconds: float = 60.0
) -> tuple[list[IdRange], list[int]]:
    """The ranges found by a round of scans, each beginning where the last ended, and the rows each of them read."""
    found: set[IdRange] = set()
    rows: list[int] = []
    after: int | str | None = None
    while not rows or after is not None:
        scan = scan_for_stale(conn, column, target_of(conn, column), id_ranges, after, most_rows, most_seconds)
        found.update(scan.id_ranges)
        rows.append(scan.rows)
        after = scan.after
    return [id_range for id_range in id_ranges if id_range in found], rows


def test_ranges_with_new_rows_are_exactly_those_that_hold_a_missing_row(
    conn: connection, numbered: TextColumn, notes: TextColumn
) -> None:
    """Whatever lies between: changed, blank, emptied and quarantined rows are not waiting for a first vector."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(-60, 120, 3)})
    add_rows(conn, notes, {f"n{n}": f"text {n}" for n in range(60)})
    for seed in range(ROUNDS):
        for column in (numbered, notes):
            id_ranges = spoil(conn, column, np.random.default_rng(seed), rows=8)
            expected = [id_range for id_range in id_ranges if state_of(conn, column, id_range).missing]
            found = count_missing(conn, column, target_of(conn, column), id_ranges)
            assert found == {id_range: state_of(conn, column, id_range).missing for id_range in expected}
            assert list(found) == expected


def test_a_round_of_scans_finds_exactly_the_ranges_that_hold_a_stale_row(
    conn: connection, numbered: TextColumn, notes: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed texts and texts that became blank, in stretches and windows of any length."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(-60, 120, 3)})
    add_rows(conn, notes, {f"n{n}": f"text {n}" for n in range(60)})
    for seed in range(ROUNDS):
        for column in (numbered, notes):
            id_ranges = spoil(conn, column, np.random.default_rng(seed), rows=8)
            expected = [id_range for id_range in id_ranges if state_of(conn, column, id_range).stale]
            dice = np.random.default_rng(seed)
            monkeypatch.setattr(changes, "WINDOW_ROWS", int(dice.integers(1, 30)))
            found, rows = scanned(conn, column, id_ranges, most_rows=int(dice.integers(1, 40)))
            assert found == expected
            assert sum(rows) == 60


def test_odd_ids_fall_into_their_ranges_in_every_collation(conn: connection) -> None:
    """Ids are compared by the server only, in the column's own collation."""
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, dict.fromkeys(ODD_IDS, "text"))
        id_ranges = spoil(conn, column, np.random.default_rng(1), rows=9)
        states = [state_of(conn, column, id_range) for id_range in id_ranges]
        found = count_missing(conn, column, target_of(conn, column), id_ranges)
        assert list(found) == [r for r, state in zip(id_ranges, states, strict=True) if state.missing]
        stale, _ = scanned(conn, column, id_ranges, most_rows=4)
        assert stale == [r for r, state in zip(id_ranges, states, strict=True) if state.stale]


def test_a_released_or_changed_row_of_the_quarantine_waits_again(conn: connection, notes: TextColumn) -> None:
    """As everywhere: a failure counts for one text, until somebody asks to try again."""
    add_rows(conn, notes, {"a": "a", "b": "b"})
    id_ranges, run_id = [IdRange(None, "b"), IdRange("b", None)], target_of(conn, notes)
    give_up(conn, notes, "a")
    give_up(conn, notes, "b")
    assert list(count_missing(conn, notes, run_id, id_ranges)) == []

    set_text(conn, notes, "a", "A")
    assert list(count_missing(conn, notes, run_id, id_ranges)) == id_ranges[:1]
    with conn:
        release(conn, {notes: run_id}, ["b"])
    assert list(count_missing(conn, notes, run_id, id_ranges)) == id_ranges


def test_looking_for_new_rows_reads_the_index_and_not_the_table(conn: connection, numbered: TextColumn) -> None:
    """What it costs does not grow with the rows that have their vectors."""
    execute(conn, "INSERT INTO numbered (id, body) SELECT n, 'text' FROM generate_series(1, 20000) AS n")
    vector, run = "[1,0,0,0,0,0,0,0]", target_of(conn, numbered)
    execute(
        conn, "UPDATE numbered SET body_vector = %(v)s, embedding_run_id = %(run)s WHERE id <> 7", v=vector, run=run
    )
    steps = plan_schema(conn, [numbered], DIMENSION).after_commit
    conn.rollback()
    list(build_after_commit(conn, steps))
    execute(conn, "ANALYZE numbered")
    id_ranges = cut_ranges(conn, numbered, 50)
    conn.rollback()

    asked = changes.COUNT_MISSING.format(**changes._asked(numbered, run, id_ranges))
    plan = "\n".join(str(line) for (line,) in fetch(conn, sql.SQL("EXPLAIN (COSTS OFF) {}").format(asked)))
    assert index_name(numbered) in plan
    assert "Seq Scan on numbered" not in plan
    assert count_missing(conn, numbered, run, id_ranges) == {id_ranges[0]: 1}


def test_a_new_recipe_concerns_the_ranges_that_hold_a_vector_of_another(conn: connection, numbered: TextColumn) -> None:
    """Not those without vectors or rows, with vectors renewed since, or with vectors the new recipe cannot renew."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(50)})
    embed(conn, numbered, IdRange(None, 40))
    id_ranges = [IdRange(None, 10), *(IdRange(n, n + 10) for n in range(10, 60, 10))]
    assert ranges_of_other_runs(conn, numbered, target_of(conn, numbered), id_ranges) == []

    run_id = change_recipe(conn, numbered, "second")
    embed(conn, numbered, IdRange(10, 20))
    for id_ in range(20, 30):
        give_up(conn, numbered, id_)
    set_text(conn, numbered, 15, "another text")
    set_text(conn, numbered, 35, " ")
    assert ranges_of_other_runs(conn, numbered, run_id, id_ranges) == [id_ranges[0], id_ranges[3]]


def test_a_scan_ends_when_its_time_is_over_and_goes_on_there(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One window at least, so that a slow server sees the end of the table too; a deleted row is no obstacle."""
    monkeypatch.setattr(changes, "WINDOW_ROWS", 10)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(25)})
    id_ranges, run_id = cut_ranges(conn, numbered, 2), target_of(conn, numbered)

    first = scan_for_stale(conn, numbered, run_id, id_ranges, None, 20_000, 0.0)
    assert (first.rows, first.after) == (10, 9)
    execute(conn, "DELETE FROM numbered WHERE id IN (9, 10)")
    _, rows = scanned(conn, numbered, id_ranges, most_rows=20_000, most_seconds=0.0)
    assert rows == [10, 10, 3]


def test_a_table_without_ranges_has_nothing_to_do(conn: connection, numbered: TextColumn) -> None:
    """Before its first row."""
    run_id = target_of(conn, numbered)
    assert count_missing(conn, numbered, run_id, []) == {}
    assert ranges_of_other_runs(conn, numbered, run_id, []) == []
    assert scan_for_stale(conn, numbered, run_id, [], None, 10, 1.0).after is None


@pytest.mark.parametrize(("status", "expected"), [("done", True), ("failed", False), ("lost", False)])
def test_a_range_was_filled_before_when_some_attempt_at_it_was_finished(
    conn: connection, numbered: TextColumn, status: RangeStatus, expected: bool
) -> None:
    """Under any recipe; an attempt that failed fills nothing."""
    wanted, other = IdRange(None, 10), IdRange(10, 20)
    with conn:
        attempt = start_range(conn, numbered, target_of(conn, numbered), wanted.key, "a run", "cpu", "float32")
        finish_range(conn, attempt, status)
    assert filled_before(conn, numbered, [wanted, other]) == ({wanted} if expected else set())

"""The state of every row, counted in SQL, and the rows that break a rule."""

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow
from steam_assets.id_range import IdRange
from steam_assets.store.failures import record_unembeddable
from steam_assets.store.states import RangeState, range_state
from steam_assets_tests.rows import (
    DIMENSION,
    add_rows,
    change_recipe,
    embed,
    execute,
    read_all,
    set_text,
    state_of,
    target_of,
)


def counts(state: RangeState) -> dict[str, int]:
    """The states that have rows."""
    names = ("blank", "failed", "embedded", "stale", "missing")
    return {name: getattr(state, name) for name in names if getattr(state, name)}


def fail(conn: connection, column: TextColumn, id_: int | str, reason: str | None) -> None:
    """Record a pending row as one that gets no vector: failed for ``reason``, or empty."""
    (digest,) = [
        page.source_md5[row] for page in read_all(conn, column) for row, found in enumerate(page.ids) if found == id_
    ]
    with conn:
        record_unembeddable(conn, column, target_of(conn, column), [UnembeddableRow(id_, digest, reason)])


def test_every_row_is_in_exactly_one_state(conn: connection, notes: TextColumn) -> None:
    """The total is the sum, and each state is found beside all others."""
    add_rows(conn, notes, {"embedded": "a", "text changed": "b", "was text": "c"})
    embed(conn, notes)
    set_text(conn, notes, "text changed", "B")
    set_text(conn, notes, "was text", " \n")
    add_rows(conn, notes, {"null": None, "space": " \t\r\n", "missing": "d", "failed": "e", "emptied": "<br>"})
    fail(conn, notes, "failed", "too large")
    fail(conn, notes, "emptied", None)

    state = state_of(conn, notes)
    assert counts(state) == {"blank": 3, "failed": 1, "embedded": 1, "stale": 2, "missing": 1}
    assert (state.total, state.pending) == (8, 3)
    assert state.coverage == pytest.approx(1 / 5)
    assert state.offences["pending"].first_ids == ("missing", "text changed", "was text")
    assert state.offences["failed"].first_ids == ("failed",)


def test_a_table_of_blanks_is_covered(conn: connection, notes: TextColumn) -> None:
    """Nothing can be embedded, so nothing is left to do; an empty table too."""
    assert (state_of(conn, notes).total, state_of(conn, notes).coverage) == (0, 1.0)
    add_rows(conn, notes, {"a": "", "b": None})
    assert (counts(state_of(conn, notes)), state_of(conn, notes).coverage) == ({"blank": 2}, 1.0)


def test_a_vector_on_a_text_that_became_blank_is_stale(conn: connection, notes: TextColumn) -> None:
    """A search would still find what nobody can read; NULL and white space alike."""
    add_rows(conn, notes, {"a": "a", "b": "b"})
    embed(conn, notes)
    set_text(conn, notes, "a", None)
    set_text(conn, notes, "b", " ")
    assert counts(state_of(conn, notes)) == {"stale": 2}


def test_a_vector_of_the_current_run_on_a_blank_text_is_stale(conn: connection, notes: TextColumn) -> None:
    """Whoever stamped it, and though its digest fits: a blank text has no vector, nor has one recorded as empty."""
    add_rows(conn, notes, {"space": " ", "empty": "<br>"})
    fail(conn, notes, "empty", None)
    assert counts(state_of(conn, notes)) == {"blank": 2}
    execute(
        conn,
        "UPDATE notes SET body_vector = '[1,0,0,0,0,0,0,0]', embedding_run_id = %(run)s, "
        "body_vector_source_md5 = md5(body)::uuid",
        run=target_of(conn, notes),
    )
    assert counts(state_of(conn, notes)) == {"stale": 2}
    assert embed(conn, notes).cleared == 2


def test_a_failure_wins_over_the_vector_of_an_earlier_run(conn: connection, notes: TextColumn) -> None:
    """The row cannot be brought up to date; it is not pending, and not covered."""
    add_rows(conn, notes, {"a": "a", "b": "b"})
    embed(conn, notes)
    change_recipe(conn, notes, "second")
    fail(conn, notes, "a", "too large")
    state = state_of(conn, notes)
    assert counts(state) == {"failed": 1, "stale": 1}
    assert state.offences["provenance"].first_ids == ("b",)


def test_a_text_recorded_as_empty_is_blank_only_without_a_vector(conn: connection, notes: TextColumn) -> None:
    """Nothing is left of it after preparation, so the next run clears its old vector."""
    add_rows(conn, notes, {"a": "<br>", "b": "<p>"})
    embed(conn, notes)
    change_recipe(conn, notes, "strips markup")
    execute(conn, "UPDATE notes SET body_vector = NULL, embedding_run_id = NULL WHERE id = 'b'")
    fail(conn, notes, "a", None)
    fail(conn, notes, "b", None)
    assert counts(state_of(conn, notes)) == {"blank": 1, "stale": 1}
    assert embed(conn, notes).cleared == 1
    assert counts(state_of(conn, notes)) == {"blank": 2}


def test_a_changed_text_releases_its_failure(conn: connection, notes: TextColumn) -> None:
    """The new text may fit; without a vector the row is missing, with an old one stale."""
    add_rows(conn, notes, {"a": "a", "b": "b"})
    embed(conn, notes)
    change_recipe(conn, notes, "second")
    execute(conn, "UPDATE notes SET body_vector = NULL, embedding_run_id = NULL WHERE id = 'b'")
    fail(conn, notes, "a", "too large")
    fail(conn, notes, "b", "too large")
    assert counts(state_of(conn, notes)) == {"failed": 2}
    set_text(conn, notes, "a", "A")
    set_text(conn, notes, "b", "B")
    assert counts(state_of(conn, notes)) == {"stale": 1, "missing": 1}


def test_a_new_recipe_releases_failures_and_makes_every_vector_stale(conn: connection, notes: TextColumn) -> None:
    """Vectors of two recipes are never taken for one another."""
    add_rows(conn, notes, {"a": "a", "b": "b", "c": "c"})
    fail(conn, notes, "c", "too large")
    embed(conn, notes)
    assert counts(state_of(conn, notes)) == {"failed": 1, "embedded": 2}
    change_recipe(conn, notes, "second")
    assert counts(state_of(conn, notes)) == {"stale": 2, "missing": 1}


def test_failures_of_deleted_rows_count_nowhere(conn: connection, numbered: TextColumn) -> None:
    """They neither lower the coverage nor turn a check red."""
    add_rows(conn, numbered, {1: "a", 2: "b"})
    fail(conn, numbered, 1, "too large")
    execute(conn, "DELETE FROM numbered WHERE id = 1")
    assert counts(state_of(conn, numbered)) == {"missing": 1}


def test_an_id_that_comes_back_with_its_text_is_still_failed(conn: connection, numbered: TextColumn) -> None:
    """The same text does not fit better the second time."""
    add_rows(conn, numbered, {1: "a"})
    fail(conn, numbered, 1, "too large")
    execute(conn, "DELETE FROM numbered")
    add_rows(conn, numbered, {1: "a"})
    assert counts(state_of(conn, numbered)) == {"failed": 1}


def test_a_row_without_an_id_is_counted_nowhere(conn: connection, notes: TextColumn) -> None:
    """It cannot be named, so it is never embedded; it would keep the column incomplete for ever."""
    execute(conn, "ALTER TABLE notes DROP CONSTRAINT notes_pkey; ALTER TABLE notes ALTER id DROP NOT NULL")
    execute(conn, "INSERT INTO notes (id, body) VALUES ('a', 'text'), (NULL, 'text')")
    assert counts(state_of(conn, notes)) == {"missing": 1}


def test_only_rows_of_the_range_are_counted(conn: connection, numbered: TextColumn) -> None:
    """The start is in, the stop is not."""
    add_rows(conn, numbered, dict.fromkeys((-5, 0, 9, 10, 11), "text"))
    assert state_of(conn, numbered, IdRange(-5, 10)).total == 3
    assert state_of(conn, numbered, IdRange(None, 0)).total == 1
    assert state_of(conn, numbered, IdRange(10, None)).total == 2


DAMAGE = (
    ("body_vector = subvector(body_vector, 1, 4)::vector(4)", {"dimension", "provenance", "norm"}),
    ("body_vector = '[2,0,0,0,0,0,0,0]'", {"norm"}),
    ("body_vector = '[0,0,0,0,0,0,0,0]'", {"norm"}),
    ("embedding_run_id = NULL", {"provenance", "pending"}),
    ("embedding_run_id = 999", {"provenance", "pending"}),
    ("body_vector_source_md5 = NULL", {"drift", "pending"}),
    ("body_vector_source_md5 = md5('another')::uuid", {"drift", "pending"}),
    ("body = 'another'", {"drift", "pending"}),
    ("body = NULL", {"drift", "pending"}),
)


def test_damage_from_outside_is_found_and_named(conn: connection, numbered: TextColumn) -> None:
    """Every row is looked at; the first ids come in the table's order, at most five."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(1, 31)})
    embed(conn, numbered)
    assert all(found.rows == 0 for found in state_of(conn, numbered).offences.values())
    # As on a table that another tool made: no constraint on runs, vectors of any dimension.
    execute(conn, "ALTER TABLE numbered DROP CONSTRAINT numbered_embedding_run_id_fkey")
    execute(conn, "ALTER TABLE numbered ALTER body_vector TYPE vector")
    run_id = target_of(conn, numbered)
    for damage, offences in DAMAGE:
        with conn.cursor() as cur:
            cur.execute(sql.SQL("UPDATE numbered SET {} WHERE id % 4 = 1").format(sql.SQL(damage)))
        state = range_state(conn, numbered, run_id, DIMENSION)
        conn.rollback()
        found = {rule: offence for rule, offence in state.offences.items() if offence.rows}
        assert set(found) == offences, damage
        assert {offence.rows for offence in found.values()} == {8}, damage
        assert {offence.first_ids for offence in found.values()} == {("1", "5", "9", "13", "17")}, damage


def test_a_vector_of_another_recipe_is_of_foreign_provenance(conn: connection, numbered: TextColumn) -> None:
    """Its run exists, and is not the current one."""
    add_rows(conn, numbered, {1: "a"})
    embed(conn, numbered)
    change_recipe(conn, numbered, "second")
    assert state_of(conn, numbered).offences["provenance"].first_ids == ("1",)


def test_a_vector_whose_run_has_another_dimension_is_of_foreign_provenance(
    conn: connection, numbered: TextColumn
) -> None:
    """The run's record and the vector contradict each other."""
    add_rows(conn, numbered, {1: "a"})
    embed(conn, numbered)
    execute(conn, "UPDATE embedding_runs SET dimension = 9")
    assert state_of(conn, numbered).offences["provenance"].rows == 1


def test_first_ids_follow_the_keys_own_order(conn: connection, notes: TextColumn) -> None:
    """Text ids sort as text, integers by value."""
    add_rows(conn, notes, {"100": "a", "99": "b", "9": "c"})
    assert state_of(conn, notes).offences["pending"].first_ids == ("100", "9", "99")


def test_counting_reads_the_table_once_and_again_only_to_name_offenders(conn: connection, numbered: TextColumn) -> None:
    """One scan answers all checks where they are green, however large the range."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(100)})
    embed(conn, numbered)
    run_id = target_of(conn, numbered)

    def scans(green: bool) -> int:
        seen = []
        with conn, conn.cursor() as cur:
            for look in (True, False):
                cur.execute("SELECT seq_scan + idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'numbered'")
                seen.append((cur.fetchone() or (0,))[0])
                if look:
                    state = range_state(conn, numbered, run_id, DIMENSION)
        assert all(offence.rows == 0 for offence in state.offences.values()) is green
        return int(seen[1] - seen[0])

    assert scans(green=True) == 1
    set_text(conn, numbered, 7, "changed")
    assert scans(green=False) == 2

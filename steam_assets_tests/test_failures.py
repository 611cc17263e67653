"""Quarantine: every row that failed is listed with what became of it, released on request, forgotten when embedded."""

from collections.abc import Mapping

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store import failures
from steam_assets.store.failures import NotQuarantined, forget_embedded, list_failures, record_unembeddable, release
from steam_assets.store.states import names
from steam_assets_tests.rows import (
    ODD_IDS,
    add_rows,
    change_recipe,
    execute,
    fetch,
    ids_of,
    make_table,
    read_all,
    set_text,
    state_of,
    tables_in_all_collations,
    target_of,
)

REASON = "too large: 9,000 tokens do not fit"


def quarantine(conn: connection, column: TextColumn, *ids: int | str) -> None:
    """Give rows up, all pending ones by default, for their present text and the target run."""
    rows = [
        UnembeddableRow(id_, digest, REASON)
        for page in read_all(conn, column)
        for id_, digest in zip(page.ids, page.source_md5, strict=True)
        if not ids or id_ in ids
    ]
    with conn:
        record_unembeddable(conn, column, target_of(conn, column), rows)


WRITE_VECTORS = sql.SQL("""
    UPDATE {table}
    SET {vector} = array_fill(0.5, ARRAY[8])::vector, {run} = {run_id}, {digest} = md5({text})::uuid
    WHERE {id} = ANY ({ids})
""")


def write_vectors(conn: connection, column: TextColumn) -> None:
    """Give pending rows a vector by SQL alone: write_batches would forget their records by itself."""
    ids = sql.Literal(ids_of(read_all(conn, column)))
    execute(conn, WRITE_VECTORS.format(**names(column), ids=ids, run_id=sql.Literal(target_of(conn, column))))


def states(conn: connection, column: TextColumn) -> dict[str, str]:
    """Every record's state by id."""
    return {row.id: row.state for row in list_failures(conn, column, target_of(conn, column))}


def released(conn: connection, column: TextColumn, *ids: str) -> int:
    """Release rows, all by default, and commit; how many they were."""
    with conn:
        return release(conn, {column: target_of(conn, column)}, ids or None)[column]


def forgotten(conn: connection, column: TextColumn, id_range: IdRange = EVERYTHING) -> int:
    """Forget what is embedded or gone, and commit; how many records that were."""
    with conn:
        return forget_embedded(conn, column, target_of(conn, column), id_range)


def test_a_failure_is_listed_with_its_reason_and_attempts(conn: connection, numbered: TextColumn) -> None:
    """The column, the id, why, how often, when first and when last."""
    add_rows(conn, numbered, {7: "fine", 8: "too large"})
    quarantine(conn, numbered, 8)
    execute(conn, "UPDATE embedding_failures SET attempts = 3, first_at = '2026-01-02T03:04:05Z'")

    (row,) = list_failures(conn, numbered, target_of(conn, numbered))
    assert (row.column, row.id, row.state, row.reason) == ("numbered.body_vector", "8", "failed", REASON)
    assert (row.run_id, row.attempts, row.first_at) == (target_of(conn, numbered), 3, "2026-01-02T03:04:05+00:00")
    assert row.first_at < row.last_at


def test_only_failures_of_this_text_and_recipe_count(conn: connection, numbered: TextColumn) -> None:
    """A changed text, another recipe, a deleted row and a released one are told apart from those that still fail."""
    add_rows(conn, numbered, dict.fromkeys(range(1, 6), "too large"))
    quarantine(conn, numbered)
    set_text(conn, numbered, 2, "short")
    set_text(conn, numbered, 3, None)
    released(conn, numbered, "4")
    execute(conn, "DELETE FROM numbered WHERE id = 5")
    expected = {"1": "failed", "2": "changed", "3": "changed", "4": "released", "5": "gone"}
    assert states(conn, numbered) == expected
    assert state_of(conn, numbered).failed == 1

    change_recipe(conn, numbered, "second")
    assert states(conn, numbered) == {**dict.fromkeys("1234", "other run"), "5": "gone"}
    assert state_of(conn, numbered).failed == 0


def test_what_is_empty_after_preparation_did_not_fail(conn: connection, notes: TextColumn) -> None:
    """It is blank: nobody has to do anything about it, and nothing is to be tried again."""
    add_rows(conn, notes, {"a": "<br>"})
    (page,) = read_all(conn, notes)
    with conn:
        record_unembeddable(conn, notes, target_of(conn, notes), [UnembeddableRow("a", page.source_md5[0], None)])
    assert states(conn, notes) == {}
    assert released(conn, notes) == 0
    assert state_of(conn, notes).blank == 1


def test_failures_of_other_columns_are_theirs(conn: connection, notes: TextColumn, numbered: TextColumn) -> None:
    """The same id may be in several tables; listing, releasing and forgetting keep to one."""
    add_rows(conn, notes, {"1": "a"})
    add_rows(conn, numbered, {1: "a"})
    quarantine(conn, notes)
    quarantine(conn, numbered)
    assert released(conn, notes) == 1
    write_vectors(conn, notes)
    assert forgotten(conn, notes) == 1
    assert (states(conn, notes), states(conn, numbered)) == ({}, {"1": "failed"})


def test_a_long_list_is_read_a_page_at_a_time(
    conn: connection, notes: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row once, over all pages and runs, also where a page is exactly full."""
    monkeypatch.setattr(failures, "PAGE_ROWS", 4)
    add_rows(conn, notes, {f"{n:02}": "text" for n in range(8)})
    quarantine(conn, notes)
    assert list(states(conn, notes)) == [f"{n:02}" for n in range(8)]

    change_recipe(conn, notes, "second")
    quarantine(conn, notes, "03")
    found = [(row.id, row.state) for row in list_failures(conn, notes, target_of(conn, notes))]
    assert found == [*((f"{n:02}", "other run") for n in range(8)), ("03", "failed")]


def test_ids_of_any_kind_are_listed_released_and_forgotten(conn: connection) -> None:
    """Quotes, blanks, percent signs, braces, 2 KB and any script, in every collation: compared as the table does."""
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, dict.fromkeys(ODD_IDS, "text"))
        quarantine(conn, column)
        assert states(conn, column) == dict.fromkeys(ODD_IDS, "failed"), column
        assert released(conn, column, *ODD_IDS[1:]) == len(ODD_IDS) - 1
        assert set(ids_of(read_all(conn, column))) == set(ODD_IDS[1:])

        write_vectors(conn, column)
        execute(conn, "DELETE FROM embedding_failures WHERE released_at IS NULL")
        assert forgotten(conn, column) == len(ODD_IDS) - 1


def test_names_with_quotes_and_percent_signs_work_too(conn: connection) -> None:
    """Tables and columns are called what their owners like."""
    column = TextColumn(table='Odd "T" 50%', id="The %s Id", text="{t}", vector="v V", id_type="text")
    make_table(conn, column, "varchar")
    add_rows(conn, column, {"a%s": "b"})
    quarantine(conn, column)
    assert states(conn, column) == {"a%s": "failed"}
    assert released(conn, column, "a%s") == 1
    write_vectors(conn, column)
    assert forgotten(conn, column) == 1


def test_a_released_row_is_pending_and_its_attempts_go_on(conn: connection, notes: TextColumn) -> None:
    """The next run tries it; when it fails again, that was the second time and it counts again."""
    add_rows(conn, notes, {"a": "a", "b": "b"})
    quarantine(conn, notes)
    assert ids_of(read_all(conn, notes)) == []
    assert released(conn, notes, "b") == 1
    assert ids_of(read_all(conn, notes)) == ["b"]
    assert state_of(conn, notes).missing == 1

    quarantine(conn, notes, "b")
    assert states(conn, notes) == {"a": "failed", "b": "failed"}
    attempts = {row.id: row.attempts for row in list_failures(conn, notes, target_of(conn, notes))}
    assert attempts == {"a": 1, "b": 2}


def test_all_failures_are_released_at_once(conn: connection, notes: TextColumn) -> None:
    """Those that count: what is pending anyway, or gone, is not said to have been released."""
    add_rows(conn, notes, {"a": "a", "b": "b", "changed": "c", "gone": "d"})
    quarantine(conn, notes)
    set_text(conn, notes, "changed", "C")
    execute(conn, "DELETE FROM notes WHERE id = 'gone'")
    assert released(conn, notes) == 2
    assert released(conn, notes) == 0
    assert states(conn, notes) == {"a": "released", "b": "released", "changed": "changed", "gone": "gone"}


def test_releasing_what_did_not_fail_releases_nothing(conn: connection, notes: TextColumn) -> None:
    """A mistyped id is named, as are those that no database can hold; the right ones beside it stay as they are."""
    add_rows(conn, notes, {"a": "a", "fine": "b"})
    quarantine(conn, notes, "a")
    with pytest.raises(NotQuarantined, match=r"'fine', 'x\\x00y', '\\udcff'\. Nothing was released"), conn:
        release(conn, {notes: target_of(conn, notes)}, ["a", "fine", "x\0y", "\udcff"])
    assert states(conn, notes) == {"a": "failed"}


def test_an_id_is_released_in_every_column_where_it_failed(
    conn: connection, notes: TextColumn, numbered: TextColumn
) -> None:
    """Nobody has to say which column, unless only one of them is meant."""
    add_rows(conn, notes, {"1": "a", "2": "b"})
    add_rows(conn, numbered, {1: "a", 2: "b"})
    quarantine(conn, notes)
    quarantine(conn, numbered, 1)
    targets: Mapping[TextColumn, int] = {column: target_of(conn, column) for column in (notes, numbered)}
    with conn:
        assert release(conn, targets, ["1", "2"]) == {notes: 2, numbered: 1}


def test_a_row_that_has_its_vector_is_quarantined_no_more(conn: connection, notes: TextColumn) -> None:
    """Whether it was released, its text changed, or another run was luckier at the same time; the others stay."""
    add_rows(conn, notes, {"changed": "a", "failed": "b", "lucky": "c", "released": "d", "untried": "e"})
    digest_of = {
        id_: digest for page in read_all(conn, notes) for id_, digest in zip(page.ids, page.source_md5, strict=True)
    }
    quarantine(conn, notes, "changed", "failed", "released", "untried")
    released(conn, notes, "released")
    set_text(conn, notes, "changed", "A")
    write_vectors(conn, notes)
    released(conn, notes, "untried")
    with conn:
        late = UnembeddableRow("lucky", digest_of["lucky"], REASON)
        record_unembeddable(conn, notes, target_of(conn, notes), [late])

    assert forgotten(conn, notes) == 3
    assert states(conn, notes) == {"failed": "failed", "untried": "released"}
    state = state_of(conn, notes)
    assert (state.embedded, state.failed, state.missing) == (3, 1, 1)


def test_a_vector_of_another_recipe_or_text_forgets_nothing(conn: connection, notes: TextColumn) -> None:
    """Such a row is as quarantined as before."""
    add_rows(conn, notes, {"old recipe": "a", "old text": "b"})
    write_vectors(conn, notes)
    set_text(conn, notes, "old text", "B")
    quarantine(conn, notes, "old text")
    assert forgotten(conn, notes) == 0
    assert state_of(conn, notes).failed == 1

    change_recipe(conn, notes, "second")
    quarantine(conn, notes, "old recipe")
    assert forgotten(conn, notes) == 0
    assert state_of(conn, notes).failed == 1


def test_records_of_deleted_rows_are_forgotten(conn: connection, numbered: TextColumn) -> None:
    """They count nowhere, and would be kept for ever."""
    add_rows(conn, numbered, dict.fromkeys((-5, 3, 20), "text"))
    quarantine(conn, numbered)
    execute(conn, "DELETE FROM numbered WHERE id <> 3")
    assert forgotten(conn, numbered) == 2
    assert states(conn, numbered) == {"3": "failed"}


def test_forgetting_keeps_to_its_range_in_the_tables_order(conn: connection) -> None:
    """Other ranges are other runs' business; the start is in, the stop is not, for ids that are gone as well."""
    for column in tables_in_all_collations(conn):
        add_rows(conn, column, dict.fromkeys(("a", "B", "c", "D", "é"), "text"))
        quarantine(conn, column)
        released(conn, column)
        write_vectors(conn, column)
        in_order = [
            str(id_)
            for (id_,) in fetch(conn, f'SELECT id FROM "{column.table}" ORDER BY id')  # noqa: S608
        ]
        execute(conn, f"DELETE FROM \"{column.table}\" WHERE id = 'c'")  # noqa: S608

        expected = {in_order[1], in_order[2], in_order[3]}
        assert forgotten(conn, column, IdRange(in_order[1], in_order[4])) == 3, column
        assert set(states(conn, column)) == set(in_order) - expected, column


def test_a_table_that_had_other_ids_once_is_no_trouble(conn: connection, numbered: TextColumn) -> None:
    """Records of text ids that a bigint cannot hold are of rows that are gone."""
    add_rows(conn, numbered, {1: "a"})
    quarantine(conn, numbered)
    record = "SELECT table_name, vector_column, run_id, 'x', source_md5, kind FROM embedding_failures"
    execute(conn, f"INSERT INTO embedding_failures {record}")
    assert states(conn, numbered) == {"1": "failed", "x": "gone"}
    assert released(conn, numbered) == 1
    write_vectors(conn, numbered)
    assert forgotten(conn, numbered) == 1


def test_without_records_forgetting_reads_no_row(conn: connection, notes: TextColumn) -> None:
    """It is asked after every range, and usually there are none."""
    add_rows(conn, notes, {"a": "a"})
    write_vectors(conn, notes)
    run_id = target_of(conn, notes)
    scans = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables WHERE relname = 'notes'"
    with conn, conn.cursor() as cur:
        cur.execute(scans)
        before = cur.fetchone()
        assert forget_embedded(conn, notes, run_id) == 0
        cur.execute(scans)
        assert cur.fetchone() == before

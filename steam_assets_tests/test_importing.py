"""Vectors come back from files to the rows whose text they were made of, bit for bit, and to no others."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.exports.importing import ImportReport, OtherVectors, import_vectors
from steam_assets.exports.manifest import Format
from steam_assets.exports.vector_files import VectorFile, open_vectors
from steam_assets.store import vector_indexes
from steam_assets.store.export_rows import VectorPage
from steam_assets.store.runs import column_runs
from steam_assets.targets import choose_first_model, target_run
from steam_assets_tests.exported import export, forget_vectors
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import (
    ODD_IDS,
    Connect,
    add_reviews,
    add_rows,
    change_recipe,
    embed,
    execute,
    fetch,
    set_text,
    state_of,
    table_digest,
    target_of,
)

BOTH: tuple[Format, ...] = ("parquet", "npy")
REVIEW_TEXTS = {str(1000 + n): f"the farm, day {n}" for n in range(40)}


def no_model(model: Model) -> Encoder:
    """Nothing has to be encoded where the file says what made it."""
    raise AssertionError("a model was asked for")


def bring_back(connect: Connect, column: TextColumn, path: Path) -> ImportReport:
    """Load an export into a column."""
    return import_vectors(connect, column, open_vectors(path), no_model)


def test_an_index_in_the_way_of_many_vectors_is_told_and_dropped_where_that_is_allowed(
    conn: connection, numbered: TextColumn, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before a run that fills as many rows, and how to have it back is said last; for a few vectors it stays."""
    monkeypatch.setattr(vector_indexes, "BULK_ROWS", 5)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(20)})
    embed(conn, numbered)
    export(connect, numbered, tmp_path, "npy")
    forget_vectors(conn, numbered)
    execute(conn, "CREATE INDEX near ON numbered USING hnsw (body_vector vector_cosine_ops)")
    said: list[str] = []
    file = open_vectors(tmp_path)
    few = replace(file, rows=4, pages=lambda column: (page.first(4) for page in file.pages(column)))
    assert import_vectors(connect, numbered, few, no_model, drop_index=True, log=said.append).written == 4
    assert said == []
    report = import_vectors(connect, numbered, file, no_model, drop_index=True, log=said.append)
    assert report.written == 16
    assert ("16 of 20 rows are to be written" in said[0], said[1].endswith("near was dropped.")) == (True, True)
    assert "`steam-assets index build numbered.body_vector`" in said[2]
    assert fetch(conn, "SELECT to_regclass('near')") == [(None,)]


@pytest.mark.parametrize("file_format", BOTH)
@pytest.mark.parametrize("kind", ["bigint", "text"])
def test_an_export_comes_back_bit_for_bit(
    conn: connection,
    notes: TextColumn,
    numbered: TextColumn,
    connect: Connect,
    tmp_path: Path,
    file_format: Format,
    kind: str,
) -> None:
    """The same vectors, run and digests on the same rows, whatever their ids; a second time changes nothing."""
    column = notes if kind == "text" else numbered
    if kind == "text":
        add_rows(conn, column, {**{id_: f"text of {id_}" for id_ in ODD_IDS}, "cr\rinside": "a", "1.0": "b"})
    else:
        add_rows(conn, column, {id_: f"text {id_}" for id_ in (-(2**63), -1, 0, 1, 10**12, 2**63 - 1)})
    embed(conn, column)
    before = table_digest(conn, column)
    rows = export(connect, column, tmp_path, file_format).rows

    forget_vectors(conn, column)
    assert table_digest(conn, column) != before
    report = bring_back(connect, column, tmp_path)
    assert (report.rows, report.written, report.sampled) == (rows, rows, 0)
    assert table_digest(conn, column) == before
    assert state_of(conn, column).pending == 0

    versions = f"SELECT xmin::text, ctid::text FROM {column.table} ORDER BY {column.id}"  # noqa: S608
    written = fetch(conn, versions)
    again = bring_back(connect, column, tmp_path)
    assert (again.written, again.embedded) == (0, rows)
    assert fetch(conn, versions) == written
    ((notes_of_run,),) = fetch(conn, "SELECT notes FROM embedding_runs WHERE run_id = %(run)s", run=report.run_id)
    assert str(notes_of_run).count("rows loaded from") == 1


def test_a_halfvec_column_comes_back_as_it_was(
    conn: connection, notes: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """Halves become float32 and halves again without a change."""
    execute(conn, "ALTER TABLE notes ALTER COLUMN body_vector TYPE halfvec(8)")
    add_rows(conn, notes, {str(n): f"text {n}" for n in range(50)})
    embed(conn, notes)
    before = table_digest(conn, notes)
    export(connect, notes, tmp_path, "npy")
    forget_vectors(conn, notes)
    assert bring_back(connect, notes, tmp_path).written == 50
    assert table_digest(conn, notes) == before


@pytest.mark.parametrize("file_format", BOTH)
def test_only_rows_with_the_same_text_get_their_vector_back(
    conn: connection, notes: TextColumn, connect: Connect, tmp_path: Path, file_format: Format
) -> None:
    """A changed text stays pending, a blank one without a vector, a deleted id is counted; what is embedded stays."""
    add_rows(conn, notes, {name: f"text {name}" for name in ("same", "changed", "blank", "gone", "embedded", "failed")})
    embed(conn, notes)
    export(connect, notes, tmp_path, file_format)
    execute(conn, "UPDATE notes SET body_vector = NULL, embedding_run_id = NULL WHERE id <> 'embedded'")
    execute(conn, "DELETE FROM notes WHERE id = 'gone'")
    set_text(conn, notes, "changed", "another text")
    set_text(conn, notes, "blank", " \n")
    execute(
        conn,
        """
        INSERT INTO embedding_failures (table_name, vector_column, run_id, id, source_md5, kind, reason)
        SELECT 'notes', 'body_vector', %(run)s, id, md5(body)::uuid, 'failed', 'why' FROM notes WHERE id = 'failed'
        """,
        run=target_of(conn, notes),
    )
    assert state_of(conn, notes).failed == 1

    report = bring_back(connect, notes, tmp_path)
    assert (report.rows, report.written, report.embedded) == (6, 2, 1)
    assert (report.changed, report.blank, report.unknown) == (1, 1, 1)
    found = fetch(conn, "SELECT id FROM notes WHERE body_vector IS NOT NULL ORDER BY id")
    assert found == [("embedded",), ("failed",), ("same",)]
    state = state_of(conn, notes)
    assert (state.embedded, state.missing, state.blank, state.failed) == (3, 1, 1, 0)


def test_a_text_that_changes_meanwhile_keeps_its_row_pending(
    conn: connection, notes: TextColumn, connect: Connect, other_conn: connection, tmp_path: Path
) -> None:
    """Between the look at a row and the write: the guarded UPDATE refuses it."""
    add_rows(conn, notes, {name: f"text {name}" for name in "abc"})
    embed(conn, notes)
    export(connect, notes, tmp_path, "npy")
    forget_vectors(conn, notes)

    def meanwhile(rows: int) -> None:
        with other_conn.cursor() as cursor:
            cursor.execute("UPDATE notes SET body = 'new' WHERE id = 'b'; DELETE FROM notes WHERE id = 'c'")

    report = import_vectors(connect, notes, open_vectors(tmp_path), no_model, meanwhile)
    assert (report.written, report.changed, report.unknown) == (1, 1, 1)
    assert fetch(conn, "SELECT id FROM notes WHERE body_vector IS NOT NULL") == [("a",)]


def test_vectors_of_another_recipe_are_refused_and_nothing_is_written(
    conn: connection, notes: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """What differs is named, and the way to it: a model can be chosen, the rest belongs to a column of its own."""
    add_rows(conn, notes, {"a": "a"})
    embed(conn, notes)
    export(connect, notes, tmp_path, "npy")
    file = open_vectors(tmp_path)
    assert file.origin is not None
    later = replace(file.origin, recipe={**(file.origin.recipe or {}), "prompt": None})
    assert import_vectors(connect, notes, replace(file, origin=later), no_model).embedded == 1  # nothing differs
    change_recipe(conn, notes, "second")
    before = table_digest(conn, notes)
    said = r"revision 'first', expected 'second'\. Nothing was written\. For the file's revision, add an entry "
    with pytest.raises(OtherVectors, match=said):
        bring_back(connect, notes, tmp_path)
    other = replace(file, origin=replace(file.origin, model_name="other"))
    with pytest.raises(OtherVectors, match=r"model 'other', expected 'made-up'.* notes\.body_vector --model other`"):
        import_vectors(connect, notes, other, no_model)
    assert table_digest(conn, notes) == before


def test_a_complete_import_lets_searches_follow(
    conn: connection, notes: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """As a complete embed does: searches read the target run once nothing is pending."""
    add_rows(conn, notes, {"a": "a", "b": "b"})
    embed(conn, notes)
    second = change_recipe(conn, notes, "second")
    embed(conn, notes)
    export(connect, notes, tmp_path, "npy")
    execute(conn, "UPDATE notes SET body_vector = NULL WHERE id = 'a'")
    serving = column_runs(conn, notes).serving
    conn.rollback()
    assert serving is not None
    assert serving.run_id != second

    bring_back(connect, notes, tmp_path)
    serving = column_runs(conn, notes).serving
    conn.rollback()
    assert serving is not None
    assert serving.run_id == second


@pytest.fixture
def published_reviews(conn: connection, minilm: Model) -> TextColumn:
    """Reviews without vectors, to be filled with MiniLM."""
    add_reviews(conn, REVIEW_TEXTS)
    with conn:
        choose_first_model(conn, REVIEWS, minilm)
    return REVIEWS


def publish(directory: Path, model: Model, texts: dict[str, str], header: Sequence[str] = ("review_id",)) -> VectorFile:
    """The published layout: float32 vectors of the prepared texts, and their ids in a CSV."""
    prepare = find_preparation(REVIEWS.preparation).prepare
    np.save(directory / "vectors.npy", hash_encoder(model).encode([prepare(text) for text in texts.values()]))
    with (directory / "ids.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *([id_] for id_ in texts)])
    return open_vectors(directory / "vectors.npy", directory / "ids.csv")


def test_the_published_layout_is_adopted_when_encoding_a_sample_again_agrees(
    conn: connection, published_reviews: TextColumn, connect: Connect, minilm: Model, tmp_path: Path
) -> None:
    """No recipe and no digests: the rows get the target run and the digest of their present text."""
    texts = {**REVIEW_TEXTS, "not there": "x"}
    report = import_vectors(connect, REVIEWS, publish(tmp_path, minilm, texts), hash_encoder)
    assert (report.rows, report.written, report.unknown, report.sampled) == (41, 40, 1, 40)
    assert report.lowest_cosine == pytest.approx(1)
    run = target_run(conn, REVIEWS)
    where = "review_embedding_source_md5 = md5(review_text)::uuid AND embedding_run_id = %(run)s"
    assert fetch(conn, f"SELECT count(*) FROM reviews WHERE {where}", run=run.run_id) == [(40,)]  # noqa: S608
    ((notes,),) = fetch(conn, "SELECT notes FROM embedding_runs WHERE run_id = %(run)s", run=run.run_id)
    assert "rows loaded from vectors.npy; 40 encoded again, lowest cosine 1.0" in str(notes)


def test_vectors_that_encoding_again_does_not_give_are_refused(
    conn: connection, published_reviews: TextColumn, connect: Connect, minilm: Model, tmp_path: Path
) -> None:
    """Of other texts, as those of the published CSV files are, or of another model: nothing is written."""
    other = {id_: f"{text} and all that the CSV lacks" for id_, text in REVIEW_TEXTS.items()}
    with pytest.raises(OtherVectors, match=r"of 40 rows .* encoded again, the lowest cosine is -?0\.\d+; expected"):
        import_vectors(connect, REVIEWS, publish(tmp_path, minilm, other), hash_encoder)
    assert fetch(conn, "SELECT count(review_embedding) FROM reviews") == [(0,)]


def test_ids_shifted_by_one_row_are_found_out(
    conn: connection, published_reviews: TextColumn, connect: Connect, minilm: Model, tmp_path: Path
) -> None:
    """The commonest mistake with two files: every vector is sound, and none is where it belongs."""
    file = publish(tmp_path, minilm, REVIEW_TEXTS)
    vectors = np.load(tmp_path / "vectors.npy")
    np.save(tmp_path / "vectors.npy", np.roll(vectors, 1, axis=0))
    with pytest.raises(OtherVectors, match="lowest cosine"):
        import_vectors(connect, REVIEWS, open_vectors(tmp_path / "vectors.npy", tmp_path / "ids.csv"), hash_encoder)
    assert file.rows == 40
    assert fetch(conn, "SELECT count(review_embedding) FROM reviews") == [(0,)]


def test_vectors_of_another_dimension_are_refused_before_the_file_is_read(
    published_reviews: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """Both numbers are in the message, and that they need a column of their own."""
    np.save(tmp_path / "v.npy", np.eye(3, 5))
    with pytest.raises(OtherVectors, match=r"holds vectors of 5 numbers; .* 384 numbers\. Add an entry .* own"):
        import_vectors(connect, REVIEWS, open_vectors(tmp_path / "v.npy"), hash_encoder)


def test_nothing_is_written_when_a_later_row_of_the_file_is_not_sound(
    conn: connection, notes: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """The file is read to its end first."""
    add_rows(conn, notes, {str(n): f"text {n}" for n in range(9)})
    embed(conn, notes)
    export(connect, notes, tmp_path, "npy")
    forget_vectors(conn, notes)
    file = open_vectors(tmp_path)

    def pages(column: TextColumn) -> Iterator[VectorPage]:
        for page in file.pages(column):
            half = page.first(4)
            yield half
            yield VectorPage(page.ids[4:], None, page.vectors[4:] * np.float32(1.1))

    with pytest.raises(Exception, match=r"row 5: the vector of '4' has length 1\.1"):
        import_vectors(connect, notes, replace(file, pages=pages), no_model)
    assert fetch(conn, "SELECT count(body_vector) FROM notes") == [(0,)]


def test_a_sample_is_the_same_rows_whatever_the_order_of_the_file(
    published_reviews: TextColumn, connect: Connect, minilm: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spread over the file by a hash of the id, and no more of them than asked for."""
    monkeypatch.setattr("steam_assets.exports.importing.ADOPTION_SAMPLE", 5)
    seen: list[list[str]] = []

    def watched(model: Model) -> Any:
        encoder = hash_encoder(model)
        encode: Callable[[Sequence[str]], Any] = encoder.encode

        class Watched:
            def encode(self, texts: Sequence[str]) -> Any:
                seen.append(list(texts))
                return -encode(texts)

        return Watched()

    for texts in (REVIEW_TEXTS, dict(reversed(REVIEW_TEXTS.items()))):
        with pytest.raises(OtherVectors):
            import_vectors(connect, REVIEWS, publish(tmp_path, minilm, texts), watched)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 5
    assert seen[0] != list(REVIEW_TEXTS.values())[:5]

"""Writing vectors: one transaction a chunk, again without effect, and what becomes of rows that get none."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch, InvalidEmbeddings, UnembeddableRow
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store import binary_copy, write
from steam_assets.store.write import TargetChanged, TooManyFailures, WriteCounts, require_target, write_batches
from steam_assets_tests.rows import (
    DIMENSION,
    add_rows,
    change_recipe,
    embed,
    encode,
    execute,
    fetch,
    make_table,
    read_all,
    set_text,
    state_of,
    table_digest,
    target_of,
    vectors_of,
    write_all,
)


def test_vector_run_and_digest_appear_in_one_transaction(
    conn: connection, other_conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ever sees one of the three without the others, and none before its chunk is committed."""
    monkeypatch.setattr(write, "CHUNK_ROWS", 10)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(30)})
    seen: list[Any] = []

    def look() -> None:
        query = "SELECT num_nonnulls(body_vector, embedding_run_id, body_vector_source_md5), count(*) FROM numbered"
        seen.append(sorted(fetch(other_conn, query + " GROUP BY 1")))

    def batches() -> Iterator[EncodedBatch]:
        for start in range(0, 30, 5):
            for page in read_all(other_conn, numbered, IdRange(start, start + 5)):
                yield encode(page)
            look()

    write_batches(conn, numbered, target_of(conn, numbered), EVERYTHING, batches())
    look()
    assert seen == [[(0, 30)], [(0, 20), (3, 10)], [(0, 20), (3, 10)]] + [[(0, 10), (3, 20)]] * 2 + [[(3, 30)]] * 2


def test_doing_it_again_changes_nothing(conn: connection, notes: TextColumn) -> None:
    """A second run reads nothing; a retried write of the same batches leaves every value as it was."""
    add_rows(conn, notes, {f"id {n}": f"text {n}" for n in range(50)} | {"blank": " "})
    batches = [encode(page) for page in read_all(conn, notes)]
    write_all(conn, notes, batches)
    before = table_digest(conn, notes)

    assert embed(conn, notes) == WriteCounts()
    assert table_digest(conn, notes) == before
    write_all(conn, notes, batches)
    assert table_digest(conn, notes) == before


def test_a_rerun_reads_only_what_is_pending(conn: connection, notes: TextColumn) -> None:
    """A changed text and a new row, and nothing else."""
    add_rows(conn, notes, {f"id {n}": f"text {n}" for n in range(50)})
    embed(conn, notes)
    set_text(conn, notes, "id 7", "changed")
    add_rows(conn, notes, {"new": "new"})
    assert embed(conn, notes).written == 2


def test_an_error_keeps_the_chunks_before_it_and_nothing_of_its_own(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error itself rises; the next run takes up from there."""
    monkeypatch.setattr(write, "CHUNK_ROWS", 10)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(30)})
    pages = [page for start in range(0, 30, 5) for page in read_all(conn, numbered, IdRange(start, start + 5))]

    def batches() -> Iterator[EncodedBatch]:
        for page in pages[:3]:
            yield encode(page)
        raise ZeroDivisionError("in the encoder")

    with pytest.raises(ZeroDivisionError, match="in the encoder"):
        write_batches(conn, numbered, target_of(conn, numbered), EVERYTHING, batches())
    assert fetch(conn, "SELECT max(id) FROM numbered WHERE body_vector IS NOT NULL") == [(9,)]
    assert embed(conn, numbered).written == 20


def test_a_vector_of_another_dimension_takes_its_chunk_with_it_and_no_other(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of that chunk is sent, and what was committed before stays."""
    monkeypatch.setattr(write, "CHUNK_ROWS", 10)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(20)})
    pages = [page for start in range(0, 20, 5) for page in read_all(conn, numbered, IdRange(start, start + 5))]
    last = pages[-1]
    wrong = Embeddings(last.ids, last.row_versions, last.source_md5, vectors_of(last.source_md5, DIMENSION + 1))
    with pytest.raises(InvalidEmbeddings, match="vectors of 9 numbers; the run's have 8"):
        write_all(conn, numbered, [*(encode(page) for page in pages[:-1]), EncodedBatch(wrong)])
    assert fetch(conn, "SELECT count(*) FROM numbered WHERE body_vector IS NOT NULL") == [(10,)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("no room")])
def test_an_interrupt_while_rows_are_sent_is_still_an_interrupt(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """psycopg2 calls whatever happens in mid-COPY a cancelled query, and a range would be failed, not aborted."""
    add_rows(conn, numbered, {1: "a", 2: "b"})
    (page,) = read_all(conn, numbered)

    def stop(part: Embeddings) -> bytes:
        raise error

    monkeypatch.setattr(binary_copy, "_body", stop)
    with pytest.raises(type(error)) as raised:
        write_all(conn, numbered, [encode(page)])
    assert raised.value is error
    assert state_of(conn, numbered).missing == 2


def test_a_row_that_comes_twice_in_a_chunk_is_refused(conn: connection, numbered: TextColumn) -> None:
    """Which of its vectors an UPDATE took would be chance."""
    add_rows(conn, numbered, {1: "a", 2: "b"})
    (page,) = read_all(conn, numbered)
    with pytest.raises(InvalidEmbeddings, match="twice in a chunk"):
        write_all(conn, numbered, [encode(page), encode(page)])
    assert state_of(conn, numbered).missing == 2


def test_nan_never_reaches_the_table(conn: connection, numbered: TextColumn) -> None:
    """It is refused before anything is sent, so the chunk's other rows are not lost to the server's error."""
    add_rows(conn, numbered, {1: "a"})
    (page,) = read_all(conn, numbered)
    vectors = vectors_of(page.source_md5)
    vectors[0, 3] = np.nan
    with pytest.raises(InvalidEmbeddings, match="NaN"):
        Embeddings(page.ids, page.row_versions, page.source_md5, vectors)


def test_rows_that_cannot_be_embedded_are_kept_with_reason_and_attempts(conn: connection, notes: TextColumn) -> None:
    """One bad row costs one row; another text or recipe starts the count anew."""
    add_rows(conn, notes, {"a": "a", "bad": "b", "nothing left": "<br>"})
    (page,) = read_all(conn, notes)

    def batch(digest: bytes) -> EncodedBatch:
        unembeddable = (
            UnembeddableRow("bad", digest, "out of memory"),
            UnembeddableRow("nothing left", page.source_md5[2], None),
        )
        good = Embeddings(["a"], page.row_versions[:1], page.source_md5[:1], vectors_of(page.source_md5[:1]))
        return EncodedBatch(good, unembeddable)

    def recorded() -> list[tuple[object, ...]]:
        return fetch(conn, "SELECT id, kind, reason, attempts FROM embedding_failures ORDER BY run_id, id")

    counts = write_all(conn, notes, [batch(page.source_md5[1])])
    assert (counts.written, counts.failed, counts.empty, counts.handled) == (1, 1, 1, 3)
    write_all(conn, notes, [batch(page.source_md5[1])])
    assert recorded() == [("bad", "failed", "out of memory", 2), ("nothing left", "empty", None, 2)]

    write_all(conn, notes, [batch(b"x" * 16)])
    assert recorded()[0] == ("bad", "failed", "out of memory", 1)
    change_recipe(conn, notes, "second")
    write_all(conn, notes, [batch(page.source_md5[1])])
    assert [attempts for *_, attempts in recorded()] == [1, 3, 1, 1]


def test_a_vector_on_a_text_that_became_blank_is_cleared_in_its_range(conn: connection, numbered: TextColumn) -> None:
    """Vector, run and digest go together; other ranges are left to their own run."""
    add_rows(conn, numbered, dict.fromkeys(range(4), "text"))
    embed(conn, numbered)
    execute(conn, "UPDATE numbered SET body = CASE id WHEN 0 THEN NULL ELSE E' \\t' END WHERE id IN (0, 1, 3)")
    assert embed(conn, numbered, IdRange(None, 2)).cleared == 2
    state = state_of(conn, numbered)
    assert (state.blank, state.embedded, state.stale) == (2, 1, 1)
    cleared = "SELECT id FROM numbered WHERE num_nulls(body_vector, embedding_run_id, body_vector_source_md5) = 3"
    assert fetch(conn, cleared + " ORDER BY id") == [(0,), (1,)]


def test_every_commit_is_told_with_the_counts_so_far(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The progress bar shows what is in the table."""
    monkeypatch.setattr(write, "CHUNK_ROWS", 10)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(25)})
    pages = [page for start in range(0, 25, 5) for page in read_all(conn, numbered, IdRange(start, start + 5))]
    told: list[int] = []
    write_batches(
        conn,
        numbered,
        target_of(conn, numbered),
        EVERYTHING,
        map(encode, pages),
        on_commit=lambda counts: told.append(counts.written),
    )
    assert told == [10, 20, 25]


def test_a_slow_encoder_is_committed_by_the_clock(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill then costs seconds of work, not 1,500 rows."""
    monkeypatch.setattr(write, "CHUNK_S", 0.0)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(4)})
    pages = [page for start in range(4) for page in read_all(conn, numbered, IdRange(start, start + 1))]
    told: list[int] = []
    write_batches(
        conn,
        numbered,
        target_of(conn, numbered),
        EVERYTHING,
        map(encode, pages),
        lambda counts: told.append(counts.written),
    )
    assert told == [1, 2, 3, 4, 4]


def test_one_temp_table_serves_all_ranges_of_a_connection(conn: connection, numbered: TextColumn) -> None:
    """One for each column, made once: each leaves dead rows in the catalog."""
    text = TextColumn(table="texts", id="id", text="body", vector="v", id_type="text")
    make_table(conn, text, "text")
    add_rows(conn, numbered, {1: "a", 2: "b"})
    add_rows(conn, text, {"x": "c"})
    assert embed(conn, numbered, IdRange(None, 2)).written == 1
    assert embed(conn, text).written == 1
    assert embed(conn, numbered).written == 1
    assert fetch(conn, "SELECT count(*) FROM pg_class WHERE relname LIKE 'new_embeddings_%'") == [(2,)]


def test_an_empty_stream_writes_nothing_and_is_told(conn: connection, numbered: TextColumn) -> None:
    """A range without pending rows is done at once."""
    assert write_all(conn, numbered, []) == WriteCounts()


def failures_of(column_rows: list[EncodedBatch], reason: str | None) -> list[EncodedBatch]:
    """Batches in which no row has a vector."""
    return [
        EncodedBatch(
            Embeddings([], [], [], vectors_of([])),
            [
                UnembeddableRow(id_, digest, reason)
                for id_, digest in zip(batch.embeddings.ids, batch.embeddings.source_md5, strict=True)
            ],
        )
        for batch in column_rows
    ]


def test_above_the_threshold_a_run_fails_instead_of_quarantining_everything(
    conn: connection, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunk that goes too far quarantines none of its rows; the message names one, its reason and the setting."""
    monkeypatch.setattr(write, "CHUNK_ROWS", 10)
    add_rows(conn, numbered, {n: f"text {n}" for n in range(40)})
    pages = [page for start in range(0, 40, 10) for page in read_all(conn, numbered, IdRange(start, start + 10))]
    failing = failures_of([encode(page) for page in pages], "the device is broken")
    message = r"20 of 40 rows cannot be embedded, more than 0\.10%; the last is 19: the device is broken.+MAX_FAILED"
    with pytest.raises(TooManyFailures, match=message):
        write_all(conn, numbered, failing)
    assert fetch(conn, "SELECT count(*) FROM embedding_failures") == [(10,)]
    assert state_of(conn, numbered).missing == 30


def test_a_higher_threshold_and_rows_without_text_are_no_reason_to_fail(conn: connection, numbered: TextColumn) -> None:
    """Half may fail where a person says so; rows of which nothing is left after preparation did not fail."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(40)})
    first = failures_of([encode(page) for page in read_all(conn, numbered, IdRange(0, 20))], "too odd")
    second = failures_of([encode(page) for page in read_all(conn, numbered, IdRange(20, 40))], None)
    counts = write_batches(conn, numbered, target_of(conn, numbered), EVERYTHING, [*first, *second], failed_share=0.5)
    assert (counts.failed, counts.empty) == (20, 20)


def test_vectors_of_a_run_that_is_no_longer_wanted_are_refused(conn: connection, numbered: TextColumn) -> None:
    """Nothing of the chunk is written, no failure recorded either: newer is never replaced by older."""
    add_rows(conn, numbered, {1: "a", 2: "b"})
    run_id = target_of(conn, numbered)
    (page,) = read_all(conn, numbered)
    newer = change_recipe(conn, numbered, "newer")
    with pytest.raises(TargetChanged, match=f"filled with run {newer} now, and these vectors are of run {run_id}"):
        write_batches(conn, numbered, run_id, EVERYTHING, [encode(page)])
    assert fetch(conn, "SELECT count(body_vector) FROM numbered") == [(0,)]


def test_a_change_of_model_waits_for_the_chunk_that_is_being_written(
    conn: connection, other_conn: connection, numbered: TextColumn
) -> None:
    """It comes before a chunk or after it, never in between."""
    with conn:
        require_target(conn, numbered, target_of(conn, numbered))
        execute(other_conn, "SET lock_timeout = '50ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            change_recipe(other_conn, numbered, "newer")


def test_a_range_s_record_waits_for_the_disk_and_chunks_do_not(conn: connection, numbered: TextColumn) -> None:
    """What a chunk sets ends with its transaction."""
    add_rows(conn, numbered, {1: "a"})
    embed(conn, numbered)
    assert fetch(conn, "SHOW synchronous_commit") == [("on",)]

"""The pipeline's three parts at work at once, with only a few pages in memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets import stages
from steam_assets.columns import TextColumn
from steam_assets.embeddings import SourceTexts
from steam_assets.encoder import preparation
from steam_assets.encoder.batching import TokenBudget
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.preparation import Preparation
from steam_assets.id_range import EVERYTHING
from steam_assets.prefetch import Prefetch
from steam_assets.stream import EmbeddingStream, open_stream
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import PAGE_OF_REVIEWS, Connect, add_reviews
from steam_assets_tests.vectors import page


class NotingCursor(psycopg2.extensions.cursor):
    """A cursor that tells what is about to be executed."""

    about_to_execute: Callable[[], object]

    def execute(self, query: str | bytes | sql.Composable, vars: object = None) -> None:  # noqa: A002 (psycopg2's name)
        self.about_to_execute()
        super().execute(query, vars)  # type: ignore[arg-type]


def noting_connections(connect: Connect, about_to_execute: Callable[[], object]) -> Connect:
    """Connections that call back before each statement."""

    class Noting(NotingCursor):
        pass

    Noting.about_to_execute = staticmethod(about_to_execute)

    def noting() -> connection:
        opened = connect()
        opened.cursor_factory = Noting
        return opened

    return noting


def stream_of(connect: Connect, reviews: TextColumn, encoder: Encoder, reader: Connect) -> EmbeddingStream:
    """A stream that reads with connections of its own kind."""
    found = open_stream(reviews, [EVERYTHING], lambda model: encoder, connect)
    return EmbeddingStream(reviews, [EVERYTHING], found.run, encoder, reader)


def test_reader_encoder_and_writer_are_at_work_at_the_same_time(
    connect: Connect, reviews: TextColumn, minilm_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits in the middle of its work until the other two are in theirs: taking turns would never end."""
    meeting = threading.Barrier(3, timeout=60)
    statements = 0

    def about_to_execute() -> None:
        nonlocal statements
        statements += 1
        if statements == 3:
            meeting.wait()

    def prepare(text: str) -> str:
        if text.endswith("day 5"):
            meeting.wait()
        return text

    monkeypatch.setitem(preparation.PREPARATIONS, "plain", Preparation("plain", 1, prepare))
    stream = stream_of(connect, reviews, minilm_encoder, noting_connections(connect, about_to_execute))
    with closing(stream.batches(EVERYTHING)) as batches:
        rows = len(next(batches).embeddings)
        meeting.wait()
        rows += sum(len(batch.embeddings) for batch in batches)
    assert rows == 48


def test_only_a_few_pages_are_in_memory_whatever_the_tables_size(
    conn: connection,
    connect: Connect,
    reviews: TextColumn,
    minilm_encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A writer that falls behind stops the encoder, and it the tokenizer, and it the reader: every queue is bounded."""
    for bound in ("PAGE_BYTES_AHEAD", "WINDOW_TOKENS_AHEAD", "BATCH_BYTES_AHEAD", "WINDOW_ROWS"):
        monkeypatch.setattr(stages, bound, 1)
    add_reviews(conn, {f"t{n:03}": f"more {n}" for n in range(252)})
    read_pages = 0

    def about_to_execute() -> None:
        nonlocal read_pages
        read_pages += 1

    # In the writer's hand; one waiting and one in the hands of encoder, tokenizer and reader each.
    most = 1 + 3 * 2
    stream = stream_of(connect, reviews, minilm_encoder, noting_connections(connect, about_to_execute))
    with closing(stream.batches(EVERYTHING)) as batches:
        seen: set[object] = set()
        for taken, batch in enumerate(batches):
            seen.update(batch.embeddings.ids)
            if taken == 5:
                wait_until(lambda: read_pages - len(seen) // PAGE_OF_REVIEWS >= 4, "the reader runs ahead")
                assert not threading.Event().wait(0.5)
            assert read_pages - len(seen) // PAGE_OF_REVIEWS <= most
    assert (len(seen), read_pages) == (300, 300 // PAGE_OF_REVIEWS + 1)


def test_pages_that_wait_become_one_window_and_none_waits_for_another() -> None:
    """A busy device gets large windows; the first page, and a short tail, go at once."""
    more = threading.Event()

    def read() -> Iterator[SourceTexts]:
        yield page(["first"])
        more.wait(10)
        for number in range(1, 4):
            yield page([f"text {number}"], first_id=number)

    with closing(Prefetch(read(), 10_000, "reader", stages.text_bytes)) as pages:
        windows = stages.together(pages)
        assert list(next(windows).texts) == ["first"]
        more.set()
        wait_until(lambda: len(pages._waiting) == 3, "three pages are waiting")
        assert [list(window.ids) for window in windows] == [[1, 2, 3]]


def test_a_window_is_bounded_in_rows_and_in_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader far ahead does not make windows without end."""
    for bound, most, expected in (("WINDOW_ROWS", 2, [2, 2, 2]), ("WINDOW_BYTES", 10, [1, 1, 1, 1, 1, 1])):
        with monkeypatch.context() as patch:
            patch.setattr(stages, bound, most)
            with closing(Prefetch([page(["ten letter"])] * 6, 10_000, "reader", stages.text_bytes)) as pages:
                assert not pages.is_ready()
                windows = stages.together(pages)
                sizes = [len(next(windows))]
                wait_until(partial(lambda waiting: len(waiting) >= 4, pages._waiting), "pages are waiting")
                sizes += [len(window) for window in windows]
            assert sum(sizes) == 6
            assert sizes[-2:] == expected[-2:]


def test_an_error_of_the_reader_comes_after_the_pages_before_it() -> None:
    """They are encoded and written; then the error is what the user sees."""

    def read() -> Iterator[SourceTexts]:
        yield page(["one"])
        raise psycopg2.OperationalError("the server is gone")

    with closing(Prefetch(read(), 10_000, "reader", stages.text_bytes)) as pages:
        windows = stages.together(pages)
        assert list(next(windows).texts) == ["one"]
        with pytest.raises(psycopg2.OperationalError, match="the server is gone"):
            next(windows)


def test_stopping_takes_no_longer_than_one_pack(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while all stages are busy: nobody waits for what will not come, and no thread is left."""
    add_reviews(conn, {f"t{n:03}": f"more {n} " * 40 for n in range(252)})
    monkeypatch.setattr(minilm_encoder, "budget", TokenBudget(256))
    before = threading.active_count()
    stream = stream_of(connect, reviews, minilm_encoder, connect)
    batches = stream.batches(EVERYTHING)
    next(batches)
    forwards = minilm_encoder.work.forwards
    batches.close()
    assert minilm_encoder.work.forwards - forwards <= 2
    assert threading.active_count() == before


def test_a_stream_reads_nothing_before_someone_iterates_and_then_each_time_anew(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """Dagster may hold it for a while; a retried range must not find it used up."""
    opened: list[connection] = []

    def noted() -> connection:
        opened.append(connect())
        return opened[-1]

    stream = stream_of(connect, reviews, minilm_encoder, noted)
    stream.batches(EVERYTHING)
    assert opened == []
    for _ in range(2):
        assert sum(len(batch.embeddings) for batch in stream.batches(EVERYTHING)) == 48
    assert [found.closed for found in opened] == [1, 1]

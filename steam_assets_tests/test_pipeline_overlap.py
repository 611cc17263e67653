"""The pipeline's three parts at work at once, with only a few pages in memory."""

import threading
from collections.abc import Callable
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder import preparation
from steam_assets.encoder.preparation import Preparation
from steam_assets.encoder.transformer import Encoder
from steam_assets.id_range import EVERYTHING
from steam_assets.pipeline import BATCHES_AHEAD, PAGES_AHEAD, EmbeddingStream, open_stream
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import PAGE_OF_REVIEWS, Connect, add_reviews


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
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """A writer that falls behind stops the reader: queues are bounded."""
    add_reviews(conn, {f"t{n:03}": f"more {n}" for n in range(252)})
    read_pages = 0

    def about_to_execute() -> None:
        nonlocal read_pages
        read_pages += 1

    # In the writer's hand, queued, and in the hands of encoder and reader; each page gives at least one batch.
    most = 1 + BATCHES_AHEAD + 1 + PAGES_AHEAD + 1 + 1
    stream = stream_of(connect, reviews, minilm_encoder, noting_connections(connect, about_to_execute))
    with closing(stream.batches(EVERYTHING)) as batches:
        seen: set[object] = set()
        for taken, batch in enumerate(batches):
            seen.update(batch.embeddings.ids)
            if taken == 5:
                wait_until(lambda: read_pages - len(seen) // PAGE_OF_REVIEWS >= BATCHES_AHEAD, "the reader runs ahead")
                assert not threading.Event().wait(0.5)
            assert read_pages - len(seen) // PAGE_OF_REVIEWS <= most
    assert (len(seen), read_pages) == (300, 300 // PAGE_OF_REVIEWS + 1)


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

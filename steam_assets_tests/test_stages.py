"""Where an attempt's seconds go: each stage is told its own work, and who waits for whom."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from steam_assets import stages
from steam_assets.embeddings import SourceTexts
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import PREPARATIONS
from steam_assets.stages import StageSeconds, encoded
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.vectors import page

PAGES = 4
SLOW_S = 0.1


def pages(each_s: float = 0.0) -> Iterator[SourceTexts]:
    """A few pages of texts, each read in so many seconds."""
    for number in range(PAGES):
        threading.Event().wait(each_s)
        yield page([f"text {number} {row}" for row in range(10)], first_id=10 * number)


def seconds_of(
    model: Model, read_s: float = 0.0, write_s: float = 0.0, rows_per_s: float | None = None
) -> StageSeconds:
    """What each stage took where reading or writing a page is slow, or the device encodes so many rows a second."""
    seconds = StageSeconds()
    source = encoded(pages(read_s), hash_encoder(model, rows_per_s), PREPARATIONS["plain"], seconds=seconds)
    with seconds.writing(), closing(source) as batches:
        for _ in batches:
            threading.Event().wait(write_s)
    return seconds


def test_a_slow_reader_starves_the_device_and_the_writer(minilm: Model) -> None:
    """Its own seconds are its own; whoever waits for it was not at work."""
    found = seconds_of(minilm, read_s=SLOW_S)
    assert found.read >= PAGES * SLOW_S
    assert found.starved == pytest.approx(found.read, rel=0.5)
    assert found.idle == pytest.approx(found.read, rel=0.5)
    assert max(found.tokenize, found.forward, found.write, found.blocked) < PAGES * SLOW_S / 2


def test_a_slow_device_leaves_the_writer_idle(minilm: Model) -> None:
    """Where the device is the longest stage, nothing is to be won elsewhere."""
    found = seconds_of(minilm, rows_per_s=10 / SLOW_S)
    assert found.forward >= PAGES * SLOW_S
    assert found.idle == pytest.approx(found.forward, rel=0.5)
    assert max(found.read, found.tokenize, found.write, found.blocked) < PAGES * SLOW_S / 2


def test_a_slow_writer_blocks_the_device(minilm: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue before it is full, and the device rests until there is room."""
    for bound in ("BATCH_BYTES_AHEAD", "WINDOW_ROWS"):
        monkeypatch.setattr(stages, bound, 1)
    found = seconds_of(minilm, write_s=SLOW_S)
    assert found.write >= PAGES * SLOW_S
    assert found.blocked >= (PAGES - 3) * SLOW_S / 2
    assert max(found.read, found.tokenize, found.forward, found.starved, found.idle) < PAGES * SLOW_S / 2


def test_a_range_s_attempts_add_up(minilm: Model) -> None:
    """After a lost connection the rest is read anew, and both tries count."""
    seconds = StageSeconds()
    for _ in range(2):
        source = encoded(pages(SLOW_S), hash_encoder(minilm), PREPARATIONS["plain"], seconds=seconds)
        with seconds.writing(), closing(source) as batches:
            assert sum(len(batch.embeddings) for batch in batches) == 10 * PAGES
    assert seconds.read >= 2 * PAGES * SLOW_S


def test_the_first_pages_are_counted_where_the_writer_fails(minilm: Model) -> None:
    """An attempt that failed says where its time went too."""
    seconds = StageSeconds()

    def fail() -> None:
        source = encoded(pages(SLOW_S), hash_encoder(minilm), PREPARATIONS["plain"], seconds=seconds)
        with seconds.writing(), closing(source) as batches:
            next(batches)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seconds.read >= SLOW_S
    assert seconds.idle > 0

"""Reading, tokenizing and encoding at the same time, each a bounded way ahead of the next. No SQL, no Dagster."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.preparation import Preparation
from steam_assets.encoder.windows import Window
from steam_assets.prefetch import Prefetch

WINDOW_ROWS = 16_384
WINDOW_BYTES = 8 << 20
"""Of text. Pages that wait together become one window: a larger one sorts better and leaves fewer small packs."""
PAGE_BYTES_AHEAD = 8 << 20
WINDOW_TOKENS_AHEAD = 1 << 20
"""Tokens take 4 bytes, and their texts about as many again; an H200 reads so many of bge-m3's in 1.5 s."""
BATCH_BYTES_AHEAD = 64 << 20


@dataclass
class StageSeconds:
    """Seconds that each stage of an attempt was at work; they work side by side, and the longest is what it takes.

    ``starved`` are those that the encoder waited for text, ``blocked`` those that it waited for the writer, and
    ``idle`` those that the writer waited for vectors.
    """

    read: float = 0.0
    tokenize: float = 0.0
    forward: float = 0.0
    write: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0
    idle: float = 0.0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count the block as the writer's work, but for what it waited for batches of ``encoded``."""
        began = time.monotonic() - self.idle
        try:
            yield
        finally:
            self.write += time.monotonic() - self.idle - began

    def add(self, read: Prefetch[SourceTexts], windows: Prefetch[Window], batches: Prefetch[EncodedBatch]) -> None:
        """Count what closed stages did; each waits for the one before it while it makes its own."""
        self.read += read.making_s
        self.tokenize += windows.making_s - read.waiting_s
        self.forward += batches.making_s - windows.waiting_s
        self.starved += windows.waiting_s
        self.blocked += batches.resting_s
        self.idle += batches.waiting_s


def together(pages: Prefetch[SourceTexts]) -> Iterator[SourceTexts]:
    """Pages that are there already as one, up to a window's size; none waits for another, and a tail is not held."""
    for page in pages:
        window = [page]
        while pages.is_ready() and sum(map(len, window)) < WINDOW_ROWS and sum(map(text_bytes, window)) < WINDOW_BYTES:
            window.append(next(pages))
        yield SourceTexts.joined(window)


def encoded(
    pages: Iterable[SourceTexts],
    encoder: Encoder,
    preparation: Preparation,
    gather: Callable[[Prefetch[SourceTexts]], Iterator[SourceTexts]] = together,
    seconds: StageSeconds | None = None,
) -> Generator[EncodedBatch]:
    """The batches of ``pages``, made while the caller uses those before them; ``gather`` makes windows of pages.

    ``seconds`` is told at the end how long each stage took.
    The first error of any stage ends all of them and is raised here, after the batches before it. Closing ends them
    within one page, window or pack, whichever each is at.
    """
    read = Prefetch(pages, PAGE_BYTES_AHEAD, "reader", text_bytes)
    windows = Prefetch(encoder.windows(gather(read), preparation), WINDOW_TOKENS_AHEAD, "tokenizer", window_tokens)
    batches = Prefetch(encoder.embed(windows), BATCH_BYTES_AHEAD, "encoder", vector_bytes)
    try:
        yield from batches
    finally:
        for stage in (read, windows, batches):  # all are told before one is waited for: it may wait for another
            stage.stop()
        for stage in (read, windows, batches):
            stage.close()
        if seconds is not None:
            seconds.add(read, windows, batches)


def text_bytes(page: SourceTexts) -> int:
    """What a page's texts weigh, in characters: those beyond ASCII have more bytes, and fewer letters a word."""
    return sum(map(len, page.texts))


def window_tokens(window: Window) -> int:
    """What a window weighs."""
    return window.tokens


def vector_bytes(batch: EncodedBatch) -> int:
    """What a batch's vectors take."""
    return int(batch.embeddings.vectors.nbytes)

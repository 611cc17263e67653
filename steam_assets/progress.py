"""Who is told how far work is: whoever watches this process, of rows that are written; a log, now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

EVERY_S = 10.0

_watchers: list[Callable[["Progress"], None]] = []


@dataclass(frozen=True)
class Progress:
    """Rows of a range that went through the encoder since the last word, and the monitor's line."""

    column: str
    rows: int
    stats: str


@contextmanager
def watching(watcher: Callable[[Progress], None]) -> Iterator[None]:
    """Have ``watcher`` told of every commit made in this process while the block runs."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def report(progress: Progress) -> None:
    """Tell whoever is watching."""
    for watcher in _watchers:
        watcher(progress)


def now_and_then(
    say: Callable[[str], None], every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
) -> Callable[[str], None]:
    """``say`` for work that tells all the time: one line every so often, the first after as long."""
    said = clock()

    def say_in_turn(line: str) -> None:
        nonlocal said
        if clock() - said >= every_s:
            said = clock()
            say(line)

    return say_in_turn

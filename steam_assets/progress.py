"""Who is told while rows are written: nobody, unless a terminal is watching this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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

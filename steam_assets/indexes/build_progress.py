"""Who is told while an index is built: the log now and then, and a terminal that watches this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steam_assets.progress import now_and_then
from steam_assets.store.hnsw_create import BuildProgress

_watchers: list[Callable[[BuildProgress], None]] = []


@contextmanager
def watching_builds(watcher: Callable[[BuildProgress], None]) -> Iterator[None]:
    """Have ``watcher`` told how far every build in this process is, twice a second, while the block runs."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def telling(log: Callable[[str], None]) -> Callable[[BuildProgress], None]:
    """What a build tells of its progress to: whoever watches, and now and then ``log``."""
    say = now_and_then(log)

    def tell(progress: BuildProgress) -> None:
        for watcher in _watchers:
            watcher(progress)
        say(progress_line(progress))

    return tell


def progress_line(progress: BuildProgress) -> str:
    """How far a build is, and what it waits for: notes.v: building index: 12,000 of 48,000 rows."""
    line = f"{progress.column}: {progress.phase}: {progress.rows:,} of {progress.total:,} rows"
    if progress.waits_for is not None:
        line += f"; it waits for process {progress.waits_for} of the server, whose transaction is older"
    return line

"""How far a build is: whoever watches is told each time."""

from steam_assets.indexes.build_progress import progress_line, telling, watching_builds
from steam_assets.store.hnsw_create import BuildProgress

HALF = BuildProgress("notes.v", "building index", 12_000, 48_000, None)


def test_watchers_are_told_while_they_watch() -> None:
    """And not afterwards."""
    told: list[BuildProgress] = []
    with watching_builds(told.append):
        telling(lambda _: None)(HALF)
    telling(lambda _: None)(HALF)
    assert told == [HALF]


def test_a_build_that_waits_says_for_whom() -> None:
    """Somebody can end that session."""
    assert progress_line(HALF) == "notes.v: building index: 12,000 of 48,000 rows"
    waiting = BuildProgress("notes.v", "waiting for old snapshots", 48_000, 48_000, 4711)
    assert "waits for process 4711 of the server" in progress_line(waiting)

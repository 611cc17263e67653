"""Long work that is silent itself is heard of."""

import threading

from steam_assets.pictures.progress_lines import said_meanwhile


def test_a_line_comes_until_the_work_is_done() -> None:
    """Each says what is being done and for how long, and none comes afterwards."""
    lines: list[str] = []
    twice = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            twice.set()

    with said_meanwhile(say, "Laying out", every_s=0.01):
        assert twice.wait(10)
    assert lines[0].startswith("Laying out: 0 s")
    assert not any(thread.name == "progress lines" for thread in threading.enumerate())


def test_quick_work_says_nothing() -> None:
    """Nobody needs to be told that it goes on."""
    lines: list[str] = []
    with said_meanwhile(lines.append, "Laying out", every_s=60):
        pass
    assert lines == []

"""A word every ten seconds from work that says nothing itself."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steam_assets.progress import EVERY_S


@contextmanager
def said_meanwhile(say: Callable[[str], None], what: str, every_s: float = EVERY_S) -> Iterator[None]:
    """Say every so often how long ``what`` has taken, until the block ends."""
    started = time.monotonic()
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every_s):
            say(f"{what}: {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=repeat, name="progress lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

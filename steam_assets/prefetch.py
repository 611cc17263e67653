"""Run an iterator in a thread of its own, a bounded queue ahead: this is how reading, encoding and writing overlap."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.1


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_DONE = object()


def prefetch(source: Iterable[T], depth: int, name: str) -> Generator[T]:
    """Yield what ``source`` yields, at most ``depth`` items ahead of the caller.

    An error in ``source`` is raised here, as itself, after the items before it. Closing this iterator, or dropping out
    of the loop over it, stops the thread at its next item and closes ``source`` there, in the thread that ran it.
    """
    handover: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                handover.put(item, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        iterator = iter(source)
        try:
            for item in iterator:
                if not put(item):
                    return
            put(_DONE)
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that asked)
            put(_Raised(error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        while True:
            # A timeout, so that a signal's exception is raised in this thread while it waits for a long batch.
            try:
                item = handover.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if item is _DONE:
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()

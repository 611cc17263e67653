"""Run an iterator in a thread of its own, a bounded way ahead: this is how reading, encoding and writing overlap."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

POLL_S = 0.1


class Prefetch(Iterator[T], Generic[T]):
    """What ``source`` yields, made ahead by a thread that rests while items of ``capacity`` weight are waiting.

    Nothing is taken from it before the first item is asked for; one item may wait whatever it weighs. An error in
    ``source`` is raised here, as itself, after the items before it. ``close`` stops the thread at its next item and
    closes ``source`` there, in the thread that ran it.

    Once closed it knows the seconds that the thread was in ``source``, ``making_s``, that it waited for room,
    ``resting_s``, and that whoever took the items waited for one, ``waiting_s``.
    """

    def __init__(self, source: Iterable[T], capacity: float, name: str, weigh: Callable[[T], float]) -> None:
        self._source = source
        self._capacity = capacity
        self._weigh = weigh
        self._waiting: deque[T] = deque()
        self._weight = 0.0
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False
        self.making_s = self.resting_s = self.waiting_s = 0.0

    def __next__(self) -> T:
        with self._changed:
            if not (self._started or self._closed):
                self._started = True
                self._thread.start()
            while not self._waiting:
                if self._error is not None:
                    error, self._error, self._ended = self._error, None, True
                    raise error
                if self._ended or self._closed:
                    raise StopIteration
                # A timeout, so that a signal's exception is raised in this thread while it waits for a long batch.
                began = time.monotonic()
                self._changed.wait(POLL_S)
                self.waiting_s += time.monotonic() - began
            item = self._waiting.popleft()
            self._weight -= self._weigh(item)
            self._changed.notify_all()
        return item

    def is_ready(self) -> bool:
        """Whether the next item is there already; the end, or an error, is no item."""
        with self._changed:
            return bool(self._waiting)

    def stop(self) -> None:
        """Make no further item; what was made and not taken is dropped, and who waits for one finds the end."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and wait until ``source`` is closed."""
        self.stop()
        if self._started:
            self._thread.join()

    def _run(self) -> None:
        iterator = iter(self._source)
        error: BaseException | None = None
        began = time.monotonic()
        try:
            for item in iterator:
                if not self._hand_over(item):
                    break
        except BaseException as raised:  # noqa: BLE001  (raised again in the thread that asked)
            error = raised
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        self.making_s = time.monotonic() - began - self.resting_s
        with self._changed:
            self._error, self._ended = error, error is None
            self._changed.notify_all()

    def _hand_over(self, item: T) -> bool:
        """Put an item where it is taken from; False when nobody will take it any more."""
        weight = self._weigh(item)
        with self._changed:
            began = time.monotonic()
            while self._waiting and self._weight + weight > self._capacity and not self._closed:
                self._changed.wait(POLL_S)
            self.resting_s += time.monotonic() - began
            if self._closed:
                return False
            self._waiting.append(item)
            self._weight += weight
            self._changed.notify_all()
        return True

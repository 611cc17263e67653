"""Iterators that run ahead in a thread of their own."""

import threading
from collections.abc import Iterator

import pytest

from steam_assets.prefetch import prefetch
from steam_assets_tests.databases import wait_until


class Source:
    """Counts up, and remembers what was taken from it, where, and whether it was closed there."""

    def __init__(self, items: int, error: BaseException | None = None) -> None:
        self.items = items
        self.error = error
        self.taken = 0
        self.thread: threading.Thread | None = None
        self.closed_in: threading.Thread | None = None

    def __iter__(self) -> Iterator[int]:
        self.thread = threading.current_thread()
        try:
            for item in range(self.items):
                self.taken += 1
                yield item
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in = threading.current_thread()


def test_items_arrive_in_order_and_each_once() -> None:
    """A queue between two threads changes nothing for the caller."""
    assert list(prefetch(Source(1000), depth=3, name="reader")) == list(range(1000))


def test_nothing_is_taken_before_someone_iterates() -> None:
    """A stream that is opened and dropped has read nothing."""
    source = Source(3)
    prefetch(source, depth=1, name="reader").close()
    assert (source.taken, source.thread) == (0, None)


def test_the_source_runs_in_a_thread_of_the_given_name() -> None:
    """A stack dump then says which part hangs."""
    source = Source(1)
    assert list(prefetch(source, depth=1, name="reader")) == [0]
    assert source.thread is not None
    assert (source.thread.name, source.thread.is_alive()) == ("reader", False)


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_the_sources_own_error_is_raised_after_the_items_before_it(error: BaseException) -> None:
    """The very object, so that its type and traceback are what the user sees."""
    items = prefetch(Source(3, error), depth=2, name="reader")
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(type(error)) as raised:
        next(items)
    assert raised.value is error


def test_the_source_stays_at_most_depth_items_ahead() -> None:
    """The caller's item, the queue, and one in the thread's hand."""
    source = Source(1000)
    items = prefetch(source, depth=2, name="reader")
    next(items)
    wait_until(lambda: source.taken == 4, "the queue is full")
    assert not threading.Event().wait(0.3)
    assert source.taken == 4
    items.close()


def test_closing_stops_the_thread_and_closes_the_source_there() -> None:
    """A connection is closed by the thread that used it."""
    source = Source(1000)
    items = prefetch(source, depth=1, name="reader")
    next(items)
    items.close()
    assert source.thread is not None
    assert source.closed_in is source.thread is not threading.current_thread()
    assert not source.thread.is_alive()
    assert source.taken <= 4


def test_an_interrupt_in_the_caller_stops_the_thread() -> None:
    """Ctrl-C while writing does not leave a reader behind."""
    source = Source(1000)

    def write() -> None:
        for _ in prefetch(source, depth=1, name="reader"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    wait_until(lambda: source.closed_in is not None, "the source is closed")
    assert source.thread is not None
    source.thread.join(5)
    assert not source.thread.is_alive()


def test_the_thread_runs_while_the_caller_is_busy() -> None:
    """Item 1 is made before the caller asks for it."""
    made = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    items = prefetch(source(), depth=1, name="reader")
    assert next(items) == 0
    assert made.wait(10)
    assert list(items) == [1]

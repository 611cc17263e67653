"""Iterators that run ahead in a thread of their own."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest

from steam_assets.prefetch import Prefetch
from steam_assets_tests.databases import wait_until


def prefetch(source: Iterable[int], depth: float) -> Prefetch[int]:
    """A thread named "reader" that goes ``depth`` items ahead."""
    return Prefetch(source, depth, "reader", lambda item: 1)


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
    assert list(prefetch(Source(1000), 3)) == list(range(1000))


def test_nothing_is_taken_before_someone_iterates() -> None:
    """A stream that is opened and dropped has read nothing."""
    source = Source(3)
    prefetch(source, 1).close()
    assert (source.taken, source.thread) == (0, None)


def test_the_source_runs_in_a_thread_of_the_given_name() -> None:
    """A stack dump then says which part hangs."""
    source = Source(1)
    assert list(prefetch(source, 1)) == [0]
    assert source.thread is not None
    assert (source.thread.name, source.thread.is_alive()) == ("reader", False)


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_the_sources_own_error_is_raised_after_the_items_before_it(error: BaseException) -> None:
    """The very object, so that its type and traceback are what the user sees."""
    items = prefetch(Source(3, error), 2)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(type(error)) as raised:
        next(items)
    assert raised.value is error


def test_the_source_stays_at_most_depth_items_ahead() -> None:
    """The caller's item, the queue, and one in the thread's hand."""
    source = Source(1000)
    items = prefetch(source, 2)
    next(items)
    wait_until(lambda: source.taken == 4, "the queue is full")
    assert not threading.Event().wait(0.3)
    assert source.taken == 4
    items.close()


def test_closing_stops_the_thread_and_closes_the_source_there() -> None:
    """A connection is closed by the thread that used it."""
    source = Source(1000)
    items = prefetch(source, 1)
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
        with closing(prefetch(source, 1)) as items:
            for _ in items:
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

    items = prefetch(source(), 1)
    assert next(items) == 0
    assert made.wait(10)
    assert list(items) == [1]


def test_what_waits_is_bounded_by_weight() -> None:
    """Few large items or many small ones; one item may wait however heavy it is."""
    source = Source(1000)
    items = Prefetch(source, 100, "reader", lambda item: 60)
    next(items)
    wait_until(lambda: source.taken == 3, "one waits, one is in the thread's hand")
    assert not threading.Event().wait(0.3)
    assert source.taken == 3
    items.close()
    assert list(Prefetch(Source(5), 1, "reader", lambda item: 10**9)) == [0, 1, 2, 3, 4]


def test_who_waits_for_an_item_finds_the_end_when_the_stage_is_stopped() -> None:
    """A chain of stages ends from any place: nobody waits for a stage that will make nothing more."""
    never = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        never.wait(30)

    first = prefetch(source(), 1)
    second = prefetch(first, 1)
    assert next(second) == 0
    for stage in (first, second):
        stage.stop()
    never.set()
    for stage in (first, second):
        stage.close()
    assert list(second) == []


def test_it_is_known_whether_an_item_is_there_already() -> None:
    """The end and an error are no items: whoever gathers what is there meets them when it asks for more."""
    items = prefetch(Source(2, ZeroDivisionError("mine")), 5)
    assert not items.is_ready()
    assert next(items) == 0
    wait_until(items.is_ready, "the second item is there")
    assert next(items) == 1
    assert not items.is_ready()
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert list(items) == []

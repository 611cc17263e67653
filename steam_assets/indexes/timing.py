"""Asking many searches of the database and timing them: one after the other, and from several clients at once."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import cycle

from psycopg2 import sql
from psycopg2.extensions import connection

LIMIT_S = 10.0
"""Longer than that no set of searches is asked: of a slow one fewer are."""
LEAST_ANSWERS = 5
CLIENTS_S = 2.0
"""What several clients are timed for; they begin again when they have asked everything."""

# A small table's planner would rather sort; which way is measured here is not its choice.
BY_INDEX = "SET enable_seqscan = off; SET enable_sort = off; SET hnsw.ef_search = %s"


@dataclass(frozen=True)
class Asked:
    """A search's statement; ``ef_search`` is None for one that goes through no index."""

    statement: sql.Composed
    ef_search: int | None = None


@dataclass(frozen=True)
class Answers:
    """The cosines that each search found, and the seconds each took."""

    cosines: list[list[float]]
    seconds: list[float]


def ask(conn: connection, searches: Sequence[Asked], limit_s: float = LIMIT_S) -> Answers:
    """Ask one search after the other until ``limit_s`` have passed, at least a few; the connection is in autocommit."""
    prepare(conn, searches)
    cosines: list[list[float]] = []
    seconds: list[float] = []
    with conn.cursor() as cursor:
        texts = [search.statement.as_string(cursor) for search in searches]
        began = time.perf_counter()
        for text in texts:
            if len(seconds) >= LEAST_ANSWERS and time.perf_counter() - began > limit_s:
                break
            asked = time.perf_counter()
            cursor.execute(text)
            rows = cursor.fetchall()
            seconds.append(time.perf_counter() - asked)
            cosines.append([cosine for _, cosine in rows])
    return Answers(cosines, seconds)


def queries_per_s(
    connect: Callable[[], connection], searches: Sequence[Asked], clients: int, limit_s: float = CLIENTS_S
) -> float:
    """Searches answered in a second by so many clients at once, each with a connection of its own."""
    limit_s = min(limit_s, CLIENTS_S)

    def client(conn: connection, number: int) -> tuple[int, float, float]:
        with conn.cursor() as cursor:
            turns = cycle(texts[number:] + texts[:number])
            began = time.perf_counter()
            answered = 0
            while not answered or time.perf_counter() - began < limit_s:
                cursor.execute(next(turns))
                cursor.fetchall()
                answered += 1
            return answered, began, time.perf_counter()

    with ExitStack() as stack:
        conns = [stack.enter_context(closing(connect())) for _ in range(clients)]
        for conn in conns:
            conn.autocommit = True
            prepare(conn, searches)
        texts = [search.statement.as_string(conns[0]) for search in searches]
        threads = stack.enter_context(ThreadPoolExecutor(clients, "search"))
        done = list(threads.map(client, conns, range(clients)))
    took = max(ended for *_, ended in done) - min(began for _, began, _ in done)
    return sum(answered for answered, *_ in done) / took


def prepare(conn: connection, searches: Sequence[Asked]) -> None:
    """Set what the searches need on a session."""
    ef_search = searches[0].ef_search
    if ef_search is not None:
        with conn.cursor() as cursor:
            cursor.execute(BY_INDEX, (ef_search,))

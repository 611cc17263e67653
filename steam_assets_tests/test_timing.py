"""Searches are timed one after the other until a time is up, and from several clients on connections of their own."""

import threading
from contextlib import closing

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.indexes import timing
from steam_assets.indexes.timing import LEAST_ANSWERS, Asked, ask, queries_per_s
from steam_assets_tests.rows import Connect, fetch

SLOW = Asked(sql.SQL("SELECT 1, pg_sleep(0.05)::text::float8 FROM generate_series(1, 0)").format())
QUICK = Asked(sql.SQL("SELECT 'id', 0.5::float8").format())


def test_answers_are_the_cosines_with_the_seconds_they_took(connect: Connect) -> None:
    """One for each search, in their order."""
    with closing(connect()) as conn:
        conn.autocommit = True
        answers = ask(conn, [QUICK] * 7)
    assert answers.cosines == [[0.5]] * 7
    assert len(answers.seconds) == 7
    assert all(0 < seconds < 5 for seconds in answers.seconds)


def test_a_slow_search_is_asked_a_few_times_only(connect: Connect) -> None:
    """Enough for a median; two hundred scans of a large table would take minutes."""
    with closing(connect()) as conn:
        conn.autocommit = True
        assert len(ask(conn, [SLOW] * 100, limit_s=0.0).seconds) == LEAST_ANSWERS


def test_the_index_is_what_is_asked_where_an_ef_search_is_given(connect: Connect) -> None:
    """A planner that would rather sort a small table has no say; an exact search leaves the settings alone."""
    shown = "SELECT current_setting('enable_seqscan'), current_setting('hnsw.ef_search', true)"
    with closing(connect()) as conn:
        conn.autocommit = True
        ask(conn, [QUICK])
        assert fetch(conn, shown)[0][0] == "on"
        ask(conn, [Asked(QUICK.statement, 123)])
        assert fetch(conn, shown) == [("off", "123")]


def test_clients_ask_at_the_same_time_on_connections_of_their_own(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of them answer more than one could, where each search waits; every connection is closed again."""
    monkeypatch.setattr(timing, "CLIENTS_S", 0.5)
    opened: list[connection] = []
    threads: set[int] = set()

    def counted() -> connection:
        opened.append(connect())
        threads.add(threading.get_ident())
        return opened[-1]

    waits = Asked(sql.SQL("SELECT 'id', 0.5::float8 FROM pg_sleep(0.05)").format())
    assert queries_per_s(counted, [waits] * 3, 4) > 25
    assert len(opened) == 4
    assert all(conn.closed for conn in opened)

"""A run's connection comes back with its locks, and what PostgreSQL asks to do again is done again."""

import threading
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS
from steam_assets.store import session as session_module
from steam_assets.store.database import DatabaseUnavailable
from steam_assets.store.locks import is_run_alive, try_range_lock
from steam_assets.store.session import CONFLICT_TRIES, RangeTaken, RunSession, in_transaction
from steam_assets_tests.rows import Connect, add_reviews, execute, fetch

UP_VOTE = sql.SQL("UPDATE reviews SET votes_up = 1 WHERE recommendationid = {}")


def end(conn: connection, session: RunSession) -> None:
    """End the session's server process, and wait until it is gone."""
    execute(conn, f"SELECT pg_terminate_backend({session.conn.info.backend_pid}, 10000)")


def test_a_session_comes_back_with_the_locks_of_its_run_and_range(conn: connection, connect: Connect) -> None:
    """Nobody who looks afterwards takes the run for dead, or fills its range."""
    with RunSession(connect, "a run") as session, session.range_lock(REVIEWS, "~:~"):
        end(conn, session)
        assert not is_run_alive(conn, "a run")
        session.reconnect()
        assert is_run_alive(conn, "a run")
        assert not try_range_lock(conn, REVIEWS, "~:~")
    assert try_range_lock(conn, REVIEWS, "~:~")


def test_a_session_waits_for_its_own_lost_connection_to_give_the_range_back(conn: connection, connect: Connect) -> None:
    """The server may not have noticed yet that the connection is gone."""
    with RunSession(connect, "a run") as session, session.range_lock(REVIEWS, "~:~"):
        lost, session.conn = session.conn, connect()  # the server keeps the old one, and its locks, for a while
        threading.Timer(0.5, lost.close).start()
        session.reconnect()
        assert lost.closed
        assert not try_range_lock(conn, REVIEWS, "~:~")


def test_a_range_that_another_run_took_meanwhile_is_left_to_it(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coming back does not make it ours again."""
    monkeypatch.setattr(session_module, "RETURNING_S", 0.3)
    with RunSession(connect, "a run") as session, session.range_lock(REVIEWS, "~:~"):
        end(conn, session)
        assert try_range_lock(conn, REVIEWS, "~:~")
        with pytest.raises(RangeTaken, match="is being filled by another run"):
            session.reconnect()


def test_the_server_is_waited_for_while_waiting_may_help(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that starts, stops or refuses for now; not one that does not know us."""
    monkeypatch.setattr(session_module, "FIRST_PAUSE_S", 0.001)
    answers: list[Exception | None] = [None, DatabaseUnavailable("starting up", is_passing=True)] * 2

    def sometimes() -> connection:
        if (error := answers.pop(0) if answers else None) is not None:
            raise error
        return connect()

    with RunSession(sometimes, "a run") as session:
        session.reconnect()
        assert fetch(session.conn, "SELECT 1") == [(1,)]
        answers[:] = [DatabaseUnavailable("password authentication failed")]
        with pytest.raises(DatabaseUnavailable, match="password"):
            session.reconnect()


def test_the_server_is_not_waited_for_without_end(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last refusal is what the user sees."""
    monkeypatch.setattr(session_module, "SERVER_BACK_WITHIN_S", 0.0)
    session = RunSession(connect, "a run")

    def never() -> connection:
        raise DatabaseUnavailable("Connection refused", is_passing=True)

    session._connect = never
    with pytest.raises(DatabaseUnavailable, match="refused"):
        session.reconnect()


def test_a_transaction_that_loses_its_connection_is_done_on_the_next(conn: connection, connect: Connect) -> None:
    """Once more; an error of the statement itself is no reason."""
    with RunSession(connect, "a run") as session:
        end(conn, session)
        session.transact(lambda given: execute_on(given, "CREATE TABLE done (id integer)"))
        assert fetch(conn, "SELECT count(*) FROM done") == [(0,)]
        with pytest.raises(errors.UndefinedTable):
            session.transact(lambda given: execute_on(given, "SELECT FROM never_made"))


def execute_on(conn: connection, statement: str | sql.Composed) -> None:
    """One statement in the transaction that is open."""
    with conn.cursor() as cursor:
        cursor.execute(statement)


def test_both_of_two_transactions_in_a_deadlock_end_well(conn: connection, connect: Connect) -> None:
    """PostgreSQL ends one of them, which is done again; nobody has to start a run anew for it."""
    add_reviews(conn, {"a": "x", "b": "y"})
    met = threading.Barrier(2)
    tries: list[str] = []

    def update(first: str, second: str) -> None:
        with closing(connect()) as mine:
            execute(mine, "SET deadlock_timeout = '20ms'")

            def both() -> None:
                tries.append(first)
                execute_on(mine, UP_VOTE.format(sql.Literal(first)))
                if len(tries) <= 2:
                    met.wait(timeout=30)
                execute_on(mine, UP_VOTE.format(sql.Literal(second)))

            in_transaction(mine, both)

    threads = [threading.Thread(target=update, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(tries) > 2, "there was no deadlock"
    assert fetch(conn, "SELECT sum(votes_up)::integer FROM reviews") == [(2,)]


@pytest.mark.parametrize("error", [errors.DeadlockDetected, errors.SerializationFailure])
def test_a_conflict_is_tried_again_a_bounded_number_of_times(
    conn: connection, error: type[psycopg2.Error], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is the error that the user sees."""
    monkeypatch.setattr(session_module, "CONFLICT_PAUSE_S", 0.0)
    tries: list[int] = []

    def conflict() -> None:
        tries.append(1)
        raise error

    with pytest.raises(error):
        in_transaction(conn, conflict)
    assert len(tries) == CONFLICT_TRIES


def test_any_other_error_is_no_reason_to_try_again(conn: connection) -> None:
    """A lock that is not to be had, a broken rule: doing it again would only hide them."""
    tries: list[int] = []

    def refused() -> None:
        tries.append(1)
        raise errors.LockNotAvailable

    with pytest.raises(errors.LockNotAvailable):
        in_transaction(conn, refused)
    assert len(tries) == 1

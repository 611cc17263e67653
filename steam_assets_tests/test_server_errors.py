"""What an error means: that the connection is gone, that waiting helps, or neither."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import StringIO
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.store import database, embedded
from steam_assets.store.database import DatabaseUnavailable, find_database, is_connection_lost
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.server_errors import diagnose, explain
from steam_assets_tests.databases import database_url_of, execute_on, leave, wait_until
from steam_assets_tests.rows import Connect, execute, fetch
from steam_assets_tests.servers import kill_server, standby

End = Callable[[connection], None]


@pytest.fixture(scope="module")
def own_server_of_module(test_directory: Path) -> Iterator[EmbeddedServer]:
    """A server that may be stopped: no other test uses it."""
    started = embedded.start(test_directory / "to_be_stopped")
    execute_on(started, "ALTER SYSTEM SET fsync = off", "CREATE TABLE filled (line text)")
    yield started
    leave(started.directory)


@pytest.fixture
def own_server(own_server_of_module: EmbeddedServer) -> EmbeddedServer:
    """That server, running again."""
    return embedded.start(own_server_of_module.directory)


@pytest.fixture
def own_conn(own_server: EmbeddedServer) -> Iterator[connection]:
    """A connection to it, as the store opens one."""
    with closing(database.connect(find_database(database_url_of(own_server, "postgres")))) as conn:
        yield conn


@pytest.fixture(params=["its backend is terminated", "its server stops at once"])
def end(request: pytest.FixtureRequest, own_server: EmbeddedServer) -> End:
    """Two ways to lose a connection, both over when this returns."""
    if request.param == "its server stops at once":
        return lambda conn: kill_server(own_server)

    def terminate(conn: connection) -> None:
        pid = conn.info.backend_pid
        execute_on(own_server, f"SELECT pg_terminate_backend({pid}, 10000)")

    return terminate


def test_a_connection_lost_between_statements_is_known_by_the_next(own_conn: connection, end: End) -> None:
    """In a transaction or not, once or asked again."""
    fetch(own_conn, "SELECT 1")
    end(own_conn)
    for _ in range(2):
        with pytest.raises(psycopg2.Error) as caught:
            fetch(own_conn, "SELECT 1")
        assert is_connection_lost(caught.value), repr(caught.value)
        assert is_connection_lost(caught.value, own_conn)


def test_a_connection_lost_in_a_transaction_is_known_by_its_statement_and_its_rollback(
    own_conn: connection, end: End
) -> None:
    """`with conn` raises the rollback's own error over the first one: either says it."""

    def transaction() -> None:
        with own_conn, own_conn.cursor() as cursor:
            cursor.execute("SELECT 1")
            end(own_conn)
            cursor.execute("SELECT 1")

    with pytest.raises(psycopg2.Error) as caught:
        transaction()
    for error in (caught.value, caught.value.__context__):
        assert error is not None
        assert is_connection_lost(error), repr(error)


def test_a_connection_lost_at_commit_is_known(own_conn: connection, end: End) -> None:
    """Whether the work is there then nobody knows: it is read back."""
    with own_conn.cursor() as cursor:
        cursor.execute("INSERT INTO filled VALUES ('a')")
    end(own_conn)
    with pytest.raises(psycopg2.Error) as caught:
        own_conn.commit()
    assert is_connection_lost(caught.value), repr(caught.value)


def test_a_connection_lost_in_mid_statement_is_known(
    own_conn: connection, own_server: EmbeddedServer, end: End
) -> None:
    """While the server works for us."""
    with ThreadPoolExecutor(1) as threads, closing(psycopg2.connect(own_server.dsn("postgres"))) as other:
        other.autocommit = True
        sleeping = threads.submit(fetch, own_conn, "SELECT pg_sleep(60)")
        busy = "SELECT state FROM pg_stat_activity WHERE pid = %(pid)s"
        pid = own_conn.info.backend_pid
        wait_until(lambda: fetch(other, busy, pid=pid) == [("active",)], "the statement runs")
        end(own_conn)
        error = sleeping.exception(timeout=30)
    assert error is not None
    assert is_connection_lost(error), repr(error)


def test_a_connection_lost_in_mid_copy_is_known(own_conn: connection, end: End) -> None:
    """While we send rows."""

    class Rows(StringIO):
        sent = 0

        def read(self, size: int | None = -1) -> str:
            self.sent += 1
            if self.sent == 3:
                end(own_conn)
            return "a line\n" * 1000 if self.sent < 100 else ""

    with pytest.raises(psycopg2.Error) as caught, own_conn.cursor() as cursor:
        cursor.copy_expert("COPY filled FROM STDIN", Rows(), size=8192)
    assert is_connection_lost(caught.value), repr(caught.value)


def test_a_session_that_the_server_ended_for_idling_is_known(own_conn: connection, own_server: EmbeddedServer) -> None:
    """idle_in_transaction_session_timeout closes the connection, and the next statement hears of it."""
    with own_conn.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '20ms'")
        gone, pid = "SELECT FROM pg_stat_activity WHERE pid = %(pid)s", own_conn.info.backend_pid
        with closing(psycopg2.connect(own_server.dsn("postgres"))) as other:
            other.autocommit = True
            wait_until(lambda: fetch(other, gone, pid=pid) == [], "the server has ended the session")
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute("SELECT 1")
    assert is_connection_lost(caught.value)


def test_a_connection_that_was_closed_here_is_known_by_its_state(connect: Connect) -> None:
    """psycopg2 says so; an error that does not is judged by the connection it came from."""
    conn = connect()
    conn.close()
    with pytest.raises(psycopg2.InterfaceError) as caught:
        conn.cursor()
    assert is_connection_lost(caught.value)
    vague = psycopg2.DatabaseError("something else")
    assert not is_connection_lost(vague)
    assert is_connection_lost(vague, conn)


@pytest.mark.parametrize("code", ["57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04", "08006"])
def test_codes_with_which_a_server_ends_a_session_are_known(conn: connection, code: str) -> None:
    """psycopg2 2.9 mostly hears no more than that the socket is closed; where it hears the code, that is enough."""
    with pytest.raises(psycopg2.Error) as caught, conn.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")
    assert caught.value.pgcode == code
    assert is_connection_lost(caught.value)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT 1 / 0", errors.DivisionByZero),
        ("SELEC", errors.SyntaxError),
        ("DO $$ BEGIN RAISE protocol_violation; END $$", errors.ProtocolViolation),
        ("SELECT FROM nowhere", errors.UndefinedTable),
        ("SET statement_timeout = '10ms'; SELECT pg_sleep(60)", errors.QueryCanceled),
        ("SELECT pg_cancel_backend(pg_backend_pid()); SELECT pg_sleep(60)", errors.QueryCanceled),
        ("DO $$ BEGIN RAISE EXCEPTION 'server closed the connection unexpectedly'; END $$", errors.RaiseException),
    ],
)
def test_an_error_on_a_living_connection_is_no_loss(
    conn: connection, statement: str, error: type[psycopg2.Error]
) -> None:
    """Waiting for the server would repeat it for ever."""
    with pytest.raises(error) as caught, conn.cursor() as cursor:
        cursor.execute(statement)
    assert not is_connection_lost(caught.value)
    assert not is_connection_lost(caught.value, conn)


def test_other_errors_are_no_loss(conn: connection) -> None:
    """A closed cursor is a bug of ours, and what is no error of the database is not looked at."""
    cursor = conn.cursor()
    cursor.close()
    with pytest.raises(psycopg2.InterfaceError) as caught:
        cursor.execute("SELECT 1")
    assert not is_connection_lost(caught.value, conn)
    assert not is_connection_lost(ValueError("server closed the connection unexpectedly"), conn)


def test_a_server_that_is_not_there_yet_counts_as_lost_and_a_wrong_name_does_not(database_url: str) -> None:
    """Who opens a connection while the server restarts waits as one who had one."""
    unknown = database_url.replace("/test_", "/no_test_")
    for url, lost in (("postgresql://u@/d?host=/nowhere", True), (unknown, False)):
        with pytest.raises(DatabaseUnavailable) as caught:
            database.connect(find_database(url))
        assert is_connection_lost(caught.value) == lost


def test_a_server_that_is_starting_is_waited_for_and_one_that_answers_nobody_is_not(
    own_server: EmbeddedServer, home: Path
) -> None:
    """A server in recovery says so to each client; one with hot_standby off will go on saying no."""
    recovering = {"restore_command": "sleep 60; false", "primary_conninfo": ""}
    with standby(own_server, home / "starting", **recovering) as server:
        assert refusal_saying("starting up", server).is_passing
    with standby(own_server, home / "silent", hot_standby="off") as server:
        refused = refusal_saying("Hot standby mode is disabled", server)
        assert not refused.is_passing
        assert "Name a server that answers queries" in str(refused)


def refusal_saying(words: str, server: EmbeddedServer) -> DatabaseUnavailable:
    """What a server answers, as soon as it says this."""
    refused: list[DatabaseUnavailable] = []

    def is_said() -> bool:
        with pytest.raises(DatabaseUnavailable) as caught:
            database.connect(find_database(database_url_of(server, "postgres")))
        refused.append(caught.value)
        return words in str(caught.value)

    wait_until(is_said, f"the server says {words}")
    return refused[-1]


@pytest.mark.parametrize(
    ("statement", "explained"),
    [
        ("SET ROLE pg_monitor; SELECT * FROM genres", "permission denied for table genres.*steam-assets doctor"),
        ("SET ROLE pg_monitor; SELECT FROM secrets", 'policy for table "secrets".*BYPASSRLS'),
        ("SET transaction_read_only = on; DELETE FROM genres", "read-only transaction.*--database-url"),
        ("SET statement_timeout = '10ms'; SELECT pg_sleep(60)", "statement timeout.*allow it"),
        ("DO $$ BEGIN RAISE disk_full USING MESSAGE = 'no space left'; END $$", "no space left.*Make room"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "database went away.*what was committed"),
    ],
)
def test_what_a_person_can_mend_is_explained(conn: connection, statement: str, explained: str) -> None:
    """What the server said, in one line, and what to do."""
    execute(conn, "CREATE TABLE secrets (); ALTER TABLE secrets ENABLE ROW LEVEL SECURITY")
    execute(conn, "GRANT SELECT ON secrets TO pg_monitor")
    with pytest.raises(psycopg2.Error) as caught, conn.cursor() as cursor:
        cursor.execute(statement)
    assert re.search(explained, explain(caught.value) or ""), explain(caught.value)


def test_a_lock_that_another_session_holds_is_explained(conn: connection, other_conn: connection) -> None:
    """It is waited for, but not for ever."""
    with other_conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE genres")
    with pytest.raises(errors.LockNotAvailable) as caught, conn.cursor() as cursor:
        cursor.execute("SET lock_timeout = '10ms'; SELECT FROM genres")
    assert "Another session holds a lock" in (explain(caught.value) or "")


def test_a_bug_of_ours_is_not_explained_away(conn: connection) -> None:
    """It ends as an unexpected error, with its traceback."""
    with pytest.raises(errors.SyntaxError) as caught:
        fetch(conn, "SELEC")
    assert explain(caught.value) is None
    assert explain(ValueError("permission denied")) is None


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        ("FATAL: the database system is shutting down", True),
        ("FATAL: the database system is in recovery mode", True),
        ("FATAL: the database system is not yet accepting connections", True),
        ("FATAL: sorry, too many clients already", True),
        ("FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute", True),
        ("server closed the connection unexpectedly This probably means the server terminated abnormally", True),
        ("SSL connection has been closed unexpectedly", True),
        ("SSL SYSCALL error: EOF detected", True),
        ("FATAL: terminating connection due to administrator command", True),
        ('connection to server at "10.0.0.1", port 5432 failed: timeout expired', True),
        ('connection to server at "10.0.0.1", port 5432 failed: No route to host', True),
        ("FATAL: query_wait_timeout", True),
        ('could not open certificate file "x": No such file or directory', False),
        ("FATAL: Datenbank »d« existiert nicht", False),
    ],
)
def test_what_cannot_be_had_at_will_is_known_by_its_words(said: str, passing: bool) -> None:
    """The messages of PostgreSQL 15 to 18, libpq 17 and PgBouncer 1.18; others are not waited for."""
    assert diagnose(said).is_passing == passing
    assert diagnose(said).advice

"""Poolers: one that leaves each client a session is as good as the server; one that does not is refused, by name."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.store.database import DatabaseUnavailable, connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.pooler import has_own_session
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import NOTES, Connect, add_rows, embed, fetch, make_table, state_of
from steam_assets_tests.servers import needs_pgbouncer, pgbouncer

REFUSED = r"shares server connections.*pool_mode = transaction.*pool_mode = session, or the server itself"


@pytest.fixture
def database(conn: connection) -> str:
    """The name of the test's database."""
    return conn.info.dbname


@needs_pgbouncer
def test_session_pooling_carries_everything(
    server: EmbeddedServer, database: str, conn: connection, home: Path
) -> None:
    """Limits are set, temporary tables and COPY work, and the pooler refused none of our settings."""
    with pgbouncer(server, home / "pooler", pool_mode="session") as pooler:
        with closing(connect(find_database(pooler.url(database)))) as through:
            assert through.info.backend_pid != fetch(through, "SELECT pg_backend_pid()")[0][0]
            assert fetch(through, "SHOW statement_timeout") == [("30min",)]
            make_table(through, NOTES, "text")
            add_rows(through, NOTES, {"a": "one", "b": "two"})
            assert embed(through, NOTES).written == 2
            assert state_of(through, NOTES).embedded == 2
        assert "unsupported startup parameter" not in pooler.log.read_text()


@needs_pgbouncer
@pytest.mark.parametrize("settings", [{}, {"server_round_robin": 1}], ids=["last used first", "round robin"])
@pytest.mark.parametrize("pool_mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions_is_refused_before_anything_is_set_or_written(
    server: EmbeddedServer, database: str, conn: connection, home: Path, pool_mode: str, settings: dict[str, object]
) -> None:
    """Run locks would belong to whoever comes next: the message says what was found, and two ways out."""
    with pgbouncer(server, home / "pooler", pool_mode=pool_mode, **settings) as pooler:
        others = busy_server_connections(pooler.url(database), 3)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable, match=REFUSED) as caught:
                connect(find_database(pooler.url(database)))
            assert not caught.value.is_passing
        for other in others:
            with other.cursor() as cursor:
                cursor.execute("SHOW statement_timeout")
                assert cursor.fetchone() == ("0",)
            other.close()


def busy_server_connections(url: str, count: int) -> list[connection]:
    """Clients that were at work at the same time, so that the pooler has as many server connections, now idle."""

    def work(_: int) -> connection:
        client = psycopg2.connect(url)
        client.autocommit = True
        with client.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.2)")
        return client

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


@needs_pgbouncer
def test_a_pooler_is_asked_once_by_a_process(
    server: EmbeddedServer, database: str, conn: connection, home: Path
) -> None:
    """The second connection needs no third one to compare it with."""
    with pgbouncer(server, home / "pooler", pool_mode="session") as pooler:
        address = find_database(pooler.url(database))

        def logins() -> int:
            return pooler.log.read_text().count("login attempt")

        connect(address).close()
        asked = logins()
        connect(address).close()
        wait_until(lambda: logins() > asked, "the pooler has written its log", 10)
        assert (asked, logins()) == (2, 3)


def test_two_connections_to_a_server_have_their_own_sessions(connect: Connect) -> None:
    """No false alarm, however often it is asked; a connection does not share with itself."""
    with closing(connect()) as one, closing(connect()) as other:
        one.autocommit = other.autocommit = True
        assert all(has_own_session(one, other) for _ in range(5))
        assert not has_own_session(one, one)

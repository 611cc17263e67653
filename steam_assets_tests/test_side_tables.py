"""Tables of ours that a dead process left are told from those that a living one uses."""

from contextlib import closing

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store import side_tables
from steam_assets.store.side_tables import claimed, create_table, drop_leftovers
from steam_assets_tests.rows import Connect, execute, fetch
from steam_assets_tests.servers import stranger

PATTERN = "^side_[0-9]$"


def test_leftovers_go_and_what_is_claimed_kept_or_called_otherwise_stays(conn: connection, connect: Connect) -> None:
    """A session's lock says that it is alive."""
    for table in ("side_1", "side_2", "side_3", "side_10", "inside_4"):
        execute(conn, f"CREATE TABLE {table} (id bigint)")
    conn.autocommit = True
    with closing(connect()) as other, claimed(other, "side_1"):
        assert drop_leftovers(conn, PATTERN, kept=["side_2"]) == ["side_3"]
    assert drop_leftovers(conn, PATTERN) == ["side_1", "side_2"]
    assert fetch(conn, "SELECT count(*) FROM pg_class WHERE relname IN ('side_10', 'inside_4')") == [(2,)]


def test_a_claim_ends_with_its_session(conn: connection, connect: Connect) -> None:
    """A process that was killed holds nothing."""
    execute(conn, "CREATE TABLE side_1 (id bigint)")
    conn.autocommit = True
    with closing(connect()) as other:
        held = claimed(other, "side_1")
        held.__enter__()
        other.commit()
        assert drop_leftovers(conn, PATTERN) == []
        fetch(conn, "SELECT pg_terminate_backend(%(pid)s, 10000)", pid=other.info.backend_pid)
        assert drop_leftovers(conn, PATTERN) == ["side_1"]


def test_a_leftover_that_a_dump_reads_stays_and_stops_nobody(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next drops it."""
    monkeypatch.setattr(side_tables, "LOCK_TIMEOUT_MS", 50)
    execute(conn, "CREATE TABLE side_1 (id bigint)")
    conn.autocommit = True
    with closing(connect()) as dump, dump.cursor() as cursor:
        cursor.execute("SELECT FROM side_1")
        assert drop_leftovers(conn, PATTERN) == []
    assert drop_leftovers(conn, PATTERN) == ["side_1"]


def test_a_leftover_of_somebody_else_stays_and_stops_nobody(conn: connection) -> None:
    """Only its owner may drop it."""
    execute(conn, "CREATE TABLE side_1 (id bigint)")
    conn.autocommit = True
    with stranger(conn) as name:
        execute(conn, f"SET ROLE {name}")
        assert drop_leftovers(conn, PATTERN) == []
        with pytest.raises(SteamAssetsError, match=r"may not create a table in the schema public.+steam_assets_owner"):
            create_table(conn, sql.SQL("CREATE TABLE {} (id bigint)").format(sql.Identifier("public", "side_2")))

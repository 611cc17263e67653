"""A restored database is the one that was dumped, and a restore that fails has done nothing."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection, make_dsn

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import connect, find_database
from steam_assets.store.dump import dump_database
from steam_assets.store.embedded_account import OLD_RELEASE, find_programs, server_account
from steam_assets.store.restore import restore_database
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import execute, fetch
from steam_assets_tests.test_dump import digests, fill_database

RESTORE = """
import os, sys
from pathlib import Path
from steam_assets.store.database import find_database
from steam_assets.store.restore import restore_database

def stop_here(sent):
    if sent > 20_000:
        print("half-way", flush=True)
        sys.stdin.readline()

restore_database(find_database(sys.argv[1]), Path(sys.argv[2]), stop_here)
"""


@pytest.fixture
def file(conn: connection, database_url: str, home: Path) -> Path:
    """A dump of a database with a little of everything."""
    fill_database(conn)
    dump_database(find_database(database_url), home / "x.dump")
    return home / "x.dump"


def relations(database_url: str) -> int:
    """How many tables, indexes, sequences and views are in the database."""
    with closing(psycopg2.connect(database_url)) as conn:
        ((found,),) = fetch(conn, "SELECT count(*) FROM pg_class WHERE oid >= 16384")
    assert isinstance(found, int)
    return found


def test_what_was_dumped_is_restored(conn: connection, database_url: str, empty_database_url: str, home: Path) -> None:
    """Vectors, enums, generated columns, foreign keys, partitions, odd names and comments are the same."""
    fill_database(conn)
    dumped = dump_database(find_database(database_url), home / "x.dump")
    seen: list[int] = []
    restored = restore_database(find_database(empty_database_url), home / "x.dump", seen.append)

    with closing(connect(find_database(empty_database_url))) as copy:
        assert digests(copy) == digests(conn)
        described = "SELECT obj_description('notes'::regclass), col_description('notes'::regclass, 1)"
        assert fetch(copy, described) == fetch(conn, described) == [("It has a mark.", None)]
        foreign_keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
        assert fetch(copy, foreign_keys) == fetch(conn, foreign_keys)
    assert restored.rows == dumped.rows
    assert seen[-1] > 1000


def test_a_table_that_is_there_is_not_touched(file: Path, empty_database_url: str) -> None:
    """The tables in the way are named, their rows stay, and nothing else appears."""
    with closing(psycopg2.connect(empty_database_url)) as conn:
        execute(conn, "CREATE TABLE reviews AS SELECT 42 AS answer")
        execute(conn, """CREATE TABLE "Odd; ""quoted"" table" ()""")
        there = relations(empty_database_url)
        with pytest.raises(SteamAssetsError, match=r"has .*reviews.* already.*--database-url") as refused:
            restore_database(find_database(empty_database_url), file)
        assert '"Odd; ""quoted"" table"' in str(refused.value)
        assert fetch(conn, "SELECT answer FROM reviews") == [(42,)]
    assert relations(empty_database_url) == there


def test_anything_else_in_the_way_undoes_all(file: Path, empty_database_url: str) -> None:
    """A type of the same name is found by the server only; its words are the message."""
    with closing(psycopg2.connect(empty_database_url)) as conn:
        execute(conn, "CREATE TYPE mood AS ENUM ('bad')")
    with pytest.raises(SteamAssetsError, match=r'Nothing was restored: .*type "mood" already exists'):
        restore_database(find_database(empty_database_url), file)
    assert relations(empty_database_url) == 0


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.99])
def test_a_file_that_was_cut_short_restores_nothing(file: Path, empty_database_url: str, share: float) -> None:
    """Wherever it ends, also when the first tables are whole: one message, and an empty database."""
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SteamAssetsError, match=r"x\.dump cannot be restored, and nothing was: .*(cut short|Expected)"):
        restore_database(find_database(empty_database_url), file)
    assert relations(empty_database_url) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,name\n1,Lantern Valley\n" * 100, "Expected a file that `steam-assets db dump`"),
        (b"--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n" + 1000 * b"-\n", "It is SQL text.*db psql"),
        (b"PGDMP\x01\x63\x00" + bytes(100), "It was written by a newer pg_dump"),
    ],
    ids=["csv", "sql", "future"],
)
def test_what_is_no_dump_is_said(home: Path, empty_database_url: str, content: bytes, words: str) -> None:
    """A table of commas, SQL as text, and the format of a later release each get their own advice."""
    (home / "x").write_bytes(content)
    with pytest.raises(SteamAssetsError, match=words):
        restore_database(find_database(empty_database_url), home / "x")


def test_a_killed_restore_restores_nothing(
    conn: connection, database_url: str, empty_database_url: str, home: Path
) -> None:
    """After SIGKILL psql gets an end of file in the middle, and must not take that for the end."""
    fill_database(conn)
    execute(conn, "CREATE TABLE long AS SELECT n, repeat('x', 100) AS x FROM generate_series(1, 20000) AS n")
    dump_database(find_database(database_url), home / "x.dump")
    command = [sys.executable, "-c", RESTORE, empty_database_url, str(home / "x.dump")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half-way\n"
        process.kill()
    with closing(psycopg2.connect(empty_database_url)) as other:
        alone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_until(lambda: fetch(other, alone) == [(0,)], "psql has gone")
    assert relations(empty_database_url) == 0


@pytest.fixture
def older_server_url(home: Path) -> Iterator[str]:
    """A database of PostgreSQL 16, reached by its socket."""
    account, data = server_account(home), home / "older"
    programs = find_programs(account, OLD_RELEASE)
    data.mkdir(mode=0o700)
    account.own(data)
    made = account.run((programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8"))
    assert made.returncode == 0, made.stderr
    options = f"-h '' -k {data} -c fsync=off"
    account.run((programs / "pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options))
    try:
        yield make_dsn(host=str(data), user="postgres", dbname="postgres")
    finally:
        account.run((programs / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data))


def test_a_dump_goes_into_an_older_server(file: Path, conn: connection, older_server_url: str) -> None:
    """pg_restore 18 sets what PostgreSQL 16 does not know; that line is left out."""
    restore_database(find_database(older_server_url), file)
    with closing(connect(find_database(older_server_url))) as older:
        assert digests(older) == digests(conn)


def test_whoever_restores_owns_what_is_restored(file: Path, conn: connection, empty_database_url: str) -> None:
    """A user who owns a database, where an administrator has added pgvector, needs no other right and no other role."""
    execute(conn, "DROP ROLE IF EXISTS plain")
    execute(conn, "CREATE ROLE plain LOGIN")
    with closing(psycopg2.connect(empty_database_url)) as boss:
        execute(boss, "CREATE EXTENSION vector")
        execute(boss, f"ALTER DATABASE {boss.info.dbname} OWNER TO plain")
        address = find_database(make_dsn(empty_database_url, user="plain"))
        restore_database(address, file)
        assert fetch(boss, "SELECT tableowner FROM pg_tables WHERE tablename = 'reviews'") == [("plain",)]
        execute(boss, "REASSIGN OWNED BY plain TO postgres")
        execute(boss, "DROP OWNED BY plain")
    execute(conn, "DROP ROLE plain")

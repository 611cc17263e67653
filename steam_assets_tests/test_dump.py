"""A dump is one file with everything in it, and there only when it is complete."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store import dump
from steam_assets.store.database import find_database
from steam_assets.store.dump import dump_database
from steam_assets.store.restore import restore_database
from steam_assets_tests import mounts
from steam_assets_tests.dagster_home import fill_tables
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import NOTES, ODD_IDS, add_rows, embed, execute, fetch, make_table

DUMP = """
import sys
from pathlib import Path
from steam_assets.exits import run_and_exit
from steam_assets.store import dump
from steam_assets.store.database import find_database
from steam_assets.store.dump import dump_database
from steam_assets.store.restore import restore_database
run_and_exit(lambda: dump_database(find_database(sys.argv[1]), Path(sys.argv[2])))
"""


SMALL_DISK_BYTES = 2_000_000


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A directory with room for 2 MB."""
    with mounts.small_disk(home / "small_disk", SMALL_DISK_BYTES) as directory:
        yield directory


def fill_database(conn: connection) -> None:
    """Tables as a demo leaves them, and others with everything that PostgreSQL may make of them."""
    fill_tables(conn)
    make_table(conn, NOTES, "text")
    add_rows(conn, NOTES, {id_: f"about {id_!r}" for id_ in ODD_IDS})
    embed(conn, NOTES)
    execute(conn, "COMMENT ON TABLE notes IS 'It has a mark.'")
    execute(conn, "CREATE TYPE mood AS ENUM ('fine', 'it''s complicated')")
    execute(
        conn,
        """
        CREATE TABLE "Odd; ""quoted"" table" (
            "a b" mood PRIMARY KEY,
            half halfvec(3),
            twice text GENERATED ALWAYS AS ('all' || 2) STORED,
            note text REFERENCES notes
        )
        """,
    )
    execute(conn, """INSERT INTO "Odd; ""quoted"" table" VALUES ('fine', '[1,2,3]', DEFAULT, %(id)s)""", id=ODD_IDS[0])
    execute(conn, "CREATE SCHEMA elsewhere CREATE TABLE notes (n int) PARTITION BY RANGE (n)")
    execute(conn, "CREATE TABLE elsewhere.few PARTITION OF elsewhere.notes FOR VALUES FROM (0) TO (9)")
    execute(conn, "INSERT INTO elsewhere.notes VALUES (3), (4)")


def digests(conn: connection) -> dict[str, tuple[object, ...]]:
    """The number of rows of each table, by name, and a digest of them all."""
    tables = fetch(
        conn,
        "SELECT relnamespace::regnamespace::text, relname FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p'"
        " AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')",
    )
    statement = sql.SQL("SELECT count(*), md5(string_agg(t::text, E'\n' ORDER BY t::text COLLATE \"C\")) FROM {} AS t")
    return {
        ".".join(map(str, names)): fetch(conn, statement.format(sql.Identifier(*map(str, names))))[0]
        for names in tables
    }


def test_a_dump_says_what_is_in_it(conn: connection, database_url: str, empty_database_url: str, home: Path) -> None:
    """Rows are counted in the snapshot that was dumped: what others write meanwhile is in neither."""
    fill_database(conn)
    before = digests(conn)
    seen: list[int] = []

    def write_meanwhile(written: int) -> None:
        if not seen:
            execute(conn, "INSERT INTO notes VALUES ('meanwhile', 'x')")
        seen.append(written)

    report = dump_database(find_database(database_url), home / "x.dump", write_meanwhile)
    rows = [int(str(found)) for found, _ in before.values()]
    assert (report.tables, report.rows) == (len(rows), sum(rows))
    assert report.rows > 25 + 25 + len(ODD_IDS)
    assert report.bytes == (home / "x.dump").stat().st_size > 1000
    assert [path.name for path in home.glob("x.dump*")] == ["x.dump"]
    assert digests(conn) != before
    restore_database(find_database(empty_database_url), home / "x.dump")
    with closing(psycopg2.connect(empty_database_url)) as copy:
        assert digests(copy) == before


def test_a_file_that_is_there_is_replaced_only_when_asked(database_url: str, home: Path) -> None:
    """Yesterday's dump is not lost by accident, nor by a dump that fails."""
    file = home / "x.dump"
    file.write_text("yesterday's")
    address = find_database(database_url)
    with pytest.raises(SteamAssetsError, match=r"x\.dump is there already.*--force"):
        dump_database(address, file)
    assert file.read_text() == "yesterday's"
    dump_database(address, file, replace=True)
    assert file.read_bytes().startswith(b"PGDMP")


@pytest.mark.parametrize("place", ["", "file/x.dump", "missing/x.dump"])
def test_a_place_that_takes_no_file_is_named(database_url: str, home: Path, place: str) -> None:
    """A directory, a path through a file, and one that is not there are told apart from trouble of the database."""
    (home / "file").write_text("")
    with pytest.raises(SteamAssetsError, match=f"{home / place} (is a directory|cannot be written)"):
        dump_database(find_database(database_url), home / place)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_dump_leaves_no_file(
    conn: connection, database_url: str, other_conn: connection, home: Path, number: signal.Signals, code: int
) -> None:
    """Neither a half-made dump nor a file that looks like one, nor a pg_dump that goes on."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with other_conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE applications IN ACCESS EXCLUSIVE MODE")
    command = [sys.executable, "-c", DUMP, database_url, str(home / "x.dump")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: fetch(conn, waiting) == [(1,)], "pg_dump waits for the lock")
        assert len(list(home.glob("x.dump.unfinished-*"))) == 1
        process.send_signal(number)
        process.communicate()
    assert process.returncode == code
    wait_until(lambda: fetch(conn, waiting) == [(0,)], "pg_dump no longer waits for the lock", 5)
    assert list(home.glob("x.dump*")) == []


def test_what_pg_dump_says_is_the_message(
    database_url: str, other_conn: connection, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is locked for longer than we wait is named, and no file is left."""
    monkeypatch.setattr(dump, "LOCK_WAIT", "100ms")
    with other_conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE applications IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(SteamAssetsError, match=r"Nothing was written: pg_dump: error: .*applications"):
        dump_database(find_database(database_url), home / "x.dump")
    assert list(home.glob("x.dump*")) == []


def test_a_full_disk_leaves_no_file(conn: connection, database_url: str, small_disk: Path) -> None:
    """The message says that there is no room, and the half-made file gives its room back."""
    execute(conn, "CREATE TABLE noise AS SELECT sha512(n::text::bytea) AS b FROM generate_series(1, 60000) AS n")
    with pytest.raises(SteamAssetsError, match="No space left on device"):
        dump_database(find_database(database_url), small_disk / "x.dump")
    assert list(small_disk.iterdir()) == []

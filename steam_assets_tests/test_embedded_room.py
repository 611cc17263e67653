"""A disk without room, or one that cannot be written: one message that names it, and nothing lost."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from steam_assets.errors import SteamAssetsError
from steam_assets.store import embedded
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_room import full_disk
from steam_assets_tests import mounts
from steam_assets_tests.databases import leave

# initdb writes 40 MB, and the server begins with a WAL segment of 16 MB more.
SMALL_BYTES = 100_000_000
INSERT = "INSERT INTO kept SELECT n, decode(repeat(md5(n::text), 3000), 'hex') FROM generate_series(1, 10) AS n"


@pytest.fixture
def small_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home on a small disk of its own."""
    with mounts.small_disk(home / "small", SMALL_BYTES) as small:
        monkeypatch.setenv("STEAM_ASSETS_HOME", str(small))
        yield small
        leave(small / "postgres")


@pytest.fixture
def small_server(small_home: Path) -> EmbeddedServer:
    """The server of the small home, with a table that compresses nothing."""
    started = embedded.start(small_home / "postgres")
    execute(started, "CREATE TABLE kept (n int, noise bytea)", "ALTER TABLE kept ALTER noise SET STORAGE external")
    return started


def execute(server: EmbeddedServer, *statements: str) -> int:
    """Run statements, each committed by itself; gives the rows of the last one."""
    with closing(psycopg2.connect(server.dsn("postgres"))) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        for statement in statements:
            cursor.execute(statement)
        return cursor.rowcount


def rows(server: EmbeddedServer) -> int:
    return execute(server, "SELECT FROM kept")


def repeat(committed: list[int], server: EmbeddedServer, *statements: str) -> None:
    """Run statements over and over; notes the rows of the last one each time."""
    while True:
        committed.append(execute(server, *statements))


def fill(directory: Path, leave_bytes: int) -> Path:
    """A file that leaves so much of the disk."""
    filler = directory / "filler"
    size = shutil.disk_usage(directory).free - leave_bytes
    subprocess.run(["fallocate", "-l", str(size), filler], check=True)
    return filler


def test_a_full_disk_fails_the_statement_and_nothing_else(small_server: EmbeddedServer, small_home: Path) -> None:
    """The error names the directory and its room; the server lives on, and with room again the same is written."""
    execute(
        small_server, "ALTER TABLE kept SET UNLOGGED"
    )  # so that the disk is not filled by the log, the next test's case
    filler = fill(small_home, 20_000_000)
    committed: list[int] = []
    with pytest.raises(psycopg2.errors.DiskFull) as failed:
        repeat(committed, small_server, INSERT)
    problem = full_disk(failed.value)
    assert problem is not None
    assert f"data in {small_server.data}, whose disk has " in str(problem)
    assert "MB of room" in str(problem)
    assert "No space left on device" in str(problem)
    assert rows(small_server) == sum(committed) > 0

    filler.unlink()
    assert execute(small_server, INSERT) == 10
    assert rows(small_server) == sum(committed) + 10


def test_a_disk_too_full_for_the_log_stops_the_server_until_there_is_room(
    small_server: EmbeddedServer, small_home: Path
) -> None:
    """Without room for its write-ahead log it cannot recover: starting says why, and later nothing is missing."""
    filler = fill(small_home, 2_000_000)
    committed: list[int] = []
    with pytest.raises(psycopg2.OperationalError):
        repeat(committed, small_server, "SELECT pg_switch_wal()", "INSERT INTO kept VALUES (1)")
    with pytest.raises(
        SteamAssetsError, match=rf"{small_server.data} does not start: its disk is full, with \d MB of room"
    ):
        embedded.start(small_home / "postgres")

    filler.unlink()
    # The one that failed may have been committed before its answer was lost.
    assert rows(embedded.start(small_home / "postgres")) - sum(committed) in (0, 1)


def test_a_disk_too_small_for_a_cluster_is_named(small_home: Path) -> None:
    """The first start fails before there is a database, and a later one begins anew."""
    filler = fill(small_home, 20_000_000)
    with pytest.raises(SteamAssetsError, match=rf"{small_home}/postgres does not start: its disk is full, with \d+ MB"):
        embedded.start(small_home / "postgres")
    filler.unlink()
    execute(embedded.start(small_home / "postgres"), "SELECT 1")


def test_other_errors_are_not_taken_for_a_full_disk(small_server: EmbeddedServer) -> None:
    """A unique violation stays what it is."""
    with pytest.raises(psycopg2.errors.DivisionByZero) as failed:
        execute(small_server, "SELECT 1/0")
    assert full_disk(failed.value) is None


def test_a_full_disk_of_another_server_is_its_administrators(database_url: str) -> None:
    """Of a server elsewhere we know neither directory nor room."""
    with closing(psycopg2.connect(database_url)) as conn, conn.cursor() as cursor:
        with pytest.raises(psycopg2.errors.DiskFull) as failed:
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$")
        assert str(full_disk(failed.value)).startswith("There is no room for the data of the server: no room.")


@pytest.mark.parametrize("made", [False, True], ids=["empty", "with data"])
def test_a_directory_that_cannot_be_written_is_named(home: Path, made: bool) -> None:
    """Read-only for root too, as on a broken disk: one message with the path and the way out."""
    directory = home / "postgres"
    directory.mkdir()
    if made:
        embedded.start(directory)
        leave(directory)
    with mounts.read_only(directory):
        with pytest.raises(SteamAssetsError, match=rf"{directory} cannot be used: .*Read-only.*STEAM_ASSETS_HOME"):
            embedded.start(directory)
        embedded.leave(directory)
    execute(embedded.start(directory), "SELECT 1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere but on a read-only disk")
def test_a_directory_without_the_right_to_write_is_named(home: Path) -> None:
    """A user's own permissions, the common case."""
    directory = home / "postgres"
    directory.mkdir(mode=0o500)
    with pytest.raises(SteamAssetsError, match=rf"{directory} cannot be used: .*Permission denied"):
        embedded.start(directory)

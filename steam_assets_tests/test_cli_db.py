"""`steam-assets db`: out to a file, back into another database, and psql with its own exit code."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.databases import wait_until
from steam_assets_tests.test_dump import digests

Run = Callable[..., Ended]
DB = (sys.executable, "-m", "steam_assets", "db")


def psql(*arguments: str, typed: str = "") -> Ended:
    """`steam-assets db psql` in a process of its own, which it becomes."""
    ended = subprocess.run([*DB, "psql", *arguments], input=typed, capture_output=True, text=True, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_a_restored_database_has_the_same_rows_and_the_same_status(
    steam_assets: Run, tables: connection, empty_database_url: str, home: Path
) -> None:
    """Dump, restore into an empty database, and `status` says the same of both."""
    assert steam_assets("embed", "--limit", "20").code == 0
    dumped = steam_assets("db", "dump", str(home / "steam.dump"))
    assert dumped.code == 0
    rows = sum(int(str(count)) for count, _ in digests(tables).values())
    assert f"steam.dump: {rows} rows of " in dumped.out
    restored = steam_assets("db", "restore", "--database-url", empty_database_url, str(home / "steam.dump"))
    assert restored.code == 0, restored
    assert f"{rows} rows of " in restored.out

    status = steam_assets("status").out
    assert "all-MiniLM-L6-v2" in status
    assert steam_assets("status", "--database-url", empty_database_url).out == status
    with closing(psycopg2.connect(empty_database_url)) as copy:
        assert digests(copy) == digests(tables)


def test_nothing_is_replaced_unasked(steam_assets: Run, tables: connection, home: Path) -> None:
    """A file that is there stays without --force, and tables that are there always; exit 2, one line."""
    file = str(home / "steam.dump")
    assert steam_assets("db", "dump", file).code == 0
    assert "--force" in one_line(steam_assets("db", "dump", file), 2)
    assert steam_assets("db", "dump", "--force", file).code == 0
    assert "application_categories" in one_line(steam_assets("db", "restore", file), 2)


def test_a_bar_tells_the_bytes_on_a_terminal_only(
    steam_assets: Run, tables: connection, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts get one line of output and nothing beside it."""
    assert steam_assets("db", "dump", str(home / "quiet.dump")).err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert "Dumping" in steam_assets("db", "dump", str(home / "shown.dump")).err


def test_psql_runs_what_it_is_given(named_database: str) -> None:
    """Its options and its input are psql's own, and so are its output and its exit code."""
    assert psql("-Atc", "SELECT count(*) FROM reviews") == Ended(0, "0\n", "")
    assert psql("-At", typed="SELECT 40 + 2;\n").out == "42\n"
    assert psql("--no-align", "--tuples-only", "--set=n=7", "--file=-", typed="SELECT :n;").out == "7\n"
    assert psql("-c", "SELECT 1/0").code == 1
    assert psql("-v", "ON_ERROR_STOP=1", typed="SELECT 1/0;").code == 3


def test_psql_ends_when_nobody_reads_its_output(named_database: str) -> None:
    """`steam-assets db psql -c QUERY | head` ends at once and without a complaint."""
    question = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
    with subprocess.Popen([*DB, "psql", "-Atc", question], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == -13


@pytest.mark.slow
def test_the_embedded_server_lives_as_long_as_psql(home: Path) -> None:
    """psql takes our place as the server's client: it stays while psql runs, and stops after it."""
    with subprocess.Popen([*DB, "psql", "-At"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid_file = home / "postgres" / "data" / "postmaster.pid"
        for _ in range(2):
            process.stdin.write("SELECT current_database() FROM pg_sleep(1.5);\n")
            process.stdin.flush()
            assert process.stdout.readline() == "steam\n"
            assert pid_file.exists()
    wait_until(lambda: not pid_file.exists(), "the server stops")
    assert process.returncode == 0


def test_an_embedded_database_is_carried_to_another_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed or named: dump in one home, restore in an empty one."""
    assert psql("-c", "CREATE TABLE kept AS SELECT 42 AS answer").code == 0
    subprocess.run([*DB, "dump", home / "x.dump"], check=True, capture_output=True)
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(home / "another"))
    subprocess.run([*DB, "restore", home / "x.dump"], check=True, capture_output=True)
    assert psql("-Atc", "SELECT answer FROM kept").out == "42\n"
    pid_files = [directory / "postgres" / "data" / "postmaster.pid" for directory in (home, home / "another")]
    wait_until(lambda: not any(map(Path.exists, pid_files)), "the servers stop")


def test_the_password_is_told_to_nobody(steam_assets: Run, home: Path) -> None:
    """Neither in the message about a server that is not there, nor in the file's place."""
    url = "postgresql://me:hunter2@127.0.0.1:1/x"
    for arguments in (("dump", str(home / "x.dump")), ("psql", "-c", "SELECT 1")):
        assert "hunter2" not in one_line(steam_assets("db", arguments[0], "--database-url", url, *arguments[1:]), 2)
    assert list(home.glob("x.dump*")) == []

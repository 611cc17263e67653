"""Data of PostgreSQL 16 are upgraded when the server starts: all there, the old ones kept, and safe at any kill."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest

from steam_assets.errors import SteamAssetsError
from steam_assets.store import embedded
from steam_assets.store.embedded_account import OLD_RELEASE, Account, find_programs, server_account
from steam_assets.store.embedded_postmaster import socket_dsn
from steam_assets_tests import mounts
from steam_assets_tests.databases import leave

FILL = (
    "CREATE EXTENSION vector",
    "CREATE TABLE kept"
    " (id text PRIMARY KEY, v vector(3), h halfvec(3), twice text GENERATED ALWAYS AS (id || id) STORED)",
    "INSERT INTO kept SELECT 'ä' || n, '[1,2,3]', '[1,2,3]' FROM generate_series(1, 1000) AS n",
    "CREATE INDEX ON kept USING hnsw (v vector_cosine_ops)",
)
DIGEST = "SELECT md5(string_agg(k::text, ',' ORDER BY id)) FROM kept AS k"

# Dies by SIGKILL at the nth change that it makes, itself or by a program, and that has to do with a word; or where a
# file is named, when that appears afterwards.
START_AND_DIE = """
import os, signal, sys, threading, time
from pathlib import Path
from steam_assets.store import embedded

directory, word, moments, file = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

def die():
    while file and not os.path.exists(file):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

def count(event, arguments):
    global moments
    changes = event in ("os.rename", "os.mkdir", "shutil.rmtree", "subprocess.Popen")
    if changes and word in " ".join(map(str, arguments)):
        moments -= 1
        if moments < 0:
            threading.Thread(target=die, daemon=True).start() if file else die()

sys.addaudithook(count)
embedded.start(Path(directory))
"""


class OldServer:
    """A data directory of PostgreSQL 16, made with initdb's ``options`` where they are given, and its server."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.data = directory / "data"
        self.account: Account = server_account(directory)
        self.programs = find_programs(self.account, OLD_RELEASE)
        if options:
            self.data.mkdir(mode=0o700, parents=True)
            self.account.own(self.data)
            self.run("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", *options)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of the programs of release 16."""
        ended = self.account.run((self.programs / program, *arguments))
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def start(self) -> None:
        """Have it answer in its data directory."""
        options = f"-h '' -k {self.data}"
        self.run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.data / "server.log", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it, or have it crash: "immediate"."""
        self.run("pg_ctl", "stop", "-w", "-m", mode, "-D", self.data)

    def fill(self) -> object:
        """Make the database ``steam`` and give its digest."""
        for database, statements in (("postgres", ("CREATE DATABASE steam",)), ("steam", FILL)):
            dsn = socket_dsn(self.data, database)
            with closing(psycopg2.connect(dsn, client_encoding="UTF8")) as conn, conn.cursor() as cursor:
                conn.autocommit = True
                for statement in statements:
                    cursor.execute(statement)
        return ask(socket_dsn(self.data, "steam"), DIGEST)


def ask(dsn: str, question: str) -> object:
    with closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cursor:
        cursor.execute(question)
        return (cursor.fetchone() or (None,))[0]


def names(directory: Path) -> set[str]:
    """What lies in the place of the data, but for the locks."""
    return {path.name for path in directory.iterdir()} - {"clients", "starting", "watcher"}


@pytest.fixture(scope="module")
def old_data_of_module(test_directory: Path) -> tuple[Path, object]:
    """Data of release 16 with rows in them, and the digest of the rows; made once."""
    old = OldServer(test_directory / "old", "--encoding=UTF8", "--locale=C.UTF-8")
    old.start()
    digest = old.fill()
    old.stop()
    return old.data, digest


@pytest.fixture
def directory(home: Path) -> Path:
    """Where a server will be; the fixture `home` stops what the test starts there."""
    (home / "postgres").mkdir()
    return home / "postgres"


@pytest.fixture
def digest(old_data_of_module: tuple[Path, object], directory: Path) -> object:
    """Of the rows in ``directory``, which a server of release 16 left there."""
    old, digest = old_data_of_module
    subprocess.run(["cp", "-a", old, directory / "data"], check=True)
    return digest


def test_old_data_are_upgraded_and_kept(directory: Path, digest: object, caplog: pytest.LogCaptureFixture) -> None:
    """The rows, indexes and extension are there under 18, pages have checksums, and the log says where the old lie."""
    server = embedded.start(directory)
    assert ask(server.dsn("postgres"), "SHOW server_version") == "18.4"
    assert ask(server.dsn(), DIGEST) == digest
    assert ask(server.dsn(), "SHOW data_checksums") == "on"
    assert ask(server.dsn(), "SELECT count(*) FROM pg_indexes WHERE tablename = 'kept'") == 2
    assert names(directory) == {"data", "data.postgresql-16"}
    assert (directory / "data.postgresql-16" / "PG_VERSION").read_text() == "16\n"
    assert "data.postgresql-16" in caplog.records[-1].getMessage()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--encoding=UTF8", "--locale=C"),
        ("--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"),
        ("--encoding=SQL_ASCII", "--locale=C"),
    ],
    ids=["C", "checksums", "SQL_ASCII"],
)
def test_what_the_old_initdb_chose_is_no_obstacle(directory: Path, options: tuple[str, ...]) -> None:
    """Locale, encoding and checksums may differ from what a new cluster gets; the databases keep theirs."""
    old = OldServer(directory, *options)
    old.start()
    digest = old.fill()
    encoding = ask(socket_dsn(old.data, "steam"), "SHOW server_encoding")
    old.stop()
    server = embedded.start(directory)
    assert ask(server.dsn(), DIGEST) == digest
    assert ask(server.dsn(), "SHOW server_encoding") == encoding
    assert ask(server.dsn(), "SHOW data_checksums") == "on"


@pytest.mark.slow
def test_data_of_a_crashed_server_are_recovered_first(directory: Path) -> None:
    """What was committed before the crash is upgraded too; pg_upgrade alone would refuse."""
    old = OldServer(directory, "--encoding=UTF8", "--locale=C")
    old.start()
    digest = old.fill()
    old.stop("immediate")
    assert ask(embedded.start(directory).dsn(), DIGEST) == digest


@pytest.mark.slow
def test_neither_the_path_nor_the_environment_matters(
    home: Path, old_data_of_module: tuple[Path, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path too long for a socket, with characters that libpq and shells split; and PGHOST names another machine."""
    monkeypatch.setenv("PGHOST", "db.example.org")
    monkeypatch.setenv("PGPORT", "6000")
    directory = home / f"with space, comma and quote's {'x' * 100}"
    directory.mkdir()
    subprocess.run(["cp", "-a", old_data_of_module[0], directory / "data"], check=True)
    server = embedded.start(directory)
    assert ask(server.dsn(), DIGEST) == old_data_of_module[1]
    leave(directory)
    server.socket.rmdir()


def start_and_die(directory: Path, word: str = "", moment: int = 0, file: Path | str = "") -> bool:
    """Start the server in a process that dies by SIGKILL at that moment; False: it did not come to that."""
    command = [sys.executable, "-c", START_AND_DIE, str(directory), word, str(moment), str(file)]
    # Not captured: what the killed process started would hold the pipes.
    ended = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    assert ended.returncode in (0, -signal.SIGKILL)
    return ended.returncode != 0


def running_programs(directory: Path) -> list[list[str]]:
    """The programs that work on something in ``directory``, but for its server's watcher."""
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [words for words in found if str(directory) in " ".join(words) and "embedded_watcher" not in " ".join(words)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["postgres", "x" * 120], ids=["short path", "long path"])
@pytest.mark.parametrize(
    "running",
    [
        pytest.param("data", id="old server"),
        pytest.param("data.upgrading/data", id="new server", marks=pytest.mark.slow),
    ],
)
def test_killed_in_the_midst_of_pg_upgrade(
    home: Path, old_data_of_module: tuple[Path, object], running: str, name: str
) -> None:
    """Its servers live on when we are killed; the next start ends them and begins anew."""
    directory = home / name
    directory.mkdir()
    subprocess.run(["cp", "-a", old_data_of_module[0], directory / "data"], check=True)
    assert start_and_die(directory, "/pg_upgrade", 0, directory / running / "postmaster.pid")
    assert (directory / "data" / "PG_VERSION").read_text() == "16\n"
    assert any("-b" in words for words in running_programs(directory)), "pg_upgrade's server"
    server = embedded.start(directory)
    assert ask(server.dsn(), DIGEST) == old_data_of_module[1]
    assert names(directory) == {"data", "data.postgresql-16"}
    assert len(running_programs(directory)) == 1, "the server of release 18"
    leave(directory)
    if server.socket != server.data:
        server.socket.rmdir()


@pytest.mark.slow
def test_killed_between_the_renames(directory: Path, digest: object) -> None:
    """The old data have left their place and the new ones are not there yet: they are put there, not made anew."""
    assert start_and_die(directory, f"{directory}/data.upgraded {directory}/data ")
    assert names(directory) == {"data.upgraded", "data.postgresql-16"}
    before = (directory / "data.upgraded").stat().st_ino
    assert ask(embedded.start(directory).dsn(), DIGEST) == digest
    assert names(directory) == {"data", "data.postgresql-16"}
    assert (directory / "data").stat().st_ino == before


@pytest.mark.slow
def test_a_copy_that_may_be_out_of_date_is_made_anew(directory: Path, digest: object) -> None:
    """Killed before the first rename, the old data may have been written since, by an older steam-assets."""
    assert start_and_die(directory, "data.postgresql-16")
    assert names(directory) == {"data", "data.upgraded"}
    old = OldServer(directory)
    old.start()
    with closing(psycopg2.connect(socket_dsn(old.data, "steam"))) as conn, conn, conn.cursor() as cursor:
        cursor.execute("INSERT INTO kept VALUES ('later')")
    old.stop()
    assert ask(embedded.start(directory).dsn(), "SELECT count(*) FROM kept") == 1001


@pytest.mark.slow
def test_killed_at_every_moment(directory: Path, digest: object) -> None:
    """At each directory made, moved or removed and each program started: nothing is lost, nothing is left over."""
    moments = 0
    while start_and_die(directory, "", moments):
        moments += 1
        places = [path for path in directory.iterdir() if path.name in ("data", "data.postgresql-16")]
        assert "16\n" in [(place / "PG_VERSION").read_text() for place in places]
    assert moments > 15
    assert ask(embedded.start(directory).dsn(), DIGEST) == digest
    assert names(directory) == {"data", "data.postgresql-16"}


def test_an_old_server_that_runs_is_not_stopped(directory: Path, digest: object) -> None:
    """Another program may use the data with a server of release 16; it is told, and nothing is touched."""
    old = OldServer(directory)
    old.start()
    try:
        with pytest.raises(SteamAssetsError, match=r"server of release 16 runs on it"):
            embedded.start(directory)
        assert ask(socket_dsn(old.data, "steam"), DIGEST) == digest
        assert names(directory) == {"data"}
    finally:
        old.stop()


def test_without_room_for_a_copy_nothing_begins(home: Path, old_data_of_module: tuple[Path, object]) -> None:
    """The message names the place, what is needed, and what there is."""
    with mounts.small_disk(home / "small", 80_000_000) as small:
        subprocess.run(["cp", "-a", old_data_of_module[0], small / "data"], check=True)
        with pytest.raises(SteamAssetsError, match=rf"needs 0\.\d+ GB beside it, and {small} has 0\.\d+ GB of room"):
            embedded.start(small)
        assert names(small) == {"data"}
        embedded.leave(small)


def test_what_pg_upgrade_refuses_is_said_and_undone(directory: Path) -> None:
    """Here a database that lets nobody in, pg_upgrade neither; the old data stay as they are."""
    old = OldServer(directory, "--encoding=UTF8", "--locale=C")
    old.start()
    old.fill()
    with closing(psycopg2.connect(socket_dsn(old.data, "postgres"))) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute("ALTER DATABASE steam ALLOW_CONNECTIONS false")
    old.stop()
    with pytest.raises(SteamAssetsError, match=r"old data are untouched.*pg_upgrade says: .*steam"):
        embedded.start(directory)
    assert names(directory) == {"data"}
    old.start()
    old.stop()

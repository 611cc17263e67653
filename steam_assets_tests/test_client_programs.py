"""PostgreSQL's programs: those of the package unless the server is newer or speaks TLS, then those of the machine."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from steam_assets.errors import SteamAssetsError
from steam_assets.store import client_programs
from steam_assets.store.client_programs import Client, find_client
from steam_assets.store.database import DatabaseAddress, find_database
from steam_assets.store.dump import dump_database
from steam_assets.store.embedded_account import OLD_RELEASE, Account, find_programs, server_account
from steam_assets.store.restore import restore_database

PACKAGES = find_programs(Account())
PASSWORD = "s3cret word"  # noqa: S105 (of a server that lives for one test)
MACHINES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
needs_tls = pytest.mark.skipif(
    os.geteuid() != 0 or not MACHINES or shutil.which("openssl") is None,
    reason="needs root, openssl, and a PostgreSQL of Debian's or Ubuntu's, which has TLS (apt-get install postgresql)",
)


@pytest.fixture
def tls_address(home: Path) -> Iterator[DatabaseAddress]:
    """A server of the machine's own PostgreSQL that is reached by TLS and with a password only."""
    account, programs, data = server_account(home), MACHINES[-1].parent, home / "tls"
    key, certificate, password = home / "server.key", home / "server.crt", home / "password"
    password.write_text(PASSWORD)
    openssl = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    subprocess.run(
        [*openssl, "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]

    data.mkdir(mode=0o700)
    account.own(data)
    initdb = (programs / "initdb", "-D", data, "-U", "boss", "-A", "scram-sha-256", "--pwfile", password)
    made = account.run(initdb)
    assert made.returncode == 0, made.stderr
    for file in (key, certificate):
        shutil.copy(file, data)
        os.chown(data / file.name, *(account.uid or 0, account.gid or 0))
        (data / file.name).chmod(0o600)
    (data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
    options = f"-c ssl=on -c listen_addresses=127.0.0.1 -p {port} -k {data}"
    started = account.run((programs / "pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options))
    assert started.returncode == 0, (data / "log").read_text()
    try:
        yield find_database(
            f"postgresql://boss:{PASSWORD.replace(' ', '%20')}@localhost:{port}/postgres"
            f"?sslmode=verify-full&sslrootcert={certificate}"
        )
    finally:
        account.run((programs / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data))


def answer(client: Client, question: str) -> str:
    """What psql says, or its complaint."""
    ended = subprocess.run(
        client.command("psql", "-Atc", question), env=client.environment, capture_output=True, text=True, check=False
    )
    return ended.stdout.strip() or ended.stderr


@pytest.mark.parametrize("program", ["pg_dump", "psql"])
def test_a_server_of_the_packages_version_gets_the_packages_programs(empty_database_url: str, program: str) -> None:
    """Nothing has to be installed for the embedded server, nor is anything of the machine's used."""
    client = find_client(find_database(empty_database_url), program)
    assert client.directory == PACKAGES
    assert answer(client, "SHOW server_version") == "18.4"


def test_a_socket_needs_no_tls_whatever_the_address_says(empty_database_url: str) -> None:
    """libpq knows that sockets have none; the package's programs, built without TLS, would refuse the word."""
    client = find_client(find_database(f"{empty_database_url}&sslmode=require"), "psql")
    assert answer(client, "SELECT 1") == "1"


def test_a_newer_server_is_dumped_with_the_machines_programs(
    empty_database_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump does not dump a server newer than itself; psql speaks with any."""
    monkeypatch.setattr(client_programs, "RELEASE", 17)
    address = find_database(empty_database_url)
    monkeypatch.setenv("PATH", f"{PACKAGES}:{os.environ['PATH']}")
    assert find_client(address, "pg_dump").directory == PACKAGES
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(SteamAssetsError, match=r"PostgreSQL 18\. .*there is no pg_dump.*postgresql-client-18"):
        find_client(address, "pg_dump")
    old = home / "pg_dump"
    old.symlink_to(find_programs(Account(), OLD_RELEASE) / "pg_dump")
    with pytest.raises(SteamAssetsError, match=r"home_\d+/pg_dump is version 16.*postgresql-client-18"):
        find_client(address, "pg_dump")
    assert find_client(address, "psql").directory == PACKAGES


@needs_tls
def test_tls_options_and_the_password_are_handed_on(
    tls_address: DatabaseAddress, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is checked as the address says, the password is on no command line, and without TLS we say so."""
    client = find_client(tls_address, "psql")
    assert client.directory != PACKAGES
    assert answer(client, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
    assert not [word for word in client.command("psql") if PASSWORD in word or "s3cret" in word]
    assert "s3cret" not in repr(client)

    restricted = Client(client.directory, client.dsn.replace("server.crt", "password"), client.environment)
    assert "root certificate file" in answer(restricted, "SELECT 1")
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(SteamAssetsError, match=r"reached by TLS.*there is no psql on PATH"):
        find_client(tls_address, "psql")


@pytest.mark.slow
@needs_tls
def test_a_database_goes_to_an_older_server_of_the_machine_and_back(
    tls_address: DatabaseAddress, empty_database_url: str, home: Path
) -> None:
    """Dumped over TLS from one server, restored into a newer one."""
    with closing(psycopg2.connect(tls_address.dsn)) as conn, conn, conn.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT n FROM generate_series(1, 1000) AS n")
    assert dump_database(tls_address, home / "old.dump").rows == 1000
    assert restore_database(find_database(empty_database_url), home / "old.dump").rows == 1000


def test_a_secret_that_has_no_variable_is_refused(empty_database_url: str) -> None:
    """A client key's password would have to stand on a command line, where every user reads it."""
    address = find_database(f"{empty_database_url}&sslpassword=hunter2")
    with pytest.raises(SteamAssetsError, match=r"sslpassword.*PGSERVICE") as refused:
        find_client(address, "psql")
    assert "hunter2" not in str(refused.value)

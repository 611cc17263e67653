"""Servers of our own around the one of databases.py: PgBouncer with or without TLS, certificates, users, restarts."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.store import embedded
from steam_assets.store.database import connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_account import Account, find_programs, server_account
from steam_assets_tests.databases import execute_on, wait_until
from steam_assets_tests.rows import execute

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
EVERY_SPECIAL_CHARACTER = "z://a%b:c@d/e'f g\"h\\i?j#k&l=m+n"

_numbers = count(1)

needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed (apt-get install pgbouncer)")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates")


@dataclass(frozen=True)
class Pgbouncer:
    """A running pooler on 127.0.0.1."""

    port: int
    log: Path

    def url(self, database: str, host: str = "127.0.0.1") -> str:
        """The URL of a database behind it."""
        return f"postgresql://postgres@{host}:{self.port}/{database}"


@contextmanager
def pgbouncer(server: EmbeddedServer, directory: Path, **settings: object) -> Iterator[Pgbouncer]:
    """A PgBouncer before ``server``, its files in ``directory``, which that server's user must be able to enter."""
    assert PGBOUNCER is not None
    account = server_account(server.directory)
    directory.mkdir()
    pooler = Pgbouncer(free_port(), directory / "pgbouncer.log")
    (directory / "users.txt").write_text('"postgres" ""\n')
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": pooler.port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": directory / "users.txt",
        "logfile": pooler.log,
        **settings,
    }
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={server.socket} port={embedded.PORT}\n"
        "[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
    )
    account.own(directory)
    with start(account, PGBOUNCER, "--quiet", directory / "pgbouncer.ini") as process:
        try:
            wait_until(lambda: answers(pooler.port) or process.poll() is not None, "PgBouncer answers", 10)
            assert process.poll() is None, pooler.log.read_text()
            yield pooler
        finally:
            process.kill()


def start(account: Account, *command: str | Path) -> "subprocess.Popen[bytes]":
    """Start a program as the server's user; what it prints is in its own log."""
    arguments = [str(part) for part in command]
    if account.uid is None:
        return subprocess.Popen(arguments, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.Popen(
        arguments,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account.uid,
        group=account.gid,
        extra_groups=(),
    )


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Certificate:
    """A certificate, the key of it, and the authority that signed it, each a file."""

    certificate: Path
    key: Path
    authority: Path


def make_certificate(directory: Path, name: str, signed_by: Certificate | None = None) -> Certificate:
    """A certificate for the host ``name`` signed by another, or an authority that signs others and itself."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    signed = () if signed_by is None else ("-CA", signed_by.certificate, "-CAkey", signed_by.key)
    extension = () if signed_by is None else ("-addext", f"subjectAltName=DNS:{name}")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", *signed, *extension, "-out", certificate, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return Certificate(certificate, key, certificate if signed_by is None else signed_by.certificate)


@contextmanager
def user_with_password(server: EmbeddedServer, name: str, password: str) -> Iterator[str]:
    """A role that needs this password and may create nothing; its name."""
    hba = server.data / "pg_hba.conf"
    trusting = hba.read_text()
    hba.write_text(f"local all {name} scram-sha-256\n{trusting}")
    role = sql.Identifier(name)
    create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password))
    execute_on(server, create)
    reload(server)
    try:
        yield name
    finally:
        hba.write_text(trusting)
        reload(server)
        execute_on(server, sql.SQL("DROP ROLE {}").format(role))


def reload(server: EmbeddedServer) -> None:
    """Have the server read its files again, and wait until new connections are treated as they say."""

    def loaded() -> object:
        with closing(psycopg2.connect(server.dsn("postgres"))) as conn, conn.cursor() as cursor:
            cursor.execute("SELECT pg_conf_load_time()")
            return cursor.fetchone()

    before = loaded()
    execute_on(server, "SELECT pg_reload_conf()")
    wait_until(lambda: loaded() != before, "the server has read its files again")


def kill_server(server: EmbeddedServer) -> None:
    """End a server of the test's own at once, as `pg_ctl stop -m immediate` does, and wait until it has ended."""
    pid_file = server.data / "postmaster.pid"
    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
    wait_until(lambda: not pid_file.exists(), "the server has ended")


@contextmanager
def standby(server: EmbeddedServer, directory: Path, **settings: object) -> Iterator[EmbeddedServer]:
    """A copy of ``server`` that follows it and can be read, if settings of its own do not say otherwise."""
    account = server_account(server.directory)
    directory.mkdir(mode=0o755)
    account.own(directory)
    copied = account.run(
        [
            *(
                find_programs(account) / "pg_basebackup",
                "-D",
                directory / "data",
                "-h",
                server.socket,
                "-U",
                "postgres",
            ),
            *("-p", str(embedded.PORT), "-R", "-X", "stream", "-c", "fast"),
        ]
    )
    assert copied.returncode == 0, copied.stderr
    follower = EmbeddedServer(directory, directory / "data", directory)
    options = [f"-c{name}={value}" for name, value in settings.items()]
    place = ("-D", follower.data, "-h", "", "-k", follower.socket, "-p", str(embedded.PORT))
    with start(account, find_programs(account) / "postgres", *place, *options) as process:
        try:
            socket_file = follower.socket / f".s.PGSQL.{embedded.PORT}"
            wait_until(lambda: socket_file.exists() or process.poll() is not None, "the standby listens")
            assert process.poll() is None, "the standby does not start"
            yield follower
        finally:
            process.send_signal(signal.SIGQUIT)


@contextmanager
def stranger(conn: connection) -> Iterator[str]:
    """The name of a new role that owns nothing and may do nothing; gone afterwards with all that it got."""
    name = f"stranger_{next(_numbers)}"
    execute(conn, f"CREATE ROLE {name}")
    try:
        yield name
    finally:
        conn.rollback()
        execute(conn, f"RESET ROLE; DROP OWNED BY {name}; DROP ROLE {name}")


@contextmanager
def role(conn: connection, database_url: str, name: str) -> Iterator[connection]:
    """A connection as a new role, which is gone afterwards."""
    execute(conn, f"CREATE ROLE {name} LOGIN")
    try:
        with closing(connect(find_database(database_url.replace("postgres@", f"{name}@")))) as opened:
            yield opened
    finally:
        execute(conn, f"DROP OWNED BY {name}; DROP ROLE {name}")

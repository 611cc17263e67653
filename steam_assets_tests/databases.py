"""Fixtures: real PostgreSQL of our own, a fresh database for each test, and no way to anybody else's."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.store import embedded
from steam_assets.store.database import connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.schema import apply_schema, plan_schema

TEMPLATE_DIMENSION = 384
PREDECESSOR_SQL = Path(__file__).with_name("predecessor.sql")
SERVER_STOPS_WITHIN_S = 60.0
MEMORY, ROOMY_BYTES = Path("/dev/shm"), 6 << 30  # noqa: S108  (a database was made there in 35 ms, and in 800 on a busy disk)

_numbers = count(1)
_dropping = ThreadPoolExecutor(1, "dropping")
_drops: list[Future[None]] = []


@pytest.fixture(scope="session")
def test_directory() -> Iterator[Path]:
    """A directory for this session that the server's user can enter, unlike pytest's own when root runs the tests.

    It is in memory where there is plenty.
    """
    is_roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOMY_BYTES
    directory = Path(tempfile.mkdtemp(prefix="steam_assets_tests-", dir=MEMORY if is_roomy else None))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def home(test_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for the test, and an environment (and a working directory without `.env`) that names no database."""
    for name in os.environ:
        if name in ("DATABASE_URL", "DAGSTER_HOME") or name.startswith(("STEAM_ASSETS_", "PG")):
            monkeypatch.delenv(name)
    directory = test_directory / f"home_{next(_numbers)}"
    directory.mkdir(mode=0o755)
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(directory))
    monkeypatch.chdir(directory)
    yield directory
    leave(directory / "postgres")
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def server(test_directory: Path) -> Iterator[EmbeddedServer]:
    """The server of this session's tests."""
    started = embedded.start(test_directory / "postgres")
    # What the tests write may be lost with the machine. Autovacuum comes when it likes: it made the server write a file
    # anew where a test had filled the disk.
    execute_on(
        started,
        "ALTER SYSTEM SET fsync = off",
        "ALTER SYSTEM SET autovacuum_naptime = '20d'",
        "SELECT pg_reload_conf()",
    )
    yield started
    failed = all_dropped()
    # An immediate shutdown: the checkpoint of a fast one took up to 10 s, and nobody reads these files again.
    os.kill(int((started.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
    leave(started.directory)
    assert failed == []


def all_dropped() -> list[BaseException]:
    """Wait until the databases are gone whose tests have ended; why some are not."""
    return [error for drop in _drops if (error := drop.exception())]


def leave(directory: Path) -> None:
    """Leave the embedded server of a directory, if this process is its client, and wait until it has stopped."""
    if embedded.leave(directory):
        wait_until(lambda: not (directory / "data" / "postmaster.pid").exists(), "the server stops")


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = SERVER_STOPS_WITHIN_S) -> None:
    """Wait for ``condition``; fail the test when it takes longer than ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s} s in vain until {what}"
        time.sleep(0.02)


def _execute(dsn: str, *statements: str | sql.Composed) -> None:
    conn = psycopg2.connect(dsn)
    try:
        conn.autocommit = True
        with conn.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        conn.close()


def execute_on(server: EmbeddedServer, *statements: str | sql.Composed) -> None:
    """Run statements as the server's superuser, each in its own transaction or, as CREATE DATABASE, in none."""
    _execute(server.dsn("postgres"), *statements)


def _create(server: EmbeddedServer, name: str, template: str = "template1") -> str:
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    execute_on(server, create.format(sql.Identifier(name), sql.Identifier(template)))
    return database_url_of(server, name)


def database_url_of(server: EmbeddedServer, name: str) -> str:
    """The URL of a database of the test server, as a person would give it to --database-url."""
    return f"postgresql://postgres@/{name}?host={server.socket}"


@contextmanager
def new_database(server: EmbeddedServer, template: str = "template1") -> Iterator[str]:
    """The URL of a database that is dropped when the block has ended.

    Nobody waits for that: it takes a checkpoint, and there are some 1,700 of them.
    """
    name = f"test_{next(_numbers)}"
    url = _create(server, name, template)
    try:
        yield url
    finally:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        _drops.append(_dropping.submit(execute_on, server, drop))


@pytest.fixture(scope="session")
def schema_template(server: EmbeddedServer) -> str:
    """The name of a database with our schema for vectors of 384 numbers, made once."""
    conn = connect(find_database(_create(server, "schema_template")))
    try:
        apply_schema(conn, plan_schema(conn, (APPLICATIONS, REVIEWS), TEMPLATE_DIMENSION))
        conn.commit()
    finally:
        conn.close()
    return "schema_template"


@pytest.fixture(scope="session")
def predecessor_template(server: EmbeddedServer) -> str:
    """The name of a database as the predecessor's scripts leave it, made once."""
    _create(server, "predecessor_template")
    _execute(server.dsn("predecessor_template"), PREDECESSOR_SQL.read_text())
    return "predecessor_template"


@pytest.fixture
def database_url(server: EmbeddedServer, schema_template: str) -> Iterator[str]:
    """A database of the test's own, with our schema for vectors of 384 numbers and no rows."""
    with new_database(server, schema_template) as url:
        yield url


@pytest.fixture
def empty_database_url(server: EmbeddedServer) -> Iterator[str]:
    """A database of the test's own with nothing in it."""
    with new_database(server) as url:
        yield url


@pytest.fixture
def predecessor_database_url(server: EmbeddedServer, predecessor_template: str) -> Iterator[str]:
    """A database of the test's own as the predecessor's scripts leave it: 10 applications and 20 reviews."""
    with new_database(server, predecessor_template) as url:
        yield url


@pytest.fixture
def conn(database_url: str) -> Iterator[connection]:
    """A connection to ``database_url``."""
    opened = connect(find_database(database_url))
    yield opened
    opened.close()

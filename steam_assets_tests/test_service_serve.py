"""`steam-assets serve` as a process: a busy port is named at once, and however it ends nothing is left."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.encoder.models import Model
from steam_assets.ports import PortBusy, url_of
from steam_assets.service.door import host_of
from steam_assets.service.serve import hosts_of, listening, request_log
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import execute, fetch
from steam_assets_tests.search_server import embed_by_hash
from steam_assets_tests.servers import answers

STEAM_ASSETS = Path(sys.executable).parent / "steam-assets"
LIMIT_S = 120
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@contextmanager
def running_serve() -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`steam-assets serve` on a free port once it is ready, and where it answers; killed at the end."""
    command = [str(STEAM_ASSETS), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("Search is at http://127.0.0.1:"), said + process.stdout.read()
            yield process, said.split()[3]
        finally:
            process.kill()


@pytest.mark.slow
def test_a_search_is_answered_by_a_running_serve_until_ctrl_c(
    tables: connection, minilm: Model, steam_assets: Callable[..., Ended], home: Path
) -> None:
    """With the model that it has loaded: the command only asks. The exit is 130, and the port is free."""
    embed_by_hash(tables, minilm)
    with running_serve() as (process, url):
        found = steam_assets("search", "--url", url, "railways", "--in", "applications", "--k", "2", "--json")
        assert found.code == 0, found
        (result,) = json.loads(found.out)
        assert result["column"] == "applications.description_embedding"
        assert len(result["hits"]) == 2

        refused = one_line(steam_assets("search", "--url", url, "a", "--in", "applications", "--where", "x = 1"), 2)
        assert refused.startswith(f"Error: {url} says: ")

        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130
        assert process.stdout is not None
        assert process.stdout.read().strip() == "Interrupted."
        port = int(url.rpartition(":")[2])
        assert not answers(port)
        log = (home / "logs" / f"serve-{port}.log").read_text()
    assert "GET /api/search 200" in log
    assert "railways" not in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_sigterm_ends_a_serve_in_the_middle_of_a_search(
    tables: connection, minilm: Model, other_conn: connection
) -> None:
    """What an init system sends: the search that hangs is given up, and the exit is 143."""
    embed_by_hash(tables, minilm)
    with running_serve() as (process, url):
        host, _, port = url.removeprefix("http://").rpartition(":")
        with other_conn.cursor() as cursor, closing(socket.create_connection((host, int(port)))) as client:
            cursor.execute("BEGIN; LOCK TABLE reviews IN ACCESS EXCLUSIVE MODE")
            client.sendall(b"GET /api/search?q=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: fetch(tables, BLOCKED) == [(1,)], "the search waits for the table")
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 143
            cursor.execute("ROLLBACK")


def test_a_busy_port_is_named_before_a_model_is_loaded(steam_assets: Callable[..., Ended], tables: connection) -> None:
    """Exit 2, the port, and the option that chooses another."""
    with listening("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        told = one_line(steam_assets("serve", "--port", str(port)), 2)
    assert f"Port {port} on 127.0.0.1 cannot be used" in told
    assert f"--port {port + 1}" in told


def test_a_host_that_is_not_here_is_named(steam_assets: Callable[..., Ended], tables: connection) -> None:
    """Exit 2, without a traceback."""
    told = one_line(steam_assets("serve", "--host", "203.0.113.1", "--port", "0"), 2)
    assert "on 203.0.113.1 cannot be used" in told
    assert told.endswith("Name an address of this machine with --host.")


def test_a_database_without_a_model_is_told_what_to_run(
    steam_assets: Callable[..., Ended], tables: connection, named_database: str, home: Path
) -> None:
    """There is nothing to serve: exit 2. The log says which database that was, and who named it."""
    execute(tables, "UPDATE embedding_columns SET serving_run_id = NULL")
    ended = steam_assets("serve", "--port", "0", "--database-url", named_database)
    assert "Run `steam-assets init`" in one_line(ended, 2)
    (log,) = (home / "logs").glob("serve-*.log")
    assert log.read_text().splitlines()[0].endswith(", from --database-url")


def test_no_packet_of_an_answer_waits_for_another() -> None:
    """Connections have TCP_NODELAY from the socket that they come through."""
    with (
        listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()[:2]),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_whose_last_connection_has_just_ended_is_free() -> None:
    """Stopping and starting again at once works; two at the same time do not."""
    with listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortBusy):
            listening("127.0.0.1", port).__enter__()
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = first.accept()
            accepted.close()
    with listening("127.0.0.1", port):
        pass


def test_the_log_is_the_requests_and_no_longer_than_it_is_for() -> None:
    """It is closed with the service; what is said later does not go there."""
    import logging

    logger, server = logging.getLogger("steam_assets.service"), logging.getLogger("uvicorn")
    server.setLevel(logging.WARNING)
    with request_log(8000) as path:
        assert server.level == logging.INFO
        logger.info("within")
    logger.info("after")
    assert server.level == logging.WARNING
    said = path.read_text()
    assert "within" in said
    assert "after" not in said


@pytest.mark.parametrize(
    ("host", "checked", "url"),
    [
        ("127.0.0.1", True, "http://127.0.0.1:8000"),
        ("127.1.2.3", True, "http://127.1.2.3:8000"),
        ("::1", True, "http://[::1]:8000"),
        ("localhost", True, "http://localhost:8000"),
        ("0.0.0.0", False, "http://0.0.0.0:8000"),  # noqa: S104
        ("192.168.1.7", False, "http://192.168.1.7:8000"),
    ],
)
def test_names_are_checked_where_only_this_machine_reaches_the_service(host: str, checked: bool, url: str) -> None:
    """The one in the address that people are told is among them."""
    assert url_of(host, 8000) == url
    hosts = hosts_of(host)
    assert (hosts is not None) == checked
    assert hosts is None or {host_of(url.removeprefix("http://")), "localhost"} <= hosts

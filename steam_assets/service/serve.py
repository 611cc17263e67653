"""The service as a process: its port, its log, and its end. The verb is in cli_serve.py."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from steam_assets.encoder.address import is_loopback
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.logs import LARGEST_BYTES, ROTATED_KEPT, formatter
from steam_assets.ports import port_busy, url_of
from steam_assets.settings import make_home
from steam_assets.store.database import DatabaseAddress

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

BACKLOG = 128
MOST_REQUEST_LINE_BYTES = 200_000
"""More than door.py lets pass, so that it is door.py that says so."""
LAST_ANSWERS_S = 1
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

logger = logging.getLogger("steam_assets")


def serve(
    address: DatabaseAddress, load: Callable[[Model], Encoder], host: str, port: int, say: Callable[[str], None]
) -> None:
    """Answer searches until Ctrl-C or SIGTERM, which is raised again as whoever was there before takes it."""
    # First: a port in use is told before a model is loaded.
    with listening(host, port) as listener:
        port = listener.getsockname()[1]
        with request_log(port) as log:
            logger.info("Database: %s, from %s", address.description, address.source)
            from steam_assets.service.app import create_app
            from steam_assets.service.search_service import SearchService

            service = SearchService(address, load)
            models = service.warm_up()
            say(f"Search is at {url_of(host, port)} with {', '.join(models)} - Ctrl-C stops it. Its log is {log}.")
            server_of(create_app(service, hosts_of(host))).run([listener])


def server_of(app: "FastAPI") -> "uvicorn.Server":
    """A server of the application that listens nowhere yet."""
    import uvicorn

    config = uvicorn.Config(
        app,
        loop="asyncio",  # uvloop takes away the note of which signal it was (exits.py)
        http="h11",  # httptools keeps a request line of any length
        ws="none",
        h11_max_incomplete_event_size=MOST_REQUEST_LINE_BYTES,
        timeout_graceful_shutdown=LAST_ANSWERS_S,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    return uvicorn.Server(config)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there; raises PortBusy where that is not possible. Port 0 is any free one."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise port_busy(error, host, port, "serve") from None
    with listener:
        # asyncio sees no TCP in a socket that was made without naming it: head and body of an answer are two packets,
        # and the second waited 40 ms for the first to be acknowledged.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


@contextmanager
def request_log(port: int) -> Iterator[Path]:
    """The log of the service on this port: what the package and the server say until the block ends."""
    path = make_home("logs") / f"serve-{port}.log"
    handler = RotatingFileHandler(path, maxBytes=LARGEST_BYTES, backupCount=ROTATED_KEPT, encoding="utf-8")
    handler.setFormatter(formatter())
    levels = {each: each.level for each in (logger, logging.getLogger("uvicorn"))}
    for each in levels:
        each.addHandler(handler)
        each.setLevel(logging.INFO)
    try:
        yield path
    finally:
        for each, level in levels.items():
            each.removeHandler(handler)
            each.setLevel(level)
        handler.close()


def hosts_of(host: str) -> frozenset[str] | None:
    """The names by which a service on this address is asked where only this machine can reach it; else None, any."""
    return LOOPBACK | {f"[{host}]" if ":" in host else host} if is_loopback(host) else None

"""A webhook on this machine that keeps what it is sent, and misbehaves when it is told to."""

import json
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a request is answered with."""

    status: int = 200
    body: bytes = b"ok"
    headers: tuple[tuple[str, str], ...] = ()


class WebhookServer:
    """Listens on a free port of 127.0.0.1 while entered; ``answers`` come first, then 200 for ever."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self._http = Listener(self)

    @property
    def url(self) -> str:
        """An address whose path and query are secret, as those of Slack and its like are."""
        return f"http://127.0.0.1:{self._http.server_port}/services/T0SECRET/B0SECRET?key=qSECRET"

    def __enter__(self) -> "WebhookServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


class Listener(ThreadingHTTPServer):
    """Waits for no request when it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: WebhookServer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.owner = owner


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Listener

    def do_POST(self) -> None:
        """Keep the message; answer as told."""
        owner = self.server.owner
        owner.paths.append(self.path)
        owner.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = owner.answers.popleft() if owner.answers else Answer()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Nothing on stderr."""

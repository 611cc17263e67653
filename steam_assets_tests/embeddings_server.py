"""An OpenAI-compatible embeddings server on this machine, with a real model, that misbehaves when it is told to."""

import base64
import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Answer = dict[str, Any]
Misdeed = Callable[["Handler"], None]


@dataclass(frozen=True)
class Request:
    """What was asked for, when, with which headers, and from which port."""

    path: str
    port: int
    at: float
    headers: Mapping[str, str]
    texts: Sequence[str]
    body: Mapping[str, Any]


class EmbeddingsServer:
    """Serves ``embed`` on a free port of 127.0.0.1 while entered; the attributes say how well."""

    def __init__(self, embed: Embed, count: Callable[[str], int], name: str, port: int = 0) -> None:
        self.embed = embed
        self.count = count
        self.name = name
        self.lists_models = True
        self.knows_base64 = True
        self.shuffles = False
        self.most_texts: int | None = None
        self.most_tokens: int | None = None
        self.key: str | None = None
        self.delay_s = 0.0
        self.misdeeds: deque[Misdeed] = deque()
        self.refuse: Callable[[Sequence[str]], tuple[int, Answer] | None] = lambda _texts: None
        self.edit: Callable[[Answer], object] = lambda answer: answer
        self.requests: list[Request] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._http = Listener(self, port)

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def embeddings_requests(self) -> list[Request]:
        """Those that carried texts."""
        return [request for request in self.requests if request.texts]

    def __enter__(self) -> "EmbeddingsServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        for connection in self._http.connections:
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)


class Listener(ThreadingHTTPServer):
    """Waits for no request when it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, server: EmbeddingsServer, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.owner = server
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, object]:
        """The next connection, which ends when the server does."""
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def do_GET(self) -> None:
        """The list of models, where there is one."""
        server = self.server.owner
        self.note({})
        if self.is_stranger():
            return
        if self.path == "/v1/models" and server.lists_models:
            self.answer(200, {"object": "list", "data": [{"id": server.name, "max_model_len": server.most_tokens}]})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Vectors, or what the test wants instead."""
        server = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.note(body)
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            misdeed = server.misdeeds.popleft() if server.misdeeds else None
        try:
            server.closing.wait(server.delay_s)
            if misdeed is not None:
                misdeed(self)
            elif not self.is_stranger():
                self.answer(*self.embeddings(body))
        finally:
            with server.lock:
                server.at_once -= 1

    def embeddings(self, body: Mapping[str, Any]) -> tuple[int, object]:
        """Status and answer."""
        server = self.server.owner
        texts = body["input"]
        if self.path != "/v1/embeddings":
            return 404, {"detail": "Not Found"}
        if server.most_texts is not None and len(texts) > server.most_texts:
            message = f"batch size {len(texts)} > maximum allowed batch size {server.most_texts}"
            return 413, {"message": message, "code": 413, "type": "Validation"}
        tokens = [server.count(text) for text in texts]
        if server.most_tokens is not None and max(tokens) > server.most_tokens:
            return 400, {"error": {"message": f"max context {server.most_tokens} tokens, got {max(tokens)}"}}
        refusal = server.refuse(texts)
        if refusal is not None:
            return refusal
        if body["encoding_format"] == "base64" and not server.knows_base64:
            return 422, {"detail": [{"msg": "Input should be 'float'", "input": "base64"}]}
        with server.lock:
            vectors = server.embed(texts)
        as_base64 = body["encoding_format"] == "base64"
        data: list[Answer] = [
            {"object": "embedding", "index": index, "embedding": encoded(vector) if as_base64 else vector.tolist()}
            for index, vector in enumerate(vectors)
        ]
        if server.shuffles:
            data = data[1::2] + data[::2]
        usage = {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
        return 200, server.edit({"object": "list", "data": data, "model": server.name, "usage": usage})

    def note(self, body: Mapping[str, Any]) -> None:
        """Remember the request."""
        asked = Request(
            self.path, self.client_address[1], time.monotonic(), dict(self.headers), body.get("input", ()), body
        )
        self.server.owner.requests.append(asked)

    def is_stranger(self) -> bool:
        """Whether the key is missing or wrong; then that is the answer."""
        key = self.server.owner.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        self.answer(401, {"error": {"message": f"no access with {self.headers.get('Authorization')}"}})
        return True

    def answer(self, status: int, content: object, **headers: str) -> None:
        """JSON, or bytes as they are."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Nothing on stderr."""


def encoded(vector: NDArray[np.float32]) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def status(code: int, message: str = "not now", **headers: str) -> Misdeed:
    """Answer once with a status and an error in OpenAI's form."""
    return lambda handler: handler.answer(code, {"error": {"message": message, "type": "server_error"}}, **headers)


def dies_mid_body(handler: Handler) -> None:
    """Promise more than comes, and hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.close_connection = True
    handler.connection.close()


def web_page(handler: Handler) -> None:
    """A page with status 200, as a proxy's login gives it."""
    handler.answer(200, b"<!doctype html><title>Sign in</title>" + b"x" * 5000)

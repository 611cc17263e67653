"""What every request passes: the host it names, headers that keep the page to itself, the log, and errors as JSON."""

import json
import logging
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steam_assets.service.problems import Refusal, refusal_of

LONGEST_QUERY_BYTES = 150_000
"""10,000 characters outside the first plane, percent-encoded, and the rest."""

LONGEST_PATH = 200

# The page loads nothing from elsewhere, and runs no script that is not a file of ours, whatever a text contains.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

logger = logging.getLogger(__name__)


class Door:
    """ASGI middleware around the whole application; ``hosts`` are the names it answers to, None for any."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if (refusal := self._refusal(scope)) is not None:
            await send_refusal(refusal, send_on)
        else:
            # The server leaves out the body of an answer to HEAD by itself.
            asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            try:
                await self._app(asked, receive, send_on)
            except Exception as error:  # noqa: BLE001  (whatever it is: an answer without a traceback, and the log has it)
                refusal = refusal_of(error)
                if not status:
                    await send_refusal(refusal, send_on)
        logger.info("%s %s %d, %.0f ms", scope["method"], shown_path(scope), status, 1000 * (time.monotonic() - began))

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Why a request is not even looked at."""
        headers = Headers(scope=scope)
        host = host_of(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            # A name of somebody else's that leads here: that is how a foreign page would read answers (DNS rebinding).
            return Refusal(
                400, f"The host {host[:100]!r} is not served here; expected {' or '.join(sorted(self._hosts))}."
            )
        if scope["path"].startswith("/api/") and headers.get("sec-fetch-site") == "cross-site":
            return Refusal(403, "Pages of other sites may not search here.")
        if len(scope["query_string"]) > LONGEST_QUERY_BYTES:
            return Refusal(414, f"The question is too long; expected at most {LONGEST_QUERY_BYTES:,} bytes.")
        return None


def shown_path(scope: Scope) -> str:
    """The path alone, as what people search for is theirs; as it came, so that it cannot write lines of its own."""
    path: bytes = scope["raw_path"]
    return path[:LONGEST_PATH].decode("ascii", "backslashreplace")


def host_of(header: str) -> str:
    """The host without its port: 'LocalHost:8000' -> 'localhost', '[::1]:8000' -> '[::1]'."""
    host, _, port = header.rpartition(":")
    return (host if host and port.isdigit() else header).lower()


async def send_refusal(refusal: Refusal, send: Send) -> None:
    """The answer of a refusal."""
    body = json.dumps({"error": refusal.message}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})

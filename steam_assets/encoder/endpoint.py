"""An OpenAI-compatible server over HTTP: tries, pauses, timeouts. Addresses are address.py, answers are answers.py."""

import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from steam_assets.encoder.address import KEY, EndpointUnavailable, connection_pool, goes_unencrypted, read_address
from steam_assets.encoder.answers import error_message, shortened
from steam_assets.errors import SteamAssetsError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 120.0
"""16,384 tokens of bge-m3 are 1e13 operations, a minute on a CPU of 170 GFLOP/s; and other requests wait too."""
TRIES = 7
"""With the pauses below about a minute: as long as a server takes to restart with its model."""
HEAVY_TRIES = 2
"""Where a smaller request may pass it is cheaper to ask for less than to wait; and two timeouts are four minutes."""
FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 30.0
MOST_RETRY_AFTER_S = 60.0

TRANSIENT = (408, 425, 429, 502, 503, 504, 529)
HEAVY = (424, 500)
"""Perhaps because of the texts: text-embeddings-inference answers 424, Infinity 500 when the model itself fails."""
REFUSED = (400, 413, 422)


class NoAnswer(EndpointUnavailable):
    """An endpoint that gave none in so many tries, the last time for this reason."""

    def __init__(self, place: str, tries: int, reason: str) -> None:
        super().__init__(
            f"{place} gave no answer in {tries} tries: {reason}. Expected a running server. Start it or correct "
            "STEAM_ASSETS_ENDPOINT, then run this again: finished rows are kept."
        )
        self.reason = reason


class Overwhelmed(NoAnswer):
    """An endpoint failed at this request every time; with other texts, or fewer of them, it may not."""


class RequestRefused(SteamAssetsError):
    """The server found something wrong with these texts; the message is its own."""


@dataclass(frozen=True)
class Trouble:
    """Why a try gave nothing, how long the server asks to wait, and whether it may be for what was asked."""

    reason: str
    pause_s: float | None = None
    heavy: bool = False
    timeout: bool = False


@dataclass(frozen=True)
class NotThere:
    """The server answers, but has nothing at this path: 404 or 405."""

    status: int
    reason: str


class Endpoint:
    """A base address such as http://gpu:8080/v1, with a pool of connections; any thread may use it.

    ``place`` is scheme, host and port; a name behind # is ``served_name``, what the server calls the model.
    """

    def __init__(self, address: str, key: str | None = None) -> None:
        self.place, self._base, self.served_name = read_address(address)
        self._secret = key
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if key is not None:
            if not (key.isascii() and key.isprintable()):
                raise EndpointUnavailable(f"{KEY} has characters that no HTTP header can carry. Set it again.")
            headers["Authorization"] = f"Bearer {key}"
            if goes_unencrypted(self._base):
                logger.warning("The key goes to %s without encryption. Use https:// if others may listen.", self.place)
        self._pool = connection_pool(self._base, headers)

    def get(self, path: str, most_bytes: int, tries: int = TRIES) -> bytes | None:
        """What is there, or None where the server has nothing."""
        try:
            answer = self._ask("GET", path, None, most_bytes, tries)
        except RequestRefused:
            return None
        return answer if isinstance(answer, bytes) else None

    def post(
        self, path: str, body: Mapping[str, object], most_bytes: int, tries: int = TRIES, divisible: bool = False
    ) -> bytes:
        """The answer; raises RequestRefused, Overwhelmed, and EndpointUnavailable for what no other text would mend.

        ``divisible`` says that the caller can ask for less, and would rather than wait.
        """
        answer = self._ask("POST", path, json.dumps(body, ensure_ascii=False).encode(), most_bytes, tries, divisible)
        if isinstance(answer, NotThere):
            raise EndpointUnavailable(
                f"{self._base}{path} is not there ({answer.status}: {answer.reason}). Expected the base address of an "
                "OpenAI-compatible server that has the model, which usually ends in /v1. Correct STEAM_ASSETS_ENDPOINT."
            )
        return answer

    def _ask(
        self, method: str, path: str, body: bytes | None, most_bytes: int, tries: int, divisible: bool = False
    ) -> bytes | NotThere:
        attempt = 0
        while True:
            attempt += 1
            found = self._try(method, path, body, most_bytes)
            if not isinstance(found, Trouble):
                return found
            allowed = min(tries, HEAVY_TRIES) if found.timeout or (found.heavy and divisible) else tries
            if attempt >= allowed:
                kind = Overwhelmed if found.heavy else NoAnswer
                raise kind(self.place, attempt, found.reason)
            pause = backoff_s(attempt) if found.pause_s is None else found.pause_s
            logger.warning("%s: %s (try %d of %d). Next in %.1f s.", self.place, found.reason, attempt, allowed, pause)
            time.sleep(pause)

    def _try(self, method: str, path: str, body: bytes | None, most_bytes: int) -> bytes | NotThere | Trouble:
        try:
            response = self._pool.request(
                method,
                self._base + path,
                body=body,
                retries=False,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            )
            with response:
                data = read_at_most(response, most_bytes)
        except HTTPError as error:
            reason = self._plain(connection_reason(error))
            if "CERTIFICATE_VERIFY_FAILED" in reason:  # other faults of TLS pass, when a server restarts
                raise EndpointUnavailable(
                    f"{self.place} shows no certificate that is trusted here ({reason}). Expected one of a known "
                    "authority. Set SSL_CERT_FILE to the certificate of yours."
                ) from None
            return Trouble(reason, heavy=(slow := isinstance(error, ReadTimeoutError)), timeout=slow)
        if data is None:
            raise EndpointUnavailable(f"{self.place} answers with more than {most_bytes:,} bytes; that is no answer.")
        return data if response.status == 200 else self._verdict(response, data)

    def _verdict(self, response: urllib3.BaseHTTPResponse, data: bytes) -> NotThere | Trouble:
        """What a status other than 200 means: another try, nothing there, or an error."""
        status, reason = response.status, self._plain(error_message(data))
        if status in TRANSIENT:
            return Trouble(f"status {status}: {reason}", retry_after_s(response.headers.get("Retry-After")))
        if status in HEAVY:
            return Trouble(f"status {status}: {reason}", heavy=True)
        if status in REFUSED:
            raise RequestRefused(f"status {status}: {reason}")
        if status in (404, 405):
            return NotThere(status, reason)
        if status in (401, 403):
            found = "not the one it expects" if self._secret else "not set"
            raise EndpointUnavailable(f"{self.place} wants another key ({status}); {KEY} is {found}. Set it in .env.")
        if 300 <= status < 400:
            place = self._plain(response.headers.get("Location", "nowhere").partition("?")[0])
            raise EndpointUnavailable(
                f"{self.place} redirects to {place}, which is not followed. Set STEAM_ASSETS_ENDPOINT to that server."
            )
        raise EndpointUnavailable(f"{self.place} answers {status}: {reason}. Expected 200. Look into its log.")

    def _plain(self, text: str) -> str:
        """A text from the server without the key, should it repeat it."""
        return text.replace(self._secret, "***") if self._secret else text


def read_at_most(response: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes | None:
    """The body, or None as soon as it is too long."""
    data = bytearray()
    for piece in response.stream(1 << 16):
        data += piece
        if len(data) > most_bytes:
            return None
    return bytes(data)


def connection_reason(error: HTTPError) -> str:
    """What went wrong, without the pool that urllib3 names first."""
    said = str(error).partition("): ")[2] or " ".join(map(str, error.args))
    return f"{type(error).__name__}: {shortened(said)}"


def retry_after_s(value: str | None) -> float | None:
    """The seconds a server asks to wait, at most a minute; dates are not read."""
    return min(float(value), MOST_RETRY_AFTER_S) if value is not None and value.strip().isdecimal() else None


def backoff_s(attempt: int) -> float:
    """1, 2, 4 s and so on, each more or less by a quarter, so that requests that failed together do not return so."""
    return float(min(FIRST_PAUSE_S * 2 ** (attempt - 1), MOST_PAUSE_S) * random.uniform(0.75, 1.25))  # noqa: S311

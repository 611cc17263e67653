"""Where requests go, with which key, and where they never go."""

import logging
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from steam_assets.encoder import endpoint
from steam_assets.encoder.address import KEY, EndpointUnavailable
from steam_assets.encoder.endpoint import Endpoint
from steam_assets_tests.embeddings_server import EmbeddingsServer, status

SECRET = "sk-very-secret-0123456789"  # noqa: S105  # nobody's key
REQUEST = {"model": "a/model", "input": ["a farm"], "encoding_format": "float"}
MOST_BYTES = 1_000_000


def ask(server: EmbeddingsServer, key: str | None = None) -> bytes:
    """A request for the vector of one text."""
    return Endpoint(server.url, key).post("/embeddings", REQUEST, MOST_BYTES)


@pytest.fixture
def server() -> Iterator[EmbeddingsServer]:
    """A server whose vectors are all zeros: what they are does not matter here."""
    with EmbeddingsServer(lambda texts: np.zeros((len(texts), 8), dtype=np.float32), len, "a/model") as running:
        yield running


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine, and pauses of milliseconds."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.005)


def test_nobody_is_obeyed_who_asks_to_wait_for_an_hour() -> None:
    """Retry-After counts up to a minute, and its dates not at all."""
    assert endpoint.retry_after_s("3600") == endpoint.MOST_RETRY_AFTER_S
    assert endpoint.retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT") is None


def test_a_key_that_no_header_can_carry_is_refused_unseen() -> None:
    """http.client would show it."""
    with pytest.raises(EndpointUnavailable, match=KEY) as raised:
        Endpoint("http://127.0.0.1:1/v1", f"{SECRET}\nX-Other: 1")
    assert SECRET not in str(raised.value)


def test_a_key_over_plain_http_is_warned_about_unless_it_stays_here(caplog: pytest.LogCaptureFixture) -> None:
    """To this machine nobody listens on the way."""
    Endpoint("http://localhost:8080/v1", SECRET)
    Endpoint("https://gpu.example/v1", SECRET)
    assert caplog.text == ""
    Endpoint("http://gpu.example/v1", SECRET)
    assert "without encryption" in caplog.text
    assert SECRET not in caplog.text


def test_a_redirect_is_not_followed(server: EmbeddingsServer) -> None:
    """Texts and key go where they were sent, or nowhere."""
    server.misdeeds.append(status(307, Location="http://elsewhere.example/v1?token=1"))
    with pytest.raises(EndpointUnavailable, match=r"redirects to http://elsewhere.example/v1, which is not followed"):
        ask(server)


def test_a_wrong_path_is_told_with_what_was_tried(server: EmbeddingsServer) -> None:
    """And with what such addresses end in."""
    with pytest.raises(EndpointUnavailable, match=r"127.0.0.1:\d+/embeddings is not there \(404: Not Found\).*/v1"):
        Endpoint(server.url.removesuffix("/v1")).post("/embeddings", REQUEST, MOST_BYTES)


@pytest.mark.parametrize("key", [None, SECRET], ids=["no key", "wrong key"])
def test_a_missing_or_wrong_key_is_told_at_once_without_its_value(
    server: EmbeddingsServer, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The variable is named; the server's own message, which repeats the key here, is not shown."""
    server.key = "another"
    with caplog.at_level(logging.DEBUG), pytest.raises(EndpointUnavailable, match=KEY) as raised:
        ask(server, key)
    assert len(server.requests) == 1
    assert SECRET not in str(raised.value) + caplog.text


def test_a_server_is_left_alone_for_as_long_as_it_asks(server: EmbeddingsServer) -> None:
    """Retry-After is waited for, not our own much shorter pause."""
    server.misdeeds.append(status(429, Retry_After="1"))
    ask(server)
    refused, again = server.requests
    assert 1 <= again.at - refused.at < 2


def test_pauses_grow_and_do_not_keep_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that failed together do not come back together; all tries take about a minute."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 1.0)
    pauses = [endpoint.backoff_s(attempt) for attempt in range(1, endpoint.TRIES)]
    assert 45 <= sum(pauses) <= 80
    assert all(later > earlier for earlier, later in pairwise(pauses))
    assert endpoint.backoff_s(3) != endpoint.backoff_s(3)
    assert endpoint.backoff_s(50) <= 1.25 * endpoint.MOST_PAUSE_S


def test_connections_are_kept(server: EmbeddingsServer) -> None:
    """Ten requests one after the other need one connection."""
    known = Endpoint(server.url)
    for _ in range(10):
        known.post("/embeddings", REQUEST, MOST_BYTES)
    assert len(server.requests) == 10
    assert len({request.port for request in server.requests}) == 1


def test_an_answer_without_end_is_not_read_to_its_end(server: EmbeddingsServer) -> None:
    """What cannot be that many vectors is dropped."""
    server.edit = lambda answer: answer | {"padding": "x" * 3_000_000}
    with pytest.raises(EndpointUnavailable, match=r"more than 1,000,000 bytes"):
        ask(server)


def test_this_machine_is_asked_without_the_proxy(server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is for the outside."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert b"a/model" in ask(server)


def test_the_outside_is_asked_through_the_proxy(server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the proxy's own login, and without it what no_proxy names."""
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1").replace("//", "//me:proxysecret@"))
    assert Endpoint("http://gpu.invalid/v1").get("/models", MOST_BYTES) is None
    assert server.requests[0].path == "http://gpu.invalid/v1/models"
    assert server.requests[0].headers["proxy-authorization"] == "Basic bWU6cHJveHlzZWNyZXQ="
    monkeypatch.setenv("no_proxy", "gpu.invalid")
    with pytest.raises(EndpointUnavailable, match=r"gave no answer in 1 tries: NameResolutionError"):
        Endpoint("http://gpu.invalid/v1").get("/models", MOST_BYTES, tries=1)
    assert len(server.requests) == 1

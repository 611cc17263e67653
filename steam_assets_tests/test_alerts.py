"""Alerts reach a webhook as one message, in its language, or are known not to have; its address stays a secret."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from steam_assets.alerts import TRIES, Alert, AlertNotSent, Event, Webhook, webhook_from_environment
from steam_assets.errors import SteamAssetsError
from steam_assets_tests.webhook_server import Answer, WebhookServer


@pytest.fixture
def receiver() -> Iterator[WebhookServer]:
    """A webhook that listens."""
    with WebhookServer() as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which the test does not wait for."""
    found: list[float] = []
    monkeypatch.setattr("steam_assets.alerts.time.sleep", found.append)
    return found


def red(partition: str | None, event: Event = "check_red", check: str = "coverage", severity: str = "ERROR") -> Alert:
    """A check of a range that is red."""
    return Alert(
        event=event,
        column="reviews.review_embedding",
        description="12 rows are pending <b> & so on",
        run_id="8f7e6d5c-4b3a",
        partition=partition,
        check=check,
        severity=severity,
        page="/assets/reviews/review_embedding?view=checks",
    )


def test_one_alert_is_one_message_with_everything_that_a_program_asks(receiver: WebhookServer) -> None:
    """The generic format names the event, column, range, check, severity, reason, run and page."""
    Webhook(receiver.url, ui_url="http://steam.example:3000").send([red("a:b")])

    assert receiver.paths == ["/services/T0SECRET/B0SECRET?key=qSECRET"]
    assert receiver.bodies == [
        {
            "source": "steam_assets",
            "text": "reviews.review_embedding: coverage is red (ERROR) in a:b: 12 rows are pending <b> & so on",
            "count": 1,
            "alerts": [
                {
                    "event": "check_red",
                    "column": "reviews.review_embedding",
                    "check": "coverage",
                    "severity": "ERROR",
                    "count": 1,
                    "partitions": ["a:b"],
                    "description": "12 rows are pending <b> & so on",
                    "run_id": "8f7e6d5c-4b3a",
                    "url": "http://steam.example:3000/assets/reviews/review_embedding?view=checks",
                }
            ],
            "left_out": 0,
        }
    ]


def test_five_hundred_red_ranges_are_one_line_of_one_message(receiver: WebhookServer) -> None:
    """What differs in its range only is counted, and the first ranges are named; failed runs come first."""
    failed = Alert("run_failed", "reviews.review_embedding", "CUDA is gone", "8f7e6d5c-4b3a", "~:a")
    alerts = [*(red(f"{n:03}:{n + 1:03}") for n in range(500)), *(red(f"{n}:", check="norm") for n in range(3)), failed]
    Webhook(receiver.url).send(alerts)

    (body,) = receiver.bodies
    assert [(found["event"], found["check"], found["count"]) for found in body["alerts"]] == [
        ("run_failed", None, 1),
        ("check_red", "coverage", 500),
        ("check_red", "norm", 3),
    ]
    assert body["count"] == 504
    first, second, third = body["text"].splitlines()
    assert first == "reviews.review_embedding: run 8f7e6d5c failed (~:a): CUDA is gone"
    assert "coverage is red (ERROR) in 500 ranges (000:001, 001:002, 002:003, 003:004, 004:005, ...)" in second
    assert "norm is red (ERROR) in 3 ranges (0:, 1:, 2:)" in third
    assert body["alerts"][0]["url"] is None


def test_what_does_not_fit_is_counted(receiver: WebhookServer) -> None:
    """Thirty kinds of alert, each with an endless reason, are twenty short lines and a number."""
    alerts = [
        Alert("run_failed", f"table{n:02}.vector", "reason\n" * 10_000, "8f7e6d5c-4b3a", check=None) for n in range(30)
    ]
    for format_ in ("json", "slack"):
        Webhook(receiver.url, "slack" if format_ == "slack" else "json").send(alerts)
    generic, slack = receiver.bodies
    assert (len(generic["alerts"]), generic["left_out"], generic["count"]) == (20, 10, 30)
    for text in (generic["text"], slack["text"]):
        assert text.splitlines()[-1] == "And 10 more."
        assert len(text.splitlines()) == 21
        assert len(text) < 10_000


def test_slack_gets_text_with_marks_links_and_its_three_letters_escaped(receiver: WebhookServer) -> None:
    """An ampersand or an angle bracket of a reason cannot become a link or a mention."""
    Webhook(receiver.url, "slack", "http://ui").send([red("a:b"), red("c:d", event="check_green")])

    (body,) = receiver.bodies
    assert list(body) == ["text"]
    bad, good = body["text"].splitlines()
    assert bad.startswith(":red_circle: reviews.review_embedding: coverage is red (ERROR) in a:b: 12 rows are pending")
    assert "&lt;b&gt; &amp; so on <http://ui/assets/reviews/review_embedding?view=checks|Open>" in bad
    assert good.startswith(":large_green_circle: reviews.review_embedding: coverage is green again in c:d")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_receiver_that_is_busy_is_asked_again(receiver: WebhookServer, pauses: list[float], status: int) -> None:
    """After pauses that grow, or those it asks for, but never so long that Dagster ends the tick."""
    receiver.answers += [Answer(status), Answer(status, headers=(("Retry-After", "3600"),))]
    Webhook(receiver.url).send([red("a:b")])

    assert len(receiver.bodies) == 3
    assert receiver.bodies[0] == receiver.bodies[2]
    first, second = pauses
    assert 0 < first < 2
    assert second == 5.0


def test_a_receiver_that_stays_down_is_named_and_the_number_of_tries_is_bounded(
    receiver: WebhookServer, pauses: list[float]
) -> None:
    """One line, with the status and what was said."""
    receiver.answers += [Answer(503, b"<h1>upstream is away</h1>")] * 10
    with pytest.raises(AlertNotSent) as raised:
        Webhook(receiver.url).send([red("a:b")])
    assert str(raised.value) == (
        "http://127.0.0.1 did not take the alert in 3 tries: status 503: <h1>upstream is away</h1>. The next tick "
        "sends it again. If that goes on, look into the receiver, and at STEAM_ASSETS_ALERT_URL."
    )
    assert (len(receiver.bodies), len(pauses)) == (TRIES, TRIES - 1)


@pytest.mark.parametrize("status", [301, 307, 400, 403, 404, 410])
def test_a_receiver_that_refuses_is_not_asked_again(receiver: WebhookServer, status: int) -> None:
    """A wrong address or format is no matter of patience, and a redirect could lead the secret elsewhere."""
    location = (("Location", "http://127.0.0.1:1/T0SECRET"),)
    receiver.answers.append(Answer(status, b'{"error": "no_service"}', location))
    with pytest.raises(AlertNotSent, match=rf"refused the alert: status {status}: no_service\.") as raised:
        Webhook(receiver.url).send([red("a:b")])
    assert len(receiver.bodies) == 1
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("said", ["/services/T0SECRET/B0SECRET?key=qSECRET", "x" * 190 + "qSECRET", "/T0%53ECRET/"])
def test_a_receiver_that_repeats_the_address_is_not_quoted(receiver: WebhookServer, said: str) -> None:
    """Neither all of it nor the part that fits."""
    receiver.answers.append(Answer(404, said.encode()))
    with pytest.raises(AlertNotSent, match=r"status 404: \(it repeats the address\)"):
        Webhook(receiver.url).send([red("a:b")])


def test_a_machine_that_is_not_there_is_an_alert_that_was_not_sent(pauses: list[float]) -> None:
    """Nothing listens, or the name means nothing."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/services/T0SECRET"
        for url, reason in ((nowhere, "Connection refused"), ("http://nowhere.invalid/T0SECRET", "resolve")):
            with pytest.raises(AlertNotSent, match=reason) as raised:
                Webhook(url).send([red("a:b")])
            assert "SECRET" not in str(raised.value)


def test_a_receiver_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    """It takes the connection and is silent."""
    monkeypatch.setattr("steam_assets.alerts.TIMEOUT_S", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/services/T0SECRET"
        with pytest.raises(AlertNotSent, match="3 tries: ReadTimeoutError"):
            Webhook(url).send([red("a:b")])


def test_a_receiver_that_answers_without_end_is_not_read_to_the_end() -> None:
    """Only the beginning of a refusal is read."""
    with closing(socket.create_server(("127.0.0.1", 0))) as endless:

        def serve() -> None:
            accepted, _ = endless.accept()
            with accepted:
                accepted.recv(1 << 16)
                accepted.sendall(
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000000\r\n\r\n" + b"no such hook " * 200
                )
                accepted.recv(1)

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(AlertNotSent, match="status 404: no such hook"):
            Webhook(f"http://127.0.0.1:{endless.getsockname()[1]}/x").send([red("a:b")])
        server.join(10)
        assert not server.is_alive()


def test_a_message_that_was_taken_is_not_sent_again_because_the_answer_hangs(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """The status says that it is there; what should follow is not waited for."""
    monkeypatch.setattr("steam_assets.alerts.TIMEOUT_S", 0.5)
    with closing(socket.create_server(("127.0.0.1", 0))) as hanging:

        def serve() -> None:
            accepted, _ = hanging.accept()
            with accepted:
                accepted.recv(1 << 16)
                accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                accepted.recv(1)

        server = threading.Thread(target=serve)
        server.start()
        Webhook(f"http://127.0.0.1:{hanging.getsockname()[1]}/x").send([red("a:b")])
        server.join(10)
        assert not server.is_alive()
    assert pauses == []


def test_the_address_is_in_no_repr_and_in_no_log(receiver: WebhookServer, caplog: pytest.LogCaptureFixture) -> None:
    """urllib3 would log the path at DEBUG."""
    caplog.set_level(logging.DEBUG)
    webhook = Webhook(receiver.url)
    webhook.send([red("a:b")])
    assert len(receiver.bodies) == 1
    assert "SECRET" not in repr(webhook) + caplog.text + webhook.place


def test_the_environment_names_webhook_format_and_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address there is none; JSON is the default."""
    assert webhook_from_environment() is None
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", "https://hooks.example.org/x\n")  # as a file of secrets has it
    assert webhook_from_environment() == Webhook("https://hooks.example.org/x", "json", None)
    monkeypatch.setenv("STEAM_ASSETS_ALERT_FORMAT", "Slack")
    monkeypatch.setenv("STEAM_ASSETS_UI_URL", "http://steam.example:3000/")
    assert webhook_from_environment() == Webhook("https://hooks.example.org/x", "slack", "http://steam.example:3000")


@pytest.mark.parametrize(
    "url",
    [
        *("T0SECRET", "ftp://host/T0SECRET", "https:///T0SECRET", "http://host:x/T0SECRET", "http://[1/T0SECRET"),
        *("https://user:T0SECRET@host/x", "https://höst/T0SECRET", "https://host/T0SECRET\nX: y"),
    ],
)
def test_an_address_that_cannot_be_is_refused_without_being_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and shows an example."""
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", url)
    with pytest.raises(SteamAssetsError, match=r"STEAM_ASSETS_ALERT_URL holds no address.*https://hooks") as raised:
        webhook_from_environment()
    assert "SECRET" not in str(raised.value)


def test_a_format_that_nobody_speaks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With both that are."""
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", "https://hooks.example.org/x")
    monkeypatch.setenv("STEAM_ASSETS_ALERT_FORMAT", "teams")
    with pytest.raises(SteamAssetsError, match="STEAM_ASSETS_ALERT_FORMAT is 'teams'; expected json or slack"):
        webhook_from_environment()


def test_an_address_that_others_can_read_on_the_way_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """http:// to another machine; only its name is said."""
    monkeypatch.setenv("STEAM_ASSETS_ALERT_URL", "http://hooks.example.org/T0SECRET")
    webhook_from_environment()
    assert caplog.messages == ["Alerts go to hooks.example.org without encryption. Use https:// if others may listen."]

"""What an alert says and how it is sent: many in one message, to one webhook. When to tell is defs/alerts.py."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from steam_assets.encoder.address import connection_pool, goes_unencrypted
from steam_assets.encoder.answers import error_message, shortened
from steam_assets.encoder.endpoint import backoff_s, connection_reason, retry_after_s
from steam_assets.errors import SteamAssetsError
from steam_assets.settings import setting

logger = logging.getLogger(__name__)

URL = "STEAM_ASSETS_ALERT_URL"
FORMAT = "STEAM_ASSETS_ALERT_FORMAT"
UI_URL = "STEAM_ASSETS_UI_URL"

TRIES = 3
TIMEOUT_S = 8.0
MOST_PAUSE_S = 5.0
"""Three tries and two pauses are 34 s: Dagster gives a sensor 60."""
AGAIN = (408, 425, 429, 500, 502, 503, 504, 529)
SHOWN_BYTES = 1000
"""Of what a receiver says when it refuses."""
SECRET_LENGTH = 6
"""Shorter parts of a path guard nothing, and are words of other texts too."""
SHOWN_PARTITIONS = 5
SHOWN_GROUPS = 20
"""At most 20 lines of some 400 characters: Slack cuts a text at 40,000."""

Event = Literal["run_failed", "check_red", "check_green"]
EVENTS: tuple[Event, ...] = ("run_failed", "check_red", "check_green")
"""In the order in which a message tells them."""


class AlertNotSent(SteamAssetsError):
    """The webhook did not take a message; nothing of it counts as told."""


@dataclass(frozen=True)
class Alert:
    """One failed run, or one check of one range or of a whole column that has turned red or green again."""

    event: Event
    column: str
    description: str
    run_id: str
    partition: str | None = None
    check: str | None = None
    severity: str | None = None
    page: str = ""
    """Its page in the web UI, after the address of the UI."""


@dataclass(frozen=True)
class Webhook:
    """An address that takes messages, which is a secret but for ``place``; ``ui_url`` is where links lead."""

    url: str = field(repr=False)
    format: Literal["json", "slack"] = "json"
    ui_url: str | None = None

    @property
    def place(self) -> str:
        """Scheme and host, all that may be shown."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}"

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send everything as one message; raises AlertNotSent, after a few tries where that may help."""
        found = groups(alerts, self.ui_url)
        body = json_body(found) if self.format == "json" else {"text": slack_text(found)}
        # At DEBUG it would log the path, which is the secret of most webhooks.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
        pool = connection_pool(self.url, {"Content-Type": "application/json"})
        try:
            self._deliver(pool, json.dumps(body, ensure_ascii=False).encode())
        finally:
            pool.clear()

    def _deliver(self, pool: urllib3.PoolManager, body: bytes) -> None:
        reason = ""
        for attempt in range(1, TRIES + 1):
            try:
                status, said, pause = self._post(pool, body)
            except HTTPError as error:
                reason, pause = self._harmless(connection_reason(error)), None
            else:
                if 200 <= status < 300:
                    return
                reason = f"status {status}: {said}"
                if status not in AGAIN:
                    raise self._not_sent(f"refused the alert: {reason}")
            if attempt < TRIES:
                time.sleep(min(backoff_s(attempt) if pause is None else pause, MOST_PAUSE_S))
        raise self._not_sent(f"did not take the alert in {TRIES} tries: {reason}")

    def _post(self, pool: urllib3.PoolManager, body: bytes) -> tuple[int, str, float | None]:
        """Status, what was said, and the seconds to wait if the receiver asks for that."""
        response = pool.request(
            "POST",
            self.url,
            body=body,
            retries=False,
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(total=TIMEOUT_S),
        )
        with response:
            # What follows a 200 is not waited for: the message is there, and must not be sent twice.
            said = b"" if 200 <= response.status < 300 else response.read(SHOWN_BYTES)
        harmless = self._harmless(said.decode(errors="replace")).encode()
        return response.status, error_message(harmless), retry_after_s(response.headers.get("Retry-After"))

    def _harmless(self, said: str) -> str:
        """What was said, unless it repeats a part of the address that is secret."""
        parts = urlsplit(self.url)
        secrets = [part for part in re.split(r"[/?&=]", f"{parts.path}?{parts.query}") if len(part) >= SECRET_LENGTH]
        return "(it repeats the address)" if any(part in unquote(said) for part in secrets) else said

    def _not_sent(self, what: str) -> AlertNotSent:
        return AlertNotSent(
            f"{self.place} {what}. The next tick sends it again. If that goes on, look into the receiver, and at {URL}."
        )


def webhook_from_environment() -> Webhook | None:
    """The webhook that the environment names, None without one; raises SteamAssetsError for one that cannot be."""
    url = (setting(URL) or "").strip()
    if not url:
        return None
    chosen = (setting(FORMAT) or "json").lower()
    if chosen not in ("json", "slack"):
        raise SteamAssetsError(f"{FORMAT} is {chosen!r}; expected json or slack.")
    if not _is_address(url):
        # Its value is not repeated: whoever has it can write into the channel.
        raise SteamAssetsError(
            f"{URL} holds no address that alerts can be sent to; expected one like https://hooks.example.org/path, "
            "without user and password. Set it again."
        )
    if goes_unencrypted(url):
        logger.warning("Alerts go to %s without encryption. Use https:// if others may listen.", urlsplit(url).hostname)
    return Webhook(url, "slack" if chosen == "slack" else "json", (setting(UI_URL) or "").rstrip("/") or None)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and parts.username is None and re.fullmatch("[!-~]+", url) is not None


@dataclass(frozen=True)
class Group:
    """Alerts that differ in their range only: how many, the first of them, and the first ranges."""

    first: Alert
    count: int
    partitions: tuple[str, ...]
    url: str | None


def groups(alerts: Iterable[Alert], ui_url: str | None) -> list[Group]:
    """Alerts of one kind, column, check and severity together: failed runs first, then red checks, then green ones."""
    found: dict[tuple[int, str, str, str], list[Alert]] = {}
    for alert in alerts:
        key = (EVENTS.index(alert.event), alert.column, alert.check or "", alert.severity or "")
        found.setdefault(key, []).append(alert)
    return [
        Group(
            first=same[0],
            count=len(same),
            partitions=tuple(alert.partition for alert in same if alert.partition is not None)[:SHOWN_PARTITIONS],
            url=f"{ui_url}{quote(same[0].page, safe='/?=&')}" if ui_url else None,
        )
        for _, same in sorted(found.items())
    ]


def json_body(found: Sequence[Group]) -> Mapping[str, object]:
    """For a program: the text, how many alerts there are, and the groups with the first alert of each."""
    return {
        "source": "steam_assets",
        "text": text(found, line),
        "count": sum(group.count for group in found),
        "alerts": [
            {
                "event": group.first.event,
                "column": group.first.column,
                "check": group.first.check,
                "severity": group.first.severity,
                "count": group.count,
                "partitions": group.partitions,
                "description": shortened(group.first.description),
                "run_id": group.first.run_id,
                "url": group.url,
            }
            for group in found[:SHOWN_GROUPS]
        ],
        "left_out": len(found[SHOWN_GROUPS:]),
    }


def slack_text(found: Sequence[Group]) -> str:
    """For people, as Slack and what speaks its language show it."""
    return text(found, slack_line)


def text(found: Sequence[Group], line_of: Callable[[Group], str]) -> str:
    """A line for each group, and how many there are beyond those shown."""
    lines = [line_of(group) for group in found[:SHOWN_GROUPS]]
    return "\n".join([*lines, f"And {len(found) - SHOWN_GROUPS} more."] if len(found) > SHOWN_GROUPS else lines)


def line(group: Group) -> str:
    """reviews.review_embedding: coverage is red (ERROR) in 500 ranges (a, b, ...): 12 rows are pending"""
    first = group.first
    shown = ", ".join(group.partitions) + (", ..." if len(group.partitions) < group.count else "")
    where = f" in {group.count} ranges ({shown})" if group.count > 1 else f" in {shown}" if group.partitions else ""
    if first.event == "run_failed":
        runs = f"{group.count} runs failed" if group.count > 1 else f"run {first.run_id[:8]} failed"
        what = f"{runs} ({shown})" if group.partitions else runs
    elif first.event == "check_red":
        what = f"{first.check} is red ({first.severity}){where}"
    else:
        what = f"{first.check} is green again{where}"
    said = shortened(first.description)
    return f"{first.column}: {what}" + (f": {said}" if said else "")


def slack_line(group: Group) -> str:
    """The line with Slack's three special letters escaped, behind a mark, and a link."""
    mark = ":large_green_circle:" if group.first.event == "check_green" else ":red_circle:"
    escaped = line(group).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{mark} {escaped}" + (f" <{group.url}|Open>" if group.url else "")

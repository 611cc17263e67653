"""A search that a running `steam-assets serve` answers: no model is loaded here, and no database asked."""

import json
import re
from collections.abc import Mapping
from typing import Any

from steam_assets.errors import SteamAssetsError
from steam_assets.search import Group, Hit, SearchResult

TIMEOUT_S = 60.0


class NoAnswer(SteamAssetsError):
    """The service is not there, or does not answer the question."""


def search_at(url: str, question: Mapping[str, object]) -> list[SearchResult]:
    """What the service at ``url`` answers to parameters of /api/search; None and False are left out.

    Raises NoAnswer with what it says instead.
    """
    import urllib3

    fields = {
        name: "true" if value is True else str(value)
        for name, value in question.items()
        if value is not None and value is not False
    }
    place = f"{url.rstrip('/')}/api/search"
    if "@" in url:
        raise NoAnswer(
            "The address of the service has an @; expected no user and no password in it, one such as "
            "http://127.0.0.1:8000."
        )
    if not re.match("https?://[^/]", url):
        raise NoAnswer(f"{url!r} is no address of a `steam-assets serve`; expected one such as http://127.0.0.1:8000.")
    try:
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT_S) as pool:
            response = pool.request("GET", place, fields=fields)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise NoAnswer(
            f"No `steam-assets serve` answers at {url}: {' '.join(str(error).split())}. Start it, or search without "
            "it by leaving out --url and unsetting STEAM_ASSETS_SERVE_URL."
        ) from None
    try:
        answer: dict[str, Any] = json.loads(response.data)
        if response.status != 200:
            raise NoAnswer(f"{url} says: {answer['error']}")
        return [result_of(found) for found in answer["results"]]
    except (ValueError, KeyError, TypeError):
        raise NoAnswer(
            f"What answers at {url} (status {response.status}) is no `steam-assets serve` of this version. "
            "Check --url or STEAM_ASSETS_SERVE_URL."
        ) from None


def result_of(found: dict[str, Any]) -> SearchResult:
    """A result out of JSON."""
    hits = [
        Hit(**{**hit, "group": None if hit.get("group") is None else Group(**hit["group"])}) for hit in found["hits"]
    ]
    return SearchResult(**{**found, "hits": hits})

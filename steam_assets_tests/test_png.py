"""A picture among metadata is Markdown with the picture in it."""

from base64 import b64decode

import pytest

from steam_assets.defs.png import MAX_BYTES, markdown_png
from steam_assets.errors import SteamAssetsError


def test_the_picture_is_in_the_markdown() -> None:
    """The web UI shows it without asking anybody for it."""
    shown = markdown_png(b"\x89PNG rest", "recall over ef_search").value
    assert shown is not None
    head, _, data = shown.partition("base64,")
    assert head == "![recall over ef_search](data:image/png;"
    assert b64decode(data.removesuffix(")")) == b"\x89PNG rest"


def test_a_picture_too_large_for_an_event_is_refused() -> None:
    """It would be read again with every page that lists the event."""
    with pytest.raises(SteamAssetsError, match="300,001 bytes; expected at most 300,000"):
        markdown_png(bytes(MAX_BYTES + 1), "a map")

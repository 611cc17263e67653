"""Pictures as metadata: the web UI shows Markdown, and Markdown holds a picture."""

from base64 import b64encode

import dagster as dg

from steam_assets.errors import SteamAssetsError

MAX_BYTES = 300_000
"""An event is a row of Dagster's database, read whole by every page that lists it."""


def markdown_png(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A PNG file as metadata that the web UI shows; ``alt`` says in words what it shows. Raises above MAX_BYTES."""
    if len(png) > MAX_BYTES:
        raise SteamAssetsError(
            f"The picture of {alt} has {len(png):,} bytes; expected at most {MAX_BYTES:,}. Draw it smaller."
        )
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{b64encode(png).decode()})")

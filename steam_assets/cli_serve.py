"""`steam-assets serve`: search over HTTP, and its page. The other verbs are in cli.py."""

# Heavy imports are inside the verb, so that --help answers at once.
from typing import Unpack

import click

from steam_assets.options import DeviceOptions, database, database_option, device_options, encoder_settings
from steam_assets.settings import setting


@click.command()
@database_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Of the service; 0 is any free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Whom it listens to; it has no login.")
@device_options
def serve(port: int, host: str, **device: Unpack[DeviceOptions]) -> None:
    """Answer searches over HTTP, with a page for people, until Ctrl-C.

    The model is loaded once, so `steam-assets search --url http://127.0.0.1:8000 TEXT` answers at once. On a CPU it
    runs through OpenVINO where that is installed, unless --backend says otherwise.
    """
    from steam_assets.service.query_loader import query_loader
    from steam_assets.service.serve import serve as serve_searches

    has_backend = device["backend"] is not None or setting("STEAM_ASSETS_BACKEND") is not None
    serve_searches(database(), query_loader(encoder_settings(device), has_backend), host, port, click.echo)

"""`steam-assets metrics`: a Prometheus endpoint. The other verbs are in cli.py."""

import threading
from contextlib import AbstractContextManager, nullcontext

import click

from steam_assets.columns import COLUMNS
from steam_assets.options import connect, database_option


@click.command()
@database_option
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Of the endpoint.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Whom it listens to; it has no login.")
def metrics(port: int, host: str) -> None:
    """Answer Prometheus with rows, tokens, failures, seconds per stage and GPU figures, until Ctrl-C."""
    from steam_assets.metrics import metrics_server

    with metrics_server(connect, COLUMNS, host, port) as url:
        click.echo(f"Metrics are at {url} - Ctrl-C stops it.")
        threading.Event().wait()


def metrics_beside(host: str, port: int | None) -> AbstractContextManager[str | None]:
    """The endpoint for `up`, which begins when it is entered; nothing without a port."""
    if port is None:
        return nullcontext()
    from steam_assets.metrics import metrics_server

    return metrics_server(connect, COLUMNS, host, port, "--metrics-port")

"""What several verbs take: options, and the objects made from them. The verbs are in cli.py."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypedDict, TypeVar

import click

from steam_assets.columns import COLUMNS, TextColumn, find_column
from steam_assets.errors import SteamAssetsError

if TYPE_CHECKING:
    from psycopg2.extensions import connection

    from steam_assets.defs.resources import GpuResource
    from steam_assets.encoder.encoder import Encoder
    from steam_assets.encoder.loading import EncoderSettings
    from steam_assets.encoder.models import Model
    from steam_assets.store.database import DatabaseAddress

Verb = TypeVar("Verb", bound=Callable[..., object])

BATCH_SIZE_HELP = "The predecessor's rows per batch; batches are measured in tokens here: N means N x 512 tokens."
TOKENS_PER_ROW = 512
DATABASE_URL = "steam_assets.database_url"


class DeviceOptions(TypedDict):
    """The values of ``device_options``; None where nothing was said."""

    device: str | None
    dtype: str | None
    batch_tokens: int | None
    batch_size: int | None
    backend: str | None
    compiled: bool | None
    endpoint: str | None


def database_option(verb: Verb) -> Verb:
    """--database-url, told to every process started from here."""

    def name_it(context: click.Context, parameter: click.Parameter, url: str | None) -> None:
        if url:
            os.environ["STEAM_ASSETS_DATABASE_URL"] = url
            context.meta[DATABASE_URL] = url

    return click.option(
        "--database-url",
        metavar="URL",
        expose_value=False,
        is_eager=True,
        callback=name_it,
        help="The database; else what the environment names, else the embedded one.",
    )(verb)


def device_options(verb: Verb) -> Verb:
    """Where and how the model runs."""
    for option in (
        click.option("--endpoint", metavar="URL", help="An OpenAI-compatible server with the model, up to /v1."),
        click.option("--compile/--no-compile", "compiled", default=None, help="torch.compile the model (minutes)."),
        click.option("--backend", metavar="NAME", help="torch or openvino."),
        click.option("--batch_size", type=click.IntRange(1), metavar="N", help=BATCH_SIZE_HELP),
        click.option("--batch-tokens", type=click.IntRange(1), metavar="N", help="Tokens of a batch at first."),
        click.option("--dtype", metavar="NAME", help="auto, fp32, bf16 or fp16."),
        click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N."),
    ):
        verb = option(verb)
    return verb


def upkeep_options(verb: Verb) -> Verb:
    """What a run may do to the table besides filling it; where nothing is said, the environment decides."""
    for option in (
        click.option("--vacuum/--no-vacuum", default=None, help="VACUUM after it where many dead rows are left."),
        click.option(
            "--drop-index/--keep-index",
            default=None,
            help="Drop indexes on the vectors before bulk work; searches scan exactly until they are built again.",
        ),
        click.option(
            "--max-failed",
            "max_failed_percent",
            type=click.FloatRange(0, 100),
            metavar="PERCENT",
            help="Fail where more rows of a range cannot be embedded. [default: 0.1]",
        ),
    ):
        verb = option(verb)
    return verb


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
columns_argument = click.argument("columns", nargs=-1, metavar="[COLUMN]...")
recall_option = click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Of the 10 nearest rows searches are to find; ef_search is chosen for it. [default: 0.99]",
)
port_option = click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Of the web UI."
)


def chosen_columns(names: Sequence[str]) -> Sequence[TextColumn]:
    """The columns of these names, by default all."""
    return [find_column(name, COLUMNS) for name in names] or COLUMNS


def columns_to_read(conn: "connection", names: Sequence[str]) -> Sequence[TextColumn]:
    """The columns of these names, by default those that searches read; raises where there is none."""
    from steam_assets.targets import searched_columns

    if found := [find_column(name, COLUMNS) for name in names] or searched_columns(conn, COLUMNS):
        return found
    raise SteamAssetsError("Searches read no column yet. Run `steam-assets init`, then `steam-assets embed`.")


def database_url() -> str | None:
    """What --database-url said, known to the verb's own thread; all others find it in the environment."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(DATABASE_URL)


def database() -> "DatabaseAddress":
    """The database that is meant, and who named it."""
    from steam_assets.store.database import find_database

    return find_database(database_url())


def connect() -> "connection":
    """A connection to the database that is meant."""
    from steam_assets.store.database import connect as connect_to

    return connect_to(database())


def encoder_settings(options: DeviceOptions) -> "EncoderSettings":
    """How the model runs, by the device options, and by the environment where they say nothing."""
    from steam_assets.encoder.loading import EncoderSettings

    batch_tokens = options["batch_tokens"]
    if options["batch_size"]:
        batch_tokens = options["batch_size"] * TOKENS_PER_ROW
        click.echo(f"--batch_size {options['batch_size']} is taken as --batch-tokens {batch_tokens}.", err=True)
    return EncoderSettings.from_environment(
        device=options["device"],
        dtype=options["dtype"],
        batch_tokens=batch_tokens,
        backend=options["backend"],
        compiled=options["compiled"],
        endpoint=options["endpoint"],
    )


def loader(options: DeviceOptions) -> "Callable[[Model], Encoder]":
    """What loads a model so, once per process; it leases no device."""
    from steam_assets.encoder.loading import load_encoder

    return partial(load_encoder, settings=encoder_settings(options))


def gpu(options: DeviceOptions) -> "GpuResource":
    """The GPU resource of the same, for what leases a device or runs in Dagster, which takes 2 s to import."""
    from steam_assets.defs.resources import GpuResource

    return GpuResource.of(encoder_settings(options))


def keep_to_embedded_database() -> None:
    """Make this process and its children use the embedded database, unless --database-url named one.

    For verbs that write data of their own: an address that stands in the environment for daily work is not meant then.
    """
    from steam_assets.store.database import embedded_database

    if not database_url():
        os.environ["STEAM_ASSETS_DATABASE_URL"] = embedded_database().dsn
        # Empty, not deleted: a `.env` file would set it again.
        os.environ["STEAM_ASSETS_DAGSTER_URL"] = ""

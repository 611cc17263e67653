"""A tortured client that does what `steam-assets embed` does: through Dagster, assets, IO manager and checks."""

import os

from steam_assets.defs.resources import GpuResource
from steam_assets.embed import embed_columns
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import EXIT_INCOMPLETE
from steam_assets.store import ranges
from steam_assets_tests.benchmarks.torture_client import Order

RANGES = 2


def embed(order: Order) -> None:
    """Fill every pending range of the order's columns, and check them; exits with 1 for a failed run or a red check."""
    assert order.dagster_url is not None
    os.environ["STEAM_ASSETS_DATABASE_URL"] = order.dsn
    os.environ["STEAM_ASSETS_DAGSTER_URL"] = order.dagster_url
    ranges.FEWEST_RANGES = RANGES
    troubled = order.encoder()

    class TroubledGpu(GpuResource):
        """Hands out the order's encoder for every model."""

        def encoder(self, model: Model) -> Encoder:
            """The one there is."""
            return troubled

    columns = list(dict.fromkeys(column for column, _, _ in order.ranges))
    outcome = embed_columns(columns, order.connect, TroubledGpu(device="cpu"), order.limit, print)
    if outcome.errors or outcome.red_checks:
        print(f"Errors: {outcome.errors}. Red checks: {outcome.red_checks}.")
        raise SystemExit(EXIT_INCOMPLETE)

"""What runs need from outside: the database and the GPU. Settings only; the objects they hand out hold the logic."""

from collections.abc import Callable

import dagster as dg
from psycopg2.extensions import connection

from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.encoder.transformer import Encoder, load_encoder
from steam_assets.store.database import connect, find_database


class DatabaseResource(dg.ConfigurableResource[connection]):
    """The database found by DESIGN's order of addresses; it has no fields, so no page of the UI can show a password."""

    def connect(self) -> connection:
        """A new connection; whoever asked for it closes it."""
        return connect(find_database())


class GpuResource(dg.ConfigurableResource[Encoder]):
    """The adaptive encoder and the system monitor, on the device these settings name."""

    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    stats_every_s: float = 30.0

    def encoder(self, model: Model) -> Encoder:
        """The encoder of a model, loaded once per process."""
        return load_encoder(model, self.device, self.dtype, self.batch_tokens)

    def monitor(self, encoder: Encoder, log: Callable[[str], None]) -> SystemMonitor:
        """A monitor of the machine and of the device the encoder runs on."""
        return SystemMonitor(encoder.device, log, stats_every_s=self.stats_every_s)

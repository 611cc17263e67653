"""What runs need from outside: the database and the GPU. Settings only; the objects they hand out hold the logic."""

from collections.abc import Callable
from typing import Self

import dagster as dg
from psycopg2.extensions import connection
from pydantic import PrivateAttr

from steam_assets.device_lease import DeviceLease, lease_device
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, load_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.store.database import connect, find_database


class DatabaseResource(dg.ConfigurableResource[connection]):
    """The database found by DESIGN's order of addresses; it has no fields, so no page of the UI can show a password."""

    def connect(self) -> connection:
        """A new connection; whoever asked for it closes it."""
        return connect(find_database())


class GpuResource(dg.ConfigurableResource[Encoder]):
    """The adaptive encoder and the system monitor, on the device these settings name; EncoderSettings explains them."""

    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    backend: str = "torch"
    compiled: bool = False
    endpoint: str | None = None
    stats_every_s: float = 30.0
    _leases: list[DeviceLease] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, settings: EncoderSettings) -> "GpuResource":
        """The resource of an encoder's settings."""
        return cls(
            device=settings.device,
            dtype=settings.dtype,
            batch_tokens=settings.batch_tokens,
            backend=settings.backend,
            compiled=settings.compiled,
            endpoint=settings.endpoint,
        )

    @property
    def settings(self) -> EncoderSettings:
        """The encoder's part of these settings."""
        return EncoderSettings(
            self.device, self.dtype, self.batch_tokens, self.backend, self.compiled, self.endpoint or None
        )

    def lease(self, connect: Callable[[], connection]) -> DeviceLease | None:
        """A device for this process alone until the run ends, waiting until one is free; None with an endpoint."""
        leased = lease_device(connect, self.settings)
        if leased is not None:
            self._leases.append(leased)
        return leased

    def on(self, leased: DeviceLease | None) -> Self:
        """The same on the device that was leased."""
        return self if leased is None else self.model_copy(update={"device": leased.device.torch_name})

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Give the run's device back."""
        while self._leases:
            self._leases.pop().close()

    def encoder(self, model: Model) -> Encoder:
        """The encoder of a model, loaded once per process."""
        return load_encoder(model, self.settings)

    def monitor(self, encoder: Encoder, log: Callable[[str], None]) -> SystemMonitor:
        """A monitor of the machine and of the device the encoder runs on."""
        return SystemMonitor(encoder.backend.device, log, stats_every_s=self.stats_every_s)

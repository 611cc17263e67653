"""The product's code location with an encoder of hashes as slow as SCALING_ROWS_PER_S says, for scaling.py."""

import os

from steam_assets.definitions import build_definitions
from steam_assets.defs.resources import GpuResource
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets_tests.hash_encoder import hash_encoder

RATE = "SCALING_ROWS_PER_S"
PACKS_PER_S = 8


class PacedGpu(GpuResource):
    """Hands out an encoder that waits as a GPU would be waited for, for whatever model is asked for."""

    rows_per_s: float

    def encoder(self, model: Model) -> Encoder:
        """Without loading anything."""
        return hash_encoder(model, self.rows_per_s, max(1, int(self.rows_per_s / PACKS_PER_S)))


defs = build_definitions(gpu=PacedGpu(device="cpu", rows_per_s=float(os.environ.get(RATE, "1"))))

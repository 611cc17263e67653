"""A stream is opened only where the column may be filled: with its model, near enough to fp32, and with the rights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets import gate
from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import build_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.precision import PrecisionRefused
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import EVERYTHING
from steam_assets.stream import open_stream
from steam_assets_tests.models import CPU
from steam_assets_tests.rows import Connect, fetch


def test_vectors_too_far_from_fp32_are_never_written(
    conn: connection,
    connect: Connect,
    minilm: Model,
    reviews: TextColumn,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The gate stands before the first row; what it found is told with the next command."""
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(tmp_path))
    encoder = build_encoder(minilm, replace(CPU, dtype="bf16"))
    start = encoder.backend.start
    monkeypatch.setattr(gate, "CPU_TOKENS", 3000)
    spoil = np.random.default_rng(0).normal(0, 0.05, 384).astype(np.float32)
    monkeypatch.setattr(encoder.backend, "start", lambda pack: lambda: start(pack)() + spoil)
    with pytest.raises(PrecisionRefused, match=r"bf16 .+ is not near enough to fp32.+--dtype fp32"):
        open_stream(reviews, [EVERYTHING], lambda model: encoder, connect)
    assert fetch(conn, "SELECT count(review_embedding) FROM reviews") == [(0,)]


def test_a_column_without_a_model_is_refused_with_the_next_command(connect: Connect, minilm_encoder: Encoder) -> None:
    """Nothing is guessed from the environment."""
    with pytest.raises(SteamAssetsError, match=r"has no model yet\. Run `steam-assets init`"):
        open_stream(REVIEWS, [EVERYTHING], lambda model: minilm_encoder, connect)

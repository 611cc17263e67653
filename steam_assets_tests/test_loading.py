"""One place chooses device, precision and backend, and says no when it cannot be had."""

import logging

import pytest

from steam_assets.encoder.loading import EncoderSettings, build_encoder, load_encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets_tests.models import CPU


def test_an_encoder_is_loaded_once_per_process(minilm: Model) -> None:
    """The model stays in memory from range to range."""
    first = load_encoder(minilm, CPU)
    assert load_encoder(minilm, EncoderSettings(device="cpu")) is first
    assert (first.backend.name, first.backend.device, first.backend.dtype) == ("torch", "cpu", "fp32")
    assert first.backend.device_name
    assert (first.backend.peak_memory_bytes() or 0) > 10**8


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (EncoderSettings(device="gpu"), "expected auto, cpu"),
        (EncoderSettings(device="cuda:x"), "expected auto, cpu"),
        (EncoderSettings(device=""), "expected auto, cpu"),
        (EncoderSettings(device="cpu", dtype="int8"), "expected auto, fp32"),
        (EncoderSettings(backend="onnx"), "expected torch or openvino"),
    ],
)
def test_what_there_is_not_is_refused(minilm: Model, settings: EncoderSettings, expected: str) -> None:
    """The message says what is expected."""
    with pytest.raises(SteamAssetsError, match=expected):
        load_encoder(minilm, settings)


def test_without_cuda_the_cpu_is_used_and_the_reason_is_logged(
    minilm: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who insists on CUDA is told why not."""
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    with caplog.at_level(logging.INFO):
        encoder = build_encoder(minilm)
    assert encoder.backend.device == "cpu"
    assert "Using the CPU: torch" in caplog.text
    with pytest.raises(SteamAssetsError, match=r"cuda was asked for, but torch .* is a CPU build"):
        load_encoder(minilm, EncoderSettings(device="cuda"))

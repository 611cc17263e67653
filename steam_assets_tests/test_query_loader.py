"""With what `serve` encodes queries: what a person chose, else OpenVINO where it can be had, else torch."""

import logging
from dataclasses import replace
from importlib.util import find_spec

import pytest

from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.service import query_loader as module
from steam_assets.service.query_loader import query_loader
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.vectors import cosines

CPU = EncoderSettings(device="cpu", dtype="fp32")


@pytest.fixture
def asked(minilm: Model, monkeypatch: pytest.MonkeyPatch) -> list[EncoderSettings]:
    """The settings with which models were asked for, none of which is loaded; OpenVINO seems to be installed."""
    settings_asked: list[EncoderSettings] = []

    def load(model: Model, settings: EncoderSettings) -> Encoder:
        settings_asked.append(settings)
        return hash_encoder(model)

    monkeypatch.setattr(module, "load_encoder", load)
    monkeypatch.setattr(module, "find_spec", bool)
    return settings_asked


def test_where_nobody_chose_a_backend_openvino_is_taken(asked: list[EncoderSettings], minilm: Model) -> None:
    """With everything else as it was said."""
    query_loader(CPU, has_backend=False)(minilm)
    assert asked == [replace(CPU, backend="openvino")]


@pytest.mark.parametrize(
    ("settings", "has_backend"),
    [
        (CPU, True),
        (replace(CPU, backend="openvino"), True),
        (replace(CPU, compiled=True), False),
        (replace(CPU, endpoint="http://127.0.0.1:1/v1"), False),
    ],
    ids=["torch", "openvino", "compiled", "endpoint"],
)
def test_what_a_person_chose_is_taken(
    asked: list[EncoderSettings], minilm: Model, settings: EncoderSettings, has_backend: bool
) -> None:
    """As it was said."""
    query_loader(settings, has_backend)(minilm)
    assert asked == [settings]


def test_without_openvino_or_on_a_gpu_torch_is_taken(
    asked: list[EncoderSettings], minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of it: that is how it was installed."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "find_device", lambda device: "cuda:0")
        query_loader(EncoderSettings(), has_backend=False)(minilm)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    query_loader(CPU, has_backend=False)(minilm)
    assert asked == [EncoderSettings(), CPU]


def test_a_model_that_openvino_refuses_goes_through_torch(
    asked: list[EncoderSettings], minilm: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says why queries are slower."""

    def refuse(model: Model, settings: EncoderSettings) -> Encoder:
        if settings.backend == "openvino":
            raise SteamAssetsError("OpenVINO cannot convert it.")
        asked.append(settings)
        return hash_encoder(model)

    monkeypatch.setattr(module, "load_encoder", refuse)
    query_loader(CPU, has_backend=False)(minilm)
    assert asked == [CPU]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "Queries are encoded through torch, which is slower on a CPU: OpenVINO cannot convert it."
    ]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed: it is an extra")
def test_the_packaged_model_gives_the_same_vectors_so(minilm: Model, minilm_encoder: Encoder) -> None:
    """What is stored was made by torch."""
    encoder = query_loader(CPU, has_backend=False)(minilm)
    assert encoder.backend.name == "openvino"
    texts = ["cozy farming games with friends", "列車", "x" * 3_000]
    assert cosines(encoder.encode(texts), minilm_encoder.encode(texts)).min() > 0.99999

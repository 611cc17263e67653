"""A model through torch: with and without padding it gives the same vectors, and what it cannot run it names."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steam_assets.encoder import attention, torch_backend
from steam_assets.encoder.attention import PACKED
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.loading import build_encoder
from steam_assets.encoder.models import Model, find_model
from steam_assets.errors import SteamAssetsError
from steam_assets_tests.models import CPU, transformer_of
from steam_assets_tests.vectors import MIXED, cosines

TEXTS = [*MIXED, "<pad> in <pad> the text <pad>", "friends " * 200, "a game " * 90]


def padded_vectors(model: Model, monkeypatch: pytest.MonkeyPatch) -> Vectors:
    """What the same model gives when every text is padded."""
    with monkeypatch.context() as patch:
        patch.setattr(torch_backend, "why_not_packed", lambda *_: "this test")
        encoder = build_encoder(model, CPU)
    assert encoder.backend.packing.padded
    return encoder.encode(TEXTS)


@pytest.mark.parametrize("family", ["minilm", "narrow"])
def test_without_padding_the_vectors_are_the_same_to_a_millionth(
    family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BERT with mean pooling and XLM-RoBERTa with CLS: no number of any vector differs by more than 1e-6."""
    model: Model = request.getfixturevalue(family)
    encoder = build_encoder(model, CPU)
    assert not encoder.backend.packing.padded
    assert transformer_of(encoder).config._attn_implementation == PACKED
    assert np.abs(encoder.encode(TEXTS) - padded_vectors(model, monkeypatch)).max() <= 1e-6
    assert encoder.work.padding_share == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda pack, model_type, padding_id: np.arange(len(pack.ids)),
        lambda pack, model_type, padding_id: np.arange(len(pack.ids)) - np.repeat(pack.starts[:-1], pack.lengths),
    ],
    ids=["not beginning again with each text", "counted from 0"],
)
def test_wrong_positions_are_found_out_when_the_model_is_loaded(
    narrow: Model, wrong: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The trap of other encoders: XLM-RoBERTa's positions are behind its padding. Then padding is what is used."""
    expected = padded_vectors(narrow, monkeypatch)
    monkeypatch.setattr(attention, "positions", wrong)
    with caplog.at_level(logging.INFO):
        encoder = build_encoder(narrow, CPU)
    assert "without padding the probes' vectors have a cosine of 0." in caplog.text
    assert encoder.backend.packing.padded
    assert cosines(encoder.encode(TEXTS), expected).min() >= 0.99999


def test_wrong_positions_would_change_the_vectors(narrow: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above protects something: counted from 0, vectors have cosines far below 1."""
    encoder = build_encoder(narrow, CPU)
    expected = encoder.encode(TEXTS)
    monkeypatch.setattr(
        attention, "positions", lambda pack, *_: np.arange(len(pack.ids)) - np.repeat(pack.starts[:-1], pack.lengths)
    )
    assert cosines(encoder.encode(TEXTS), expected).min() < 0.95


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_compiled_model_gives_the_same_vectors(narrow: Model) -> None:
    """On the CPU it is padded, so that it is compiled once and not for every set of lengths."""
    pytest.importorskip("torch._inductor", reason="this build of torch cannot compile")
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on the CPU: install g++")
    plain, compiled = build_encoder(narrow, CPU), build_encoder(narrow, replace(CPU, compiled=True))
    assert compiled.backend.packing.padded
    assert cosines(compiled.encode(MIXED), plain.encode(MIXED)).min() >= 0.99999


def test_sentence_transformers_other_modules_are_run_too(minilm: Model, tmp_path: Path) -> None:
    """A Dense layer behind the pooling changes the vectors' dimension, with and without padding."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense

    torch.manual_seed(0)
    modules = SentenceTransformer(minilm.location, device="cpu")
    modules.add_module(str(len(modules)), Dense(384, 32))
    modules.save(str(tmp_path / "dense"))
    model = find_model(str(tmp_path / "dense"))
    expected = SentenceTransformer(model.location, device="cpu").encode(MIXED, normalize_embeddings=True)
    encoder = build_encoder(model, CPU)
    assert model.dimension == 32
    assert not encoder.backend.packing.padded
    assert cosines(encoder.encode(MIXED), np.asarray(expected)).min() >= 0.99999


def test_a_tokenizer_without_a_padding_token_is_refused(narrow: Model, tmp_path: Path) -> None:
    """sentence-transformers itself could not run it."""
    damaged = copy_of(narrow, tmp_path)
    config = damaged / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    settings.pop("pad_token")
    config.write_text(json.dumps(settings))
    with pytest.raises(SteamAssetsError, match=r"without a padding token.+Set \"pad_token\""):
        build_encoder(find_model(str(damaged)), CPU)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_files_that_are_no_weights_are_refused(minilm: Model, tmp_path: Path, weights: str) -> None:
    """The message names the model, not where it lies."""
    damaged = copy_of(minilm, tmp_path, leave_out="model.safetensors")
    (damaged / weights).write_bytes(b"no weights")
    with pytest.raises(SteamAssetsError, match=r"damaged cannot be loaded: .+ Save or download it again") as caught:
        build_encoder(find_model(str(damaged)), CPU)
    assert str(tmp_path) not in str(caught.value)


def copy_of(model: Model, directory: Path, leave_out: str = "nothing") -> Path:
    """The model's files, to be damaged."""
    return Path(shutil.copytree(model.location, directory / "damaged", ignore=shutil.ignore_patterns(leave_out)))


def test_loading_says_nothing_about_where_the_model_is(
    minilm: Model, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """One log line with model, device and precision; no paths, progress bars or warnings."""
    with caplog.at_level(logging.INFO):
        build_encoder(minilm, CPU).encode(["quiet"])
    assert "all-MiniLM-L6-v2 (sha256:" in caplog.text
    assert minilm.location not in caplog.text
    assert capfd.readouterr() == ("", "")

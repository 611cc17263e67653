"""The precision gate: nothing is written that fp32 would have put elsewhere, and what has passed is not asked twice."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from steam_assets import gate, gate_sample
from steam_assets.encoder.backend import CannotEmbed, Pack, Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.precision import (
    LEAST_COSINE_MEAN,
    LEAST_COSINE_MIN,
    BucketPrecision,
    PrecisionRefused,
    PrecisionReport,
)
from steam_assets.encoder.torch_backend import TorchBackend
from steam_assets.gate import (
    check_precision,
    compare_with_fp32,
    conditions_of,
    fp32_vectors,
    keep_verdict,
    read_verdict,
    verdict_path,
)
from steam_assets.gate_sample import choose_sample

PASSED = PrecisionReport((BucketPrecision(32, 10, cosine_mean=1.0, cosine_min=1.0, recall_at_10=1.0),))
ROWS = tuple(f"Day {day}: {what}" for day in range(6) for what in ("a quiet farm", "dragons at the gate", "we race"))


def no_rows() -> Sequence[str]:
    """For encoders that must not be compared."""
    raise AssertionError("the rows were read")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and samples that a busy laptop encodes in a second."""
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(tmp_path))
    monkeypatch.setattr(gate, "CPU_TOKENS", 1_600)
    monkeypatch.setattr(gate_sample, "LEAST_TEXTS", 24)
    monkeypatch.setattr(gate_sample, "BUCKET_TEXTS", 12)
    return tmp_path


@pytest.fixture
def near(minilm: Model) -> Encoder:
    """MiniLM on the CPU, the test's own: fp32 that calls itself fp16, since real fp16 is slow there."""
    encoder = build_encoder(minilm, EncoderSettings(device="cpu"))
    torch_backend(encoder).dtype = "fp16"
    return encoder


def torch_backend(encoder: Encoder) -> TorchBackend:
    """The encoder's backend, to be spoiled."""
    assert isinstance(encoder.backend, TorchBackend)
    return encoder.backend


def shift_positions(encoder: Encoder) -> None:
    """Give every token the position of its neighbour: the mistake of counting from 0 where 1 is first."""
    weight = torch_backend(encoder)._transformer.embeddings.position_embeddings.weight.data
    weight.copy_(weight.roll(1, dims=0).clone())


def refuse(encoder: Encoder, monkeypatch: pytest.MonkeyPatch, is_refused: Callable[[str], bool]) -> None:
    """Let the backend refuse some texts, as a server does."""
    start = encoder.backend.start

    def refusing(pack: Pack) -> Callable[[], Vectors]:
        if any(map(is_refused, pack.texts)):
            raise CannotEmbed("refused")
        return start(pack)

    monkeypatch.setattr(encoder.backend, "start", refusing)


def test_fp32_through_torch_is_compared_with_nothing(minilm_encoder: Encoder, home: Path) -> None:
    """It is what the others are compared with; no row is read, no text encoded, no file written."""
    before = minilm_encoder.work
    assert check_precision(minilm_encoder, no_rows) is None
    assert minilm_encoder.work == before
    assert list(home.iterdir()) == []


def test_what_passed_is_not_compared_again_in_a_new_process(near: Encoder, minilm: Model) -> None:
    """The second encoder shares nothing with the first but the home: it reads no row, and encodes nothing."""
    report = check_precision(near, lambda: ROWS, "notes.body")
    assert report is not None
    assert near.work.tokens > 500
    assert [bucket.most_tokens for bucket in report.buckets] == [32, 128, 512]

    again = build_encoder(minilm, EncoderSettings(device="cpu"))
    torch_backend(again).dtype = "fp16"
    assert check_precision(again, no_rows, "notes.body") == report
    assert again.work.forwards == 0


@pytest.mark.slow
def test_bf16_is_used_where_it_passes_and_refused_where_not(minilm: Model) -> None:
    """Its cosines always pass; whether ten neighbours stay depends on the texts, and the gate says what it found."""
    encoder = build_encoder(minilm, EncoderSettings(device="cpu", dtype="bf16"))
    chosen = choose_sample(ROWS, encoder.count_tokens, minilm.max_seq_length, gate.CPU_TOKENS)
    report = compare_with_fp32(encoder, chosen)
    assert report.cosine_mean >= LEAST_COSINE_MEAN
    assert LEAST_COSINE_MIN <= report.cosine_min < 0.999999
    assert 0.95 < report.recall_at_10 <= 1
    if report.failures():
        with pytest.raises(PrecisionRefused, match="recall@10"):
            check_precision(encoder, lambda: ROWS)
    else:
        assert check_precision(encoder, lambda: ROWS) == report


def test_wrong_positions_are_refused_with_numbers_for_each_length_and_not_remembered(near: Encoder, home: Path) -> None:
    """Vectors that look like vectors, and find other texts, stop the run before anything is written."""
    shift_positions(near)
    with pytest.raises(PrecisionRefused) as refused:
        check_precision(near, lambda: ROWS)
    told = str(refused.value)
    for part in ("in fp16 through torch", "texts of 1 to 32 tokens: mean cosine 0.", "texts of 129 to 512 tokens: "):
        assert part in told
    assert told.endswith("Use --dtype fp32 (STEAM_ASSETS_DTYPE).")
    assert list(home.rglob("*.json")) == []


def test_a_spoiled_verdict_is_compared_again_and_replaced(near: Encoder) -> None:
    """Half a file costs a comparison, not the run."""
    path = verdict_path(conditions_of(near))
    path.write_text('{"conditions": {"gate"')
    report = check_precision(near, lambda: ROWS)
    assert report is not None
    assert read_verdict(conditions_of(near)) == report
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: [],
        lambda kept: kept | {"conditions": {}},
        lambda kept: kept | {"compared_at": "yesterday"},
        lambda kept: kept | {"compared_at": None},
        lambda kept: kept | {"report": []},
        lambda kept: kept | {"report": {"buckets": []}},
        lambda kept: kept | {"report": {"buckets": [kept["report"]["buckets"][0] | {"recall_at_10": 0.5}]}},
        lambda kept: kept | {"report": {"buckets": [kept["report"]["buckets"][0] | {"cosine_min": float("nan")}]}},
    ],
)
def test_only_a_verdict_that_passed_under_these_conditions_counts(
    minilm_encoder: Encoder, spoil: Callable[[dict[str, dict[str, list[dict[str, float]]]]], object]
) -> None:
    """A file that says anything else is as good as none."""
    conditions = conditions_of(minilm_encoder)
    keep_verdict(conditions, PASSED)
    assert read_verdict(conditions) == PASSED
    path = verdict_path(conditions)
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    assert read_verdict(conditions) is None


def test_other_conditions_are_another_question(minilm: Model, minilm_encoder: Encoder, near: Encoder) -> None:
    """Column, precision, revision and length each have verdicts of their own."""
    paths = {verdict_path(conditions_of(encoder)) for encoder in (minilm_encoder, near)}
    paths.add(verdict_path(conditions_of(near, "reviews.review_text")))
    for other in (replace(minilm, revision="sha256:other"), replace(minilm, max_seq_length=128)):
        near.model = other
        paths.add(verdict_path(conditions_of(near)))
    assert len(paths) == 5


def test_a_servers_verdict_holds_for_a_day(minilm_encoder: Encoder) -> None:
    """Behind the same address there may be another model tomorrow."""
    conditions = {**conditions_of(minilm_encoder), "backend": "remote", "device": "http://gpu:8080"}
    keep_verdict(conditions, PASSED)
    assert read_verdict(conditions) == PASSED
    path = verdict_path(conditions)
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=1)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"compared_at": yesterday.isoformat()}))
    assert read_verdict(conditions) is None


def test_a_server_is_not_compared_where_that_would_need_a_download(
    near: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, home: Path
) -> None:
    """The weights are gigabytes, and what an endpoint is for is to be without them; one line says so."""
    monkeypatch.setattr(near.backend, "name", "remote")
    near.model = replace(near.model, revision="0" * 40, location="nobody/has-this-model")
    with caplog.at_level(logging.INFO, "steam_assets.gate"):
        assert check_precision(near, no_rows) is None
    (line,) = caplog.messages
    assert "the weights of sentence-transformers/all-MiniLM-L6-v2 are not on this machine" in line
    assert list(home.rglob("*.json")) == []


def test_a_row_that_cannot_be_embedded_does_not_stop_the_others(near: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the run's to quarantine; blank and broken rows and repeated ones are no sample either."""
    refuse(near, monkeypatch, lambda text: "dragons" in text)
    report = check_precision(near, lambda: [*ROWS, *ROWS, "", " \n", "half a character: \ud800"])
    assert report is not None
    assert report.cosine_min >= LEAST_COSINE_MIN


def test_a_made_up_text_that_cannot_be_embedded_does(near: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that refuses what every model can read, or has no numbers for it, is not fit for the rows."""
    refuse(near, monkeypatch, lambda text: len(text) > 600)
    with pytest.raises(PrecisionRefused, match=r"texts of 129 to 512 tokens: lowest cosine -1\.0"):
        check_precision(near, lambda: ROWS)


def test_where_the_device_has_no_room_for_fp32_the_cpu_makes_it(
    minilm_encoder: Encoder, near: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The comparison is slower then, and no less strict."""
    monkeypatch.setattr(near.backend, "device", "cuda:99")
    with caplog.at_level(logging.INFO, "steam_assets.gate"):
        vectors = fp32_vectors(near, ROWS[:3])
    assert "made on the CPU" in caplog.text
    np.testing.assert_allclose(vectors, minilm_encoder.encode(ROWS[:3]), atol=1e-6)


@pytest.mark.gpu
def test_on_cuda_the_reference_leaves_no_memory_behind(minilm: Model) -> None:
    """The fp32 model stands beside the one that works only while it is compared."""
    import torch

    encoder = build_encoder(minilm, EncoderSettings(device="cuda", dtype="fp16"))
    encoder.encode(ROWS)
    before = torch.cuda.memory_allocated()
    report = check_precision(encoder, lambda: ROWS)
    assert report is not None
    assert report.cosine_min >= LEAST_COSINE_MIN
    assert torch.cuda.memory_allocated() <= before + 1_000_000

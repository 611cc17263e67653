"""What doctor says about 16 bit and OpenVINO on this CPU is measured here, and names the option that is faster."""

import re
import time
from collections.abc import Callable, Sequence

import pytest

from steam_assets import doctor_speed
from steam_assets.doctor_speed import OPTIONS, PLAIN, check_16_bit, describe, speeds
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import Model


def test_what_takes_longer_is_told_as_slower(
    minilm: Model, minilm_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as fast here; all take their turn in each round, so that a busy machine slows all alike."""
    monkeypatch.setattr(doctor_speed, "REVIEWS", 3)
    slow = build_encoder(minilm, EncoderSettings(device="cpu"))
    turns: list[Encoder] = []

    def noted(encoder: Encoder, pause: float) -> Callable[[Sequence[str]], Vectors]:
        encode = encoder.encode

        def noting(texts: Sequence[str]) -> Vectors:
            turns.append(encoder)
            began = time.perf_counter()
            vectors = encode(texts)
            time.sleep(pause * (time.perf_counter() - began))
            return vectors

        return noting

    monkeypatch.setattr(slow, "encode", noted(slow, pause=1))
    monkeypatch.setattr(minilm_encoder, "encode", noted(minilm_encoder, pause=0))
    found = speeds({PLAIN: minilm_encoder, ("torch", "bf16"): slow})
    assert found[PLAIN] == 1
    assert 0 < found["torch", "bf16"] < 0.95
    assert turns == [minilm_encoder, slow] * (len(turns) // 2)


@pytest.mark.parametrize(
    ("bf16", "openvino", "found", "fix"),
    [
        (1.9, {}, "bf16 through torch 1.9x the speed", "--dtype bf16 is faster; .* compared with fp32 .*openvino.*"),
        (0.1, {}, "fp32 through torch, the default, is right here", "pip install 'steam-assets.openvino.' adds .*"),
        (
            1.9,
            {"fp32": 1.2, "bf16": 3.1},
            "fp32 through openvino 1.2x",
            "--backend openvino --dtype bf16 is faster; .*",
        ),
        (0.9, {"fp32": 1.4}, "fp32 through openvino 1.4x", "--backend openvino is faster; .*"),
        (1.0, {"fp32": 1.0, "bf16": 1.1}, "fp32 through torch, the default, is right here", ""),
    ],
)
def test_what_is_faster_is_told_with_its_option(bf16: float, openvino: dict[str, float], found: str, fix: str) -> None:
    """The fix is the option to use, or the package to install; where fp32 is right there is none."""
    speed = {PLAIN: 1.0, ("torch", "bf16"): bf16} | {("openvino", dtype): ratio for dtype, ratio in openvino.items()}
    check = describe(speed)
    assert found in check.found
    assert re.fullmatch(fix, check.fix)


@pytest.mark.slow
def test_openvino_is_timed_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra there, doctor says what it would bring."""
    pytest.importorskip("openvino", reason="the extra steam-assets[openvino] is not installed")
    monkeypatch.setattr(doctor_speed, "OPTIONS", {("openvino", "fp32"): OPTIONS["openvino", "fp32"]})
    (check,) = check_16_bit(EncoderSettings(device="cpu"))
    assert re.match(r"fp32 through openvino \d+\.\dx the speed of fp32 through torch", check.found)


def test_a_server_decides_its_precision_itself() -> None:
    """With an endpoint nothing runs here that could be faster."""
    assert list(check_16_bit(EncoderSettings(endpoint="http://127.0.0.1:1/v1"))) == []

"""Memory runs out on the way: packs shrink, nothing is lost, encoded twice or kept alive, and no loop is endless."""

import gc
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from steam_assets.encoder.backend import CannotEmbed
from steam_assets.encoder.encoder import DeviceFailed, Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import PREPARATIONS
from steam_assets_tests.models import CPU, transformer_of
from steam_assets_tests.vectors import by_id, cosines, page

PLAIN = PREPARATIONS["plain"]
PHRASES: tuple[Callable[[], Exception], ...] = (
    lambda: __import__("torch").OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB."),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    lambda: __import__("torch").AcceleratorError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError,
)


class SmallDevice:
    """Transformers' forward on a device that holds ``cap`` tokens; keeps an eye on what stays alive."""

    def __init__(self, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, cap: int) -> None:
        self.cap = cap
        self.error: Callable[[], Exception] = PHRASES[0]
        self.texts: list[int] = []
        self.failures = 0
        self.alive_at_retry = 0
        self._failed: list[weakref.ref[Any]] = []
        model = transformer_of(encoder)
        self._forward = model.forward
        monkeypatch.setattr(model, "forward", self.forward)

    def forward(self, **features: Any) -> Any:
        """Run, or fail holding an activation in a frame of the traceback."""
        self.alive_at_retry += sum(activation() is not None for activation in self._failed)
        self._failed = []
        if features["input_ids"].numel() > self.cap:
            activation = features["input_ids"].float()
            self._failed.append(weakref.ref(activation))
            self.failures += 1
            raise self.error()
        self.texts.append(len(features["cu_seq_lens_q"]) - 1)
        return self._forward(**features)


TEXTS = [" ".join(["farm"] * (1 + n % 40)) + f" {n}" for n in range(120)]


@pytest.mark.parametrize("phrase", PHRASES)
def test_running_out_of_memory_changes_no_vector(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, phrase: Callable[[], Exception]
) -> None:
    """Whatever the allocator says: the pack is cut, retried, and nothing of the failed try is kept alive."""
    expected = encoder.encode(TEXTS)
    device = SmallDevice(encoder, monkeypatch, cap=300)
    device.error = phrase
    gc.disable()  # what is alive at the retry must be gone because we let go, not by luck
    try:
        vectors = encoder.encode(TEXTS)
    finally:
        gc.enable()
    assert cosines(vectors, expected).min() >= 0.99999
    assert encoder.memory_errors == device.failures == 4  # 2048 -> 1206 -> 723 -> 412 -> 232, less what rows leave over
    assert device.alive_at_retry == 0
    assert 150 < encoder.budget.tokens <= 300


def test_only_the_failed_pack_is_encoded_again(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was finished is out already, and stays."""
    device = SmallDevice(encoder, monkeypatch, cap=2048)
    stream = encoder.embed(encoder.windows([page(TEXTS)], PLAIN))
    done = [next(stream)]
    device.cap = 200
    done += list(stream)
    assert sum(device.texts) == len(TEXTS) == len(by_id(done))
    assert device.failures > 0


def test_what_held_is_remembered_by_the_next_call(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second page does not fail again."""
    device = SmallDevice(encoder, monkeypatch, cap=300)
    encoder.encode(TEXTS)
    failures = device.failures
    encoder.encode(TEXTS)
    assert device.failures == failures


def test_a_single_failure_costs_a_few_packs_of_speed(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the memory comes back, the budget grows again."""
    device = SmallDevice(encoder, monkeypatch, cap=300)
    encoder.encode(TEXTS[:50])
    shrunk, device.cap = encoder.budget.tokens, 10**9
    encoder.encode(TEXTS * 10)
    assert encoder.budget.tokens > shrunk


def test_a_text_that_does_not_fit_alone_is_named_and_the_rest_is_encoded(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad row costs one row, with a reason and a bounded number of tries."""
    texts = [f"farm {n}" for n in range(41)]
    texts[20] = "world " * 200
    device = SmallDevice(encoder, monkeypatch, cap=100)
    batches = list(encoder.embed(encoder.windows([page(texts)], PLAIN)))
    failed = [row for batch in batches for row in batch.unembeddable]
    assert [row.id for row in failed] == [20]
    assert re.fullmatch(r"out of memory with \d{3} tokens alone on cpu \(.+\)", str(failed[0].reason))
    assert sorted(by_id(batches)) == [n for n in range(41) if n != 20]
    assert device.failures <= 10


def test_encode_refuses_a_text_that_does_not_fit(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that wants every vector gets an error that says which text and why."""
    SmallDevice(encoder, monkeypatch, cap=100)
    with pytest.raises(
        CannotEmbed, match=r"Text 1 of 2 cannot be embedded: out of memory with \d+ tokens alone on cpu"
    ):
        encoder.encode(["fits", "world " * 200])


def test_a_device_without_any_memory_left_blames_no_text(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one greedy neighbour would send a whole table to quarantine."""
    device = SmallDevice(encoder, monkeypatch, cap=0)
    with pytest.raises(DeviceFailed, match="cannot even embed 'a farm'"):
        list(encoder.embed(encoder.windows([page(TEXTS)], PLAIN)))
    assert device.failures <= 15


def test_errors_that_are_not_about_memory_rise_at_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a device-side assert nothing on the device can be trusted."""
    device = SmallDevice(encoder, monkeypatch, cap=100)
    device.error = lambda: RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(DeviceFailed, match=r"device-side assert triggered\. Nothing more .+ finished rows are kept"):
        encoder.encode(TEXTS)
    assert device.failures == 1
    assert encoder.memory_errors == 0


def test_every_memory_error_is_kept_with_its_numbers(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed, in how many texts, what the budget became, and the allocator's own words."""
    SmallDevice(encoder, monkeypatch, cap=300)
    encoder.encode(TEXTS)
    events = list(encoder.memory_events)
    assert len(events) == encoder.memory_errors > 0
    assert all(event.budget <= 0.6 * event.failed for event in events)
    assert events[-1].budget <= 300
    assert events[0].reason.startswith("CUDA out of memory")
    assert re.match(r"out of memory with \d,\d{3} tokens in \d+ texts; budget 1,\d{3} \(CUDA out", str(events[0]))


def test_with_two_packs_under_way_only_the_failed_one_is_retried(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's vectors are not lost and not made twice."""
    expected = encoder.encode(TEXTS)
    device = SmallDevice(encoder, monkeypatch, cap=300)
    monkeypatch.setattr(encoder.backend, "in_flight", 2)
    assert cosines(encoder.encode(TEXTS), expected).min() >= 0.99999
    assert sum(device.texts) == len(TEXTS)
    assert device.failures == 4  # no more than one after the other: none is started with a budget known to fail


def test_padded_packs_shrink_in_the_same_way(narrow: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a model cannot be run without padding, the rectangle is what has to fit."""
    from steam_assets.encoder import torch_backend

    monkeypatch.setattr(torch_backend, "why_not_packed", lambda *_: "this test")
    encoder = build_encoder(narrow, replace(CPU, batch_tokens=2048))
    assert encoder.backend.packing.padded
    expected = encoder.encode(TEXTS)
    forward, most = transformer_of(encoder).forward, 0

    def small(**features: Any) -> Any:
        nonlocal most
        if features["input_ids"].numel() > 300:
            raise PHRASES[0]()
        most = max(most, features["input_ids"].numel())
        return forward(**features)

    monkeypatch.setattr(transformer_of(encoder), "forward", small)
    assert cosines(encoder.encode(TEXTS), expected).min() >= 0.99999
    assert most <= 300


@pytest.mark.gpu
def test_a_real_cuda_device_that_is_too_small_gives_the_same_vectors(minilm: Model, minilm_encoder: Encoder) -> None:
    """The real allocator, capped: packs shrink, vectors stay, and the budget of a bad start is found in a few steps."""
    import torch

    encoder = build_encoder(minilm, EncoderSettings(device="cuda", batch_tokens=2**22))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 3 * 2**28) / total)
    try:
        vectors = encoder.encode(TEXTS * 100)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 0 < encoder.memory_errors <= 6
    assert cosines(vectors[: len(TEXTS)], minilm_encoder.encode(TEXTS)).min() >= 0.999


@pytest.mark.gpu
def test_a_profiled_budget_never_runs_out_of_memory(minilm: Model) -> None:
    """Two forwards are measured, and 85 % of what is free is used."""
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 3 * 2**28) / total)
    try:
        encoder = build_encoder(minilm, EncoderSettings(device="cuda"))
        encoder.encode(TEXTS * 100)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert encoder.memory_errors == 0


def test_a_start_far_too_high_is_corrected_by_what_the_backend_measured(
    narrow: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a dozen failures, each 40 % smaller."""
    encoder = build_encoder(narrow, replace(CPU, batch_tokens=10**7))
    monkeypatch.setattr(type(encoder.backend), "batch_tokens", 1000)
    device = SmallDevice(encoder, monkeypatch, cap=1200)
    encoder.encode(TEXTS * 10)
    assert device.failures == 1
    assert encoder.memory_events[0].budget == 1000

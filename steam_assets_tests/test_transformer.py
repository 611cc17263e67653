"""Vectors equal plain `SentenceTransformer.encode`, in the caller's order, also when memory runs out on the way."""

import gc
import hashlib
import logging
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.models import Model, find_model
from steam_assets.encoder.preparation import PREPARATIONS, Preparation
from steam_assets.encoder.transformer import DeviceFailed, Encoder, TextTooLarge, load_encoder
from steam_assets.errors import SteamAssetsError

PLAIN = PREPARATIONS["plain"]
MIXED = [
    "cozy farming game with friends",
    "",
    "   \n",
    "👍🏽🔥🎮",
    "日本語のレビューです。とても面白い。" * 8,
    "Отличная игра про космос и ферму " * 6,
    "[h1]Great[/h1] [b]game[/b] </s> <pad> [SEP] & &amp;",
    "a",
    *(" ".join(["explore", "survive", "craft"] * n) for n in (1, 2, 5, 9, 14)),
]


def reference(model: Model, texts: Sequence[str], batch_size: int = 4) -> NDArray[np.float32]:
    """What sentence-transformers itself makes of the texts."""
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(model.location, device="cpu")
    vectors = plain.encode(list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors)


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row, in double precision."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def page(texts: Sequence[str], first_id: int = 0) -> SourceTexts:
    """A page as the store reads it."""
    digests = [hashlib.md5(text.encode(), usedforsecurity=False).digest() for text in texts]
    return SourceTexts(range(first_id, first_id + len(texts)), texts, [7] * len(texts), digests)


def by_id(batches: Sequence[EncodedBatch]) -> dict[Any, NDArray[np.float32]]:
    """Every vector of a stream."""
    return {i: v for batch in batches for i, v in zip(batch.embeddings.ids, batch.embeddings.vectors, strict=True)}


# --- The same vectors -------------------------------------------------------------------------------------------------


def test_minilm_gives_what_sentence_transformers_gives(minilm: Model, minilm_encoder: Encoder) -> None:
    """Mixed lengths and scripts, empty texts and texts above the maximum, in the caller's order."""
    texts = [*MIXED, "play with friends and build a world " * 50]
    vectors = minilm_encoder.encode(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), 384)
    assert cosines(vectors, reference(minilm, texts)).min() >= 0.99999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_the_shape_of_bge_m3_gives_what_sentence_transformers_gives(bge_shaped: Model) -> None:
    """Its positions start after the padding: wrong offsets give cosines of 0.7."""
    texts = [*MIXED, "a game of friends " * 40]
    assert cosines(load_encoder(bge_shaped, "cpu").encode(texts), reference(bge_shaped, texts)).min() >= 0.99999


def test_a_text_above_8192_tokens_is_cut_where_sentence_transformers_cuts_it(narrow: Model) -> None:
    """The last position of the table is used, and none behind it."""
    encoder = load_encoder(narrow, "cpu")
    texts = ["dragon " * 9000 + "sword"]
    assert encoder.count_tokens(texts)[0] > 8192
    assert cosines(encoder.encode(texts), reference(narrow, texts)).min() >= 0.99999


def test_a_prompt_is_applied_as_sentence_transformers_applies_it(minilm: Model, minilm_encoder: Encoder) -> None:
    """It is part of what is read and counted."""
    from dataclasses import replace

    from sentence_transformers import SentenceTransformer

    prompted = Encoder(replace(minilm, prompt="passage: "), "cpu")
    theirs = SentenceTransformer(minilm.location, device="cpu").encode(MIXED, prompt="passage: ")
    assert cosines(prompted.encode(MIXED), np.asarray(theirs)).min() >= 0.99999
    assert (prompted.count_tokens(MIXED) - minilm_encoder.count_tokens(MIXED) == 2).all()


def test_the_budget_does_not_change_the_vectors(minilm: Model, minilm_encoder: Encoder) -> None:
    """Even one text at a time."""
    assert cosines(Encoder(minilm, "cpu", batch_tokens=1).encode(MIXED), minilm_encoder.encode(MIXED)).min() >= 0.99999


def test_bf16_stays_close_to_fp32(minilm: Model, minilm_encoder: Encoder) -> None:
    """Mean cosine at least 0.9995, minimum at least 0.999; norms are made in fp32."""
    half = Encoder(minilm, "cpu", "bf16")
    vectors = half.encode(MIXED)
    found = cosines(vectors, minilm_encoder.encode(MIXED))
    assert half.dtype == "bf16"
    assert found.mean() >= 0.9995
    assert found.min() >= 0.999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_no_texts_give_no_vectors(minilm_encoder: Encoder) -> None:
    """An empty matrix of the right width."""
    assert minilm_encoder.encode([]).shape == (0, 384)


def test_tokens_are_counted_before_truncation(minilm: Model, minilm_encoder: Encoder) -> None:
    """As the model's tokenizer counts without a maximum, special tokens included."""
    from transformers import AutoTokenizer

    texts = [*MIXED, "friends " * 1000]
    theirs = AutoTokenizer.from_pretrained(minilm.location)(texts, truncation=False, verbose=False)["input_ids"]
    assert list(minilm_encoder.count_tokens(texts)) == [len(ids) for ids in theirs]


def test_an_encoder_works_in_any_thread(minilm_encoder: Encoder) -> None:
    """The pipeline runs it beside its reader and writer, and a search may run meanwhile."""
    found: list[NDArray[np.float32]] = []
    threads = [threading.Thread(target=lambda: found.append(minilm_encoder.encode(MIXED))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(cosines(vectors, found[0]).min() >= 0.99999 for vectors in found)


# --- Pages of rows ----------------------------------------------------------------------------------------------------


def test_each_row_of_a_page_comes_back_once_with_its_version_and_digest(minilm_encoder: Encoder) -> None:
    """Rows that are blank after preparation have no vector and no reason."""
    pages = [page(MIXED), page(["one", "two"], first_id=100)]
    batches = list(minilm_encoder.embed(pages, PLAIN))

    vectors = by_id(batches)
    blank = [row for batch in batches for row in batch.unembeddable]
    assert sorted([*vectors, *(row.id for row in blank)]) == [*range(len(MIXED)), 100, 101]
    assert {(row.id, row.reason) for row in blank} == {(1, None), (2, None)}
    digests = {
        i: d for batch in batches for i, d in zip(batch.embeddings.ids, batch.embeddings.source_md5, strict=True)
    }
    assert digests == {i: d for p in pages for i, d in zip(p.ids, p.source_md5, strict=True) if i in vectors}
    assert all(version == 7 for batch in batches for version in batch.embeddings.row_versions)


def test_rows_get_the_vector_of_their_own_text(minilm_encoder: Encoder) -> None:
    """Sorting and packing do not mix them up."""
    vectors = by_id(list(minilm_encoder.embed([page(MIXED)], PLAIN)))
    expected = minilm_encoder.encode(MIXED)
    assert all(vectors[row] @ expected[row] >= 0.99999 for row in vectors)


def test_the_prepared_text_is_what_is_encoded(minilm_encoder: Encoder) -> None:
    """And a text that preparation leaves empty is blank."""
    shout = Preparation("shout", 1, lambda text: text.replace("quiet", "").replace("soft", "loud"))
    batches = list(minilm_encoder.embed([page(["soft music", "quiet "])], shout))
    assert [row.id for batch in batches for row in batch.unembeddable] == [1]
    assert by_id(batches)[0] @ minilm_encoder.encode(["loud music"])[0] >= 0.99999


def test_tokens_and_truncated_texts_are_counted(minilm_encoder: Encoder) -> None:
    """What the model read, not what was padded or cut off."""
    texts = ["friends " * 1000, "friends " * 300, "short"]
    batches = list(minilm_encoder.embed([page(texts)], PLAIN))
    assert sum(batch.tokens for batch in batches) == 256 + 256 + 3
    assert sum(batch.truncated for batch in batches) == 2


def test_batches_come_while_pages_are_still_being_read(minilm_encoder: Encoder) -> None:
    """Memory stays bounded and the first rows are written early."""
    read = []

    def pages() -> Iterator[SourceTexts]:
        for number in range(3):
            read.append(number)
            yield page([f"text {number}"], first_id=number)

    stream = minilm_encoder.embed(pages(), PLAIN)
    assert list(next(stream).embeddings.ids) == [0]
    assert read == [0]


# --- Out of memory ----------------------------------------------------------------------------------------------------

PHRASES: tuple[Callable[[], Exception], ...] = (
    lambda: __import__("torch").OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB."),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    lambda: __import__("torch").AcceleratorError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError,
)


def transformer_of(encoder: Encoder) -> Any:
    """The model that transformers loaded, below sentence-transformers."""
    return cast(Any, encoder._modules[0]).model


class SmallDevice:
    """Transformers' forward on a device that holds ``cap`` padded tokens; keeps an eye on what stays alive."""

    def __init__(self, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, cap: int) -> None:
        self.cap = cap
        self.error: Callable[[], Exception] = PHRASES[0]
        self.shapes: list[tuple[int, int]] = []
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
        rows, width = features["input_ids"].shape
        if rows * width > self.cap:
            activation = features["input_ids"].float()
            self._failed.append(weakref.ref(activation))
            self.failures += 1
            raise self.error()
        self.shapes.append((rows, width))
        return self._forward(**features)


@pytest.fixture
def encoder(narrow: Model) -> Encoder:
    """An encoder of this test's own, with a budget of 2,048 tokens."""
    return Encoder(narrow, "cpu", batch_tokens=2048)


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
    stream = encoder.embed([page(TEXTS)], PLAIN)
    done = [next(stream)]
    device.cap = 200
    done += list(stream)
    assert sum(rows for rows, _ in device.shapes) == len(TEXTS) == len(by_id(done))
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
    batches = list(encoder.embed([page(texts)], PLAIN))
    failed = [row for batch in batches for row in batch.unembeddable]
    assert [row.id for row in failed] == [20]
    assert re.fullmatch(r"out of memory with \d{3} tokens alone on cpu \(.+\)", str(failed[0].reason))
    assert sorted(by_id(batches)) == [n for n in range(41) if n != 20]
    assert device.failures <= 10


def test_encode_refuses_a_text_that_does_not_fit(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that wants every vector gets an error that says which text and why."""
    SmallDevice(encoder, monkeypatch, cap=100)
    with pytest.raises(
        TextTooLarge, match=r"Text 1 of 2 cannot be embedded: out of memory with \d+ tokens alone on cpu"
    ):
        encoder.encode(["fits", "world " * 200])


def test_a_device_without_any_memory_left_blames_no_text(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one greedy neighbour would send a whole table to quarantine."""
    device = SmallDevice(encoder, monkeypatch, cap=0)
    with pytest.raises(DeviceFailed, match="has no memory left even for"):
        list(encoder.embed([page(TEXTS)], PLAIN))
    assert device.failures <= 15


def test_errors_that_are_not_about_memory_rise_at_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a device-side assert nothing on the device can be trusted."""
    device = SmallDevice(encoder, monkeypatch, cap=100)
    device.error = lambda: RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(RuntimeError, match="device-side assert"):
        encoder.encode(TEXTS)
    assert device.failures == 1
    assert encoder.memory_errors == 0


# --- Vectors that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_row_without_a_finite_vector_is_named_alone(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Its neighbours in the same forward keep theirs."""
    transformer = transformer_of(encoder)
    forward, bad = transformer.forward, encoder._tokenizer.tokenize(["☃"]).encodings[0].ids[-2]

    def spoiled(**features: Any) -> Any:
        output = forward(**features)
        output.last_hidden_state[(features["input_ids"] == bad).any(dim=1)] = value
        return output

    monkeypatch.setattr(transformer, "forward", spoiled)
    batches = list(encoder.embed([page(["farm", "☃", "friends"])], PLAIN))
    assert [(row.id, row.reason) for batch in batches for row in batch.unembeddable] == [
        (1, "the model gives no finite vector in fp32")
    ]
    assert sorted(by_id(batches)) == [0, 2]


def test_a_model_that_gives_no_finite_vector_at_all_blames_no_text(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken device or precision is one error, not a table of them."""
    transformer = transformer_of(encoder)
    forward = transformer.forward

    def spoiled(**features: Any) -> Any:
        output = forward(**features)
        output.last_hidden_state[:] = float("nan")
        return output

    monkeypatch.setattr(transformer, "forward", spoiled)
    with pytest.raises(DeviceFailed, match="gives no finite vector"):
        list(encoder.embed([page(TEXTS)], PLAIN))


# --- Devices ----------------------------------------------------------------------------------------------------------


def test_an_encoder_is_loaded_once_per_process(minilm: Model, minilm_encoder: Encoder) -> None:
    """The model stays in memory from range to range."""
    assert load_encoder(minilm, "cpu", "auto") is load_encoder(minilm, "cpu", "fp32")
    assert (minilm_encoder.device, minilm_encoder.dtype) == ("cpu", "fp32")
    assert minilm_encoder.device_name
    assert minilm_encoder.peak_memory_bytes() > 10**8


@pytest.mark.parametrize(("device", "dtype"), [("gpu", "auto"), ("cuda:x", "auto"), ("", "auto"), ("cpu", "int8")])
def test_unknown_devices_and_precisions_are_refused(minilm: Model, device: str, dtype: str) -> None:
    """The message says what is expected."""
    with pytest.raises(SteamAssetsError, match=r"expected auto, (cpu|fp32)"):
        load_encoder(minilm, device, dtype)


def test_without_cuda_the_cpu_is_used_and_the_reason_is_logged(
    minilm: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who insists on CUDA is told why not."""
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    with caplog.at_level(logging.INFO):
        assert load_encoder(minilm, "auto").device == "cpu"
    assert "Using the CPU: torch" in caplog.text
    with pytest.raises(SteamAssetsError, match=r"cuda was asked for, but torch .* is a CPU build"):
        load_encoder(minilm, "cuda")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_files_that_are_no_weights_are_refused(minilm: Model, tmp_path: Path, weights: str) -> None:
    """The message names the model, not where it lies."""
    damaged = tmp_path / "damaged"
    shutil.copytree(minilm.location, damaged, ignore=shutil.ignore_patterns("model.safetensors"))
    (damaged / weights).write_bytes(b"no weights")
    with pytest.raises(SteamAssetsError, match=r"damaged cannot be loaded: .+ Save or download it again") as caught:
        load_encoder(find_model(str(damaged)), "cpu")
    assert str(tmp_path) not in str(caught.value)


def test_loading_says_nothing_about_where_the_model_is(
    minilm: Model, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """One log line with model, device and precision; no paths, progress bars or warnings."""
    with caplog.at_level(logging.INFO):
        Encoder(minilm, "cpu").encode(["quiet"])
    assert "all-MiniLM-L6-v2 (sha256:" in caplog.text
    assert minilm.location not in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_a_real_cuda_device_that_is_too_small_gives_the_same_vectors(minilm: Model, minilm_encoder: Encoder) -> None:
    """The real allocator, capped: packs shrink, vectors stay."""
    import torch

    encoder = Encoder(minilm, "cuda", "fp32", batch_tokens=2**22)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 3 * 2**28) / total)
    try:
        texts = TEXTS * 100
        vectors = encoder.encode(texts)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert encoder.memory_errors > 0
    assert cosines(vectors[: len(TEXTS)], minilm_encoder.encode(TEXTS)).min() >= 0.9999


@pytest.mark.gpu
def test_16_bit_on_cuda_stays_close_to_fp32_on_the_cpu(bge_shaped: Model) -> None:
    """Mean cosine at least 0.9995, minimum at least 0.999."""
    encoder = load_encoder(bge_shaped, "cuda")
    found = cosines(encoder.encode(MIXED), load_encoder(bge_shaped, "cpu").encode(MIXED))
    assert encoder.dtype in ("bf16", "fp16")
    assert found.mean() >= 0.9995
    assert found.min() >= 0.999

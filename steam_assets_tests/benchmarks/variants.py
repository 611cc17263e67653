"""The ways of embedding that are compared: the predecessor's call, and ours with each of its settings."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.encoder import Encoder, Work
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.stages import encoded
from steam_assets_tests.benchmarks.machine import has_bf16_instructions
from steam_assets_tests.benchmarks.rules import PREDECESSOR_CHUNK, PREDECESSOR_ROWS, fixed_batches, measure_waste
from steam_assets_tests.benchmarks.watch import Watch, allocated_bytes
from steam_assets_tests.benchmarks.workload import Workload

WARM_UP_ROWS = 64


class Skipped(SteamAssetsError):
    """A way of embedding that this machine cannot show; the message is the reason."""


@dataclass(frozen=True)
class Measurement:
    """What embedding a workload took: vectors of its first pass (rows, dimension), NaN where a row has none.

    ``arithmetic`` is the precision of the matrix products: "fp32", "tf32", "bf16" or "fp16".
    """

    seconds: float
    vectors: Vectors
    work: Work
    arithmetic: str
    peak_memory_bytes: int
    gpu_busy_percent: float | None
    memory_errors: int = 0


class Variant(Protocol):
    """A way of embedding, loaded when it is first needed."""

    @property
    def name(self) -> str:
        """As in the table."""

    def load(self, workload: Workload) -> None:
        """Load and warm up, with rows of ``workload``; raises Skipped where that cannot be."""

    def embed(self, workload: Workload) -> Measurement:
        """Embed every row and measure it."""

    def release(self) -> None:
        """Forget what was loaded."""


@dataclass
class Predecessor:
    """SentenceTransformer.encode as the predecessor called it: batches of 16 rows, chunks of 10,000, normalised."""

    name: str
    model: Model
    device: str
    arithmetic: str = "fp32"
    _modules: Any = field(default=None, repr=False)
    weights_bytes: int = 0

    def load(self, workload: Workload) -> None:
        """Load it, and encode a few rows."""
        if self._modules is None:
            if self.device == "cpu" and self.arithmetic == "bf16" and not has_bf16_instructions():
                raise Skipped("this CPU has no bf16 instructions")
            from steam_assets.encoder.torch_backend import load_modules

            before = allocated_bytes(self.device)
            self._modules = load_modules(self.model, self.device, self.arithmetic.replace("tf32", "fp32"))
            self.weights_bytes = allocated_bytes(self.device) - before
            self.embed(workload.first(WARM_UP_ROWS))

    def embed(self, workload: Workload) -> Measurement:
        """One encode() per chunk; the tokens it pads are counted by its own order, beside the clock."""
        texts = workload.corpus.texts
        with matmul_precision(self.arithmetic), Watch(self.device) as watch:
            vectors = [
                self._modules.encode(
                    texts[start : start + PREDECESSOR_CHUNK],
                    batch_size=PREDECESSOR_ROWS,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
                for start in range(0, len(texts), PREDECESSOR_CHUNK)
            ]
        waste = measure_waste(list(fixed_batches(texts, workload.lengths)))
        return Measurement(
            watch.seconds,
            np.concatenate(vectors).astype(np.float32),
            Work(waste.forwards, waste.real, waste.padded),
            self.arithmetic,
            watch.peak_bytes + self.weights_bytes,
            watch.gpu_busy_percent,
        )

    def release(self) -> None:
        """Forget the model."""
        self._modules = None
        release_memory(self.device)


@dataclass
class Ours:
    """The encoder as the pipeline runs it: tokenizing ahead in a thread, the same text once, everything included."""

    name: str
    model: Model
    settings: EncoderSettings
    _encoder: Encoder | None = field(default=None, repr=False)
    weights_bytes: int = 0

    def load(self, workload: Workload) -> None:
        """Build it, and embed a few rows."""
        device, dtype = self.settings.device, self.settings.dtype
        if self._encoder is None:
            if device == "cpu" and dtype == "bf16" and not has_bf16_instructions():
                raise Skipped("this CPU has no bf16 instructions")
            before = allocated_bytes(device)
            self._encoder = build_encoder(self.model, self.settings)
            self.weights_bytes = allocated_bytes(device) - before
            if self._encoder.backend.packing.padded and self.name.endswith("varlen"):
                raise Skipped(f"{self.model.name} in {self._encoder.backend.dtype} is padded here")
            self.embed(workload.first(WARM_UP_ROWS))

    @property
    def encoder(self) -> Encoder:
        """The encoder, built where it was not."""
        if self._encoder is None:
            self._encoder = build_encoder(self.model, self.settings)
        return self._encoder

    def embed(self, workload: Workload) -> Measurement:
        """Rows in, vectors out, through the pipeline's own stages between its reader and its writer."""
        encoder = self.encoder
        rows = len(workload.corpus)
        vectors = np.full((rows, self.model.dimension), np.nan, dtype=np.float32)
        work, errors = encoder.work, encoder.memory_errors
        with Watch(self.settings.device) as watch:
            # Each pass is windows of its own: joined to one, what is repeated would be encoded once.
            for batch in encoded(workload.pages(), encoder, workload.corpus.preparation, gather=iter):
                vectors[np.array(batch.embeddings.ids, dtype=np.intp) % rows] = batch.embeddings.vectors
        return Measurement(
            watch.seconds,
            vectors,
            encoder.work.since(work),
            encoder.backend.dtype,
            watch.peak_bytes + self.weights_bytes,
            watch.gpu_busy_percent,
            encoder.memory_errors - errors,
        )

    def release(self) -> None:
        """Forget the model."""
        self._encoder = None
        release_memory(self.settings.device)


@contextmanager
def matmul_precision(arithmetic: str) -> Iterator[None]:
    """TF32 for fp32 models where that is what is measured."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if arithmetic == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def release_memory(device: str) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def predecessors(model: Model, device: str) -> list[Variant]:
    """What there was before, in fp32 first: everything else is compared with that."""
    found: list[Variant] = [
        Predecessor("predecessor", model, device),
        Predecessor("predecessor bf16", model, device, "bf16"),
    ]
    if device.startswith("cuda"):
        found.append(Predecessor("predecessor tf32", model, device, "tf32"))
    return found


def encoders(model: Model, device: str) -> list[Ours]:
    """Ours with every setting that this kind of device has."""
    plain = EncoderSettings(device=device)
    found = {
        "ours padded": replace(plain, padded=True),
        "ours varlen": plain,
        "ours compiled": replace(plain, compiled=True),
    }
    if device == "cpu":
        found |= {
            "ours bf16": replace(plain, dtype="bf16"),
            "ours openvino fp32": replace(plain, backend="openvino", dtype="fp32"),
            "ours openvino bf16": replace(plain, backend="openvino", dtype="bf16"),
        }
    return [Ours(name, model, settings) for name, settings in found.items()]

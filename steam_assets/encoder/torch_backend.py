"""A model in this process, through torch: without padding where its attention can be told where each text ends."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from steam_assets.encoder.attention import PACKED, packed_features, register, why_not_packed
from steam_assets.encoder.backend import Pack, Vectors
from steam_assets.encoder.batching import PADDED, UNPADDED
from steam_assets.encoder.device import DeviceUnavailable, device_name, torch_dtype
from steam_assets.encoder.memory import (
    MOST_CUDA_TOKENS,
    MOST_PADDED_TOKENS,
    free_memory_bytes,
    is_out_of_memory,
    peak_memory_bytes,
    release_memory,
    reset_peak_memory,
    tokens_that_fit,
)
from steam_assets.encoder.models import Model, UnknownModel
from steam_assets.encoder.padded_inputs import padded_inputs, probe
from steam_assets.encoder.tokens import TextTokenizer

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

CPU_BATCH_TOKENS = 1024
"""Without padding, MiniLM read real reviews 1.27 times as fast as the predecessor with 1,024, 1.18 with 4,096 and 1.15
with 512 (two cores, interleaved, medians): a forward costs nothing to launch, and small ones stay in the caches."""
CPU_PADDED_TOKENS = 4096
"""Smaller rectangles waste more."""
SAME_COSINE = {"fp32": 0.99999, "bf16": 0.999, "fp16": 0.999}
"""How close the vectors of packed and of padded probes have to be: 16 bit rounds both differently."""


class TorchBackend:
    """A sentence-transformers model on the CPU or a CUDA device."""

    name = "torch"

    def __init__(
        self,
        model: Model,
        modules: "SentenceTransformer",
        device: str,
        dtype: str,
        compiled: bool = False,
        padded: bool = False,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.device_name = device_name(device)
        self.compiled = compiled
        self.in_flight = 1 if device == "cpu" else 2
        self._model = model
        self._modules = modules
        self._transformer: Any = cast(Any, modules[0]).model
        self._model_type = str(self._transformer.config.model_type)
        self._inputs = padded_inputs(modules, model)
        self._probe = probe(modules, model)
        self.packing = PADDED
        reason = "asked for" if padded else None
        # A compiled CPU model would be compiled again for every set of lengths.
        reason = reason or ("compiled on the CPU" if compiled and device == "cpu" else None)
        reason = reason or why_not_packed(self._model_type, model.pooling, device, dtype) or self._try_packing()
        if reason is not None:
            logger.info("Texts are padded to the longest of their batch: %s.", reason)
        if compiled:
            self._transformer.compile(dynamic=True)
        self._batch_tokens: int | None = None

    @property
    def batch_tokens(self) -> int:
        """On CUDA what fits into the memory that was free at first, measured; on the CPU what is fastest."""
        if self.device == "cpu":
            return CPU_PADDED_TOKENS if self.packing.padded else CPU_BATCH_TOKENS
        if self._batch_tokens is None:
            most = MOST_PADDED_TOKENS if self.packing.padded else MOST_CUDA_TOKENS
            self._batch_tokens = tokens_that_fit(self._measure, free_memory_bytes(self.device), most)
        return self._batch_tokens

    def start(self, pack: Pack) -> Callable[[], Vectors]:
        """Launch a forward; on CUDA the vectors come while the next pack is being prepared."""
        import torch

        with torch.inference_mode():
            output = (self._forward_padded if self.packing.padded else self._forward_packed)(pack)
            vectors = output[:, : self._model.dimension].float()
            if self.device == "cpu":
                found: Vectors = vectors.numpy()
                return lambda: found
            host = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
            host.copy_(vectors, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()

        def wait() -> Vectors:
            copied.synchronize()
            arrived: Vectors = host.numpy()
            return arrived

        return wait

    def release_memory(self) -> None:
        """Give back memory that nothing refers to any more."""
        release_memory(self.device)

    def peak_memory_bytes(self) -> int:
        """The most memory so far: on CUDA what torch allocated, else what the process occupied."""
        return peak_memory_bytes(self.device)

    def reset_peak_memory(self) -> None:
        """Start ``peak_memory_bytes`` again; on the CPU it stays the process's."""
        reset_peak_memory(self.device)

    def _forward_padded(self, pack: Pack) -> "torch.Tensor":
        features = {**self._on_device(self._inputs.arrays(pack)), **self._inputs.constants}
        found: torch.Tensor = self._modules(features)["sentence_embedding"]
        return found

    def _forward_packed(self, pack: Pack) -> "torch.Tensor":
        features = self._on_device(packed_features(pack, self._model_type, self._inputs.pad_id))
        states: torch.Tensor = self._transformer(**features).last_hidden_state[0]
        pooled = {"sentence_embedding": pool(states, features["cu_seq_lens_q"], self._model.pooling)}
        for module in list(self._modules.children())[2:]:  # Dense and Normalize, where there are any
            pooled = module(pooled)
        return pooled["sentence_embedding"]

    def _on_device(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays as tensors on the device, from pinned memory and without waiting; other values as they are."""
        import torch

        found: dict[str, Any] = {}
        for name, value in features.items():
            if isinstance(value, np.ndarray):
                tensor = torch.from_numpy(value)
                value = tensor if self.device == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)
            found[name] = value
        return found

    def _try_packing(self) -> str | None:
        """Leave the padding out from now on, unless that changes the vectors of two probes; then say so."""
        padded = self.start(self._probe)()
        before = self._transformer.config._attn_implementation
        register()
        self._transformer.set_attn_implementation(PACKED)
        self.packing = UNPADDED
        packed = self.start(self._probe)()
        norms = np.linalg.norm(padded, axis=1) * np.linalg.norm(packed, axis=1)
        lowest = float(((padded * packed).sum(axis=1) / norms).min())
        if lowest >= SAME_COSINE[self.dtype]:
            return None
        self._transformer.set_attn_implementation(before)
        self.packing = PADDED
        return f"without padding the probes' vectors have a cosine of {lowest:.6f} to those with it"

    def _measure(self, tokens: int) -> int:
        """The bytes a forward of so many tokens takes on CUDA, in texts of the greatest length."""
        import torch

        lengths = [self._model.max_seq_length] * (tokens // self._model.max_seq_length)
        lengths += [tokens % self._model.max_seq_length] if tokens % self._model.max_seq_length else []
        pack = Pack(np.full(tokens, self._probe.ids[1]), np.array(lengths, dtype=np.int64), [])
        self.release_memory()
        before = torch.cuda.memory_allocated(self.device)
        self.reset_peak_memory()
        self.start(pack)()
        return self.peak_memory_bytes() - before


def load_torch(
    model: Model, device: str, dtype: str, compiled: bool = False, padded: bool = False
) -> tuple[TextTokenizer, TorchBackend]:
    """The model's tokenizer, and the model on a device; raises UnknownModel when its files do not make one."""
    modules = load_modules(model, device, dtype)
    return TextTokenizer(modules.tokenizer, model), TorchBackend(model, modules, device, dtype, compiled, padded)


def model_directory(model: Model) -> Path:
    """Where the model's files are, downloaded when they are not here yet."""
    if model.is_local:
        return Path(model.location)
    from steam_assets.encoder.hub import fetch

    return fetch(model)


def load_modules(model: Model, device: str, dtype: str) -> "SentenceTransformer":
    """The model on the device, ready to run; raises UnknownModel when its files do not make a model."""
    directory = model_directory(model)
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    with quiet():
        try:
            # From a directory, so that neither weights of a pull request nor code of another repository are looked up.
            modules = SentenceTransformer(
                str(directory),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={
                    "dtype": torch_dtype(dtype),
                    "use_safetensors": None if model.is_local or model.pickle_sha256 else True,
                },
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError, UnpicklingError) as error:
            reason = str(error).partition("\n")[0].replace(str(directory), model.name)
            if is_out_of_memory(error):
                raise DeviceUnavailable(
                    f"{device} has no memory for {model.name} in {dtype}: {reason}. Stop what else uses it "
                    "(`nvidia-smi`, `free`), or choose a smaller model or another device."
                ) from error
            raise UnknownModel(
                f"{model.name} cannot be loaded: {reason}. Expected what "
                "SentenceTransformer(...).save_pretrained(directory) writes. Save or download it again."
            ) from error
        modules.max_seq_length = model.max_seq_length
    return modules.eval()


def pool(states: "torch.Tensor", starts: "torch.Tensor", pooling: str) -> "torch.Tensor":
    """One vector a text from the states of all tokens (tokens, size): its first token's, or the mean of its tokens'."""
    import torch

    if pooling == "cls":
        return states[starts[:-1].long()]
    # Sums in fp32: 8,192 terms are too many for 16 bit.
    sums = torch.segment_reduce(states.float(), "sum", offsets=starts.long(), axis=0)
    return (sums / starts.diff()[:, None]).to(states.dtype)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and no log lines that name the directory."""
    from transformers.utils import logging as transformers_logging

    ours = logging.getLogger("sentence_transformers")
    level, verbosity = ours.level, transformers_logging.get_verbosity()
    ours.setLevel(logging.ERROR)
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        ours.setLevel(level)
        transformers_logging.set_verbosity(verbosity)

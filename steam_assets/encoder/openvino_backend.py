"""A model on this machine's CPU through OpenVINO: sentence-transformers' whole pipeline, converted when it is loaded.

There is no int8: quantised after training, MiniLM's vectors have a mean cosine of 0.83 to the right ones, which the
precision gate refuses (research/encoder.md 4).
"""

import gc
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from steam_assets.encoder.backend import Pack, Vectors
from steam_assets.encoder.batching import PADDED
from steam_assets.encoder.device import DeviceUnavailable, device_name, find_dtype
from steam_assets.encoder.memory import is_out_of_memory, peak_memory_bytes, release_memory
from steam_assets.encoder.models import Model, UnknownModel
from steam_assets.encoder.openvino_graph import PRECISIONS, CompiledGraph, convert, core, last_line
from steam_assets.encoder.padded_inputs import PROBE_TEXTS, padded_inputs, probe
from steam_assets.encoder.tokens import TextTokenizer
from steam_assets.encoder.torch_backend import SAME_COSINE, load_modules
from steam_assets.errors import SteamAssetsError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TOKENS = 1024
"""512 to 2,048 were within 3 % of each other: MiniLM, 400 real reviews, two idle cores, interleaved, medians."""
CHECK_TEXTS = (*PROBE_TEXTS, "Other lengths, and more of them, than the model was converted with. " * 5)


class OpenVinoBackend:
    """A converted sentence-transformers model; a forward has all cores."""

    name = "openvino"
    device = "cpu"
    packing = PADDED
    batch_tokens = BATCH_TOKENS

    def __init__(self, model: Model, modules: "SentenceTransformer", dtype: str) -> None:
        self.device_name = device_name("cpu")
        self.dtype = dtype
        self._dimension = model.dimension
        self._inputs = padded_inputs(modules, model)
        self._compiling = threading.Lock()
        try:
            self._graph = convert(modules, self._inputs, probe(modules, model))
            self._compiled: CompiledGraph | None = CompiledGraph(self._graph, dtype)
        except RuntimeError as error:
            raise _unusable(model, error) from error
        self.in_flight = self._compiled.streams
        self._require_same_vectors(model, modules)

    def start(self, pack: Pack) -> Callable[[], Vectors]:
        """Start a forward, as soon as one of the streams is free; any number of threads may do so."""
        compiled = self._usable()
        request = compiled.start(list(self._inputs.arrays(pack).values()))

        def wait() -> Vectors:
            compiled.wait(request)
            # astype copies: the tensor's memory is the request's, and goes with it.
            vectors: Vectors = request.get_output_tensor().data[:, : self._dimension].astype(np.float32)
            return vectors

        return wait

    def release_memory(self) -> None:
        """Give back what larger packs took, unless a pack is being computed; the next one takes it again."""
        release_memory(self.device)  # first: requests that failed are in use until nothing refers to them
        if self._compiled is not None:
            self._compiled.release_memory()

    def _usable(self) -> CompiledGraph:
        """The compiled graph, a new one where the last has failed."""
        with self._compiling:
            if self._compiled is not None and self._compiled.failure is not None:
                self._compiled = None  # before there is another: both may be too much
                gc.collect()
            if self._compiled is None:
                try:
                    self._compiled = CompiledGraph(self._graph, self.dtype)
                except RuntimeError as error:  # it could be compiled before
                    raise MemoryError(f"OpenVINO: {last_line(error)}") from error
            return self._compiled

    def peak_memory_bytes(self) -> int:
        """The most the process occupied so far."""
        return peak_memory_bytes(self.device)

    def reset_peak_memory(self) -> None:
        """Nothing: the peak stays the process's."""

    def _require_same_vectors(self, model: Model, modules: "SentenceTransformer") -> None:
        """Raise unless texts of other lengths than those of the conversion have torch's vectors."""
        import torch

        pack = TextTokenizer(modules.tokenizer, model).tokenize(CHECK_TEXTS).pack(np.arange(len(CHECK_TEXTS)))
        features = {name: torch.from_numpy(array) for name, array in self._inputs.arrays(pack).items()}
        with torch.inference_mode():
            theirs = modules({**features, **self._inputs.constants})["sentence_embedding"][:, : self._dimension].numpy()
        ours = self.start(pack)()
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        lowest = float(((ours * theirs).sum(axis=1) / norms).min())
        if not lowest >= SAME_COSINE[self.dtype]:
            raise UnknownModel(
                f"{model.name} gives other vectors through OpenVINO in {self.dtype}: a cosine of {lowest:.6f} to "
                f"torch's; expected {SAME_COSINE[self.dtype]} or more. Use --backend torch."
            )


def load_openvino(model: Model, device: str, dtype: str) -> tuple[TextTokenizer, OpenVinoBackend]:
    """The model's tokenizer, and the model on the CPU; raises SteamAssetsError when it cannot be had there."""
    found = find_precision(device, dtype)
    modules = load_modules(model, "cpu", "fp32")
    return TextTokenizer(modules.tokenizer, model), OpenVinoBackend(model, modules, found)


def find_precision(device: str, dtype: str) -> str:
    """The precision for "auto" (fp32), "fp32", "bf16" or "fp16"; raises DeviceUnavailable unless this CPU has it."""
    if device not in ("auto", "cpu"):
        raise DeviceUnavailable(
            f"{device} was asked for, and the OpenVINO backend runs on the CPU. Use --device cpu, or --backend torch."
        )
    wanted = find_dtype(dtype, "cpu")
    found = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted.upper() not in found:
        had = " and ".join(name for name in PRECISIONS if name.upper() in found)
        raise DeviceUnavailable(
            f"{wanted} was asked for, and OpenVINO has {had} on this CPU ({device_name('cpu')}): it would compute in "
            "fp32 without saying so. Use --dtype fp32."
        )
    return wanted


def _unusable(model: Model, error: RuntimeError) -> SteamAssetsError:
    reason = last_line(error.__cause__ or error)  # OpenVINO puts advice around what tracing said
    if is_out_of_memory(error):
        return DeviceUnavailable(
            f"The CPU has no memory for {model.name} through OpenVINO: {reason}. Stop what else uses it (`free`), or "
            "choose a smaller model."
        )
    return UnknownModel(f"OpenVINO cannot convert {model.name}: {reason}. Use --backend torch.")

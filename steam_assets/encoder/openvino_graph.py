"""OpenVINO itself: imported without its telemetry, a model converted to a graph, the graph compiled and run."""

import contextlib
import functools
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.backend import Pack
from steam_assets.encoder.memory import is_out_of_memory
from steam_assets.encoder.padded_inputs import PaddedInputs
from steam_assets.encoder.torch_backend import quiet
from steam_assets.errors import SteamAssetsError

if TYPE_CHECKING:
    import openvino  # type: ignore[import-untyped]
    from sentence_transformers import SentenceTransformer

CACHED_KERNELS = "100"
"""Kernels are made for each shape and kept: 2,300 shapes took 875 MB with OpenVINO's own 5,000, and take 320 MB, then
no more, with 100 (2026-11, two layers of bge-m3's shape). MiniLM takes 7 % more CPU time then, at most."""
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Said always: on a CPU that has bf16, OpenVINO would take it unasked."""
EXPECTED_WARNINGS = (r"`torch\.jit\.\w+` is deprecated", "`is_gradient_checkpointing` is deprecated")
FOREVER = 2**31 - 1
"""Milliseconds, all that fit."""


def import_openvino() -> Any:
    """The package, without its telemetry; raises SteamAssetsError when it is not installed."""
    # Importing openvino starts a thread that sends an event to Google Analytics, converting a model sends more, and
    # both write an id into the home directory. It has stubs for when openvino_telemetry is not installed, and None
    # here is Python's way to say so. Its own switch, `opt_in_out --opt_out`, sends an event as well.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    try:
        import openvino
    except ImportError as error:
        raise SteamAssetsError(
            f"The OpenVINO backend needs the package openvino ({error}). Install it with "
            "`pip install 'steam-assets[openvino]'`, or use --backend torch."
        ) from error
    return openvino


def core() -> "openvino.Core":
    """OpenVINO's door to the devices; raises SteamAssetsError when it is not installed."""
    return _core_of(import_openvino())


@functools.cache
def _core_of(openvino: ModuleType) -> "openvino.Core":
    """One for the life of the process.

    Its CPU plugin gives the thread a stack for signal handlers and takes it back when it goes. Of two that go in the
    order in which they came, the second puts the first one's stack back, which is unmapped by then: Python's handlers
    run on it, and the next Ctrl-C was a segmentation fault (2026.4).
    """
    return openvino.Core()


def convert(modules: "SentenceTransformer", inputs: PaddedInputs, example: Pack) -> "openvino.Model":
    """The pipeline as a graph for any number of texts of any length; its weights are torch's, not copied.

    Raises RuntimeError when it cannot be had. It takes 2 to 3 s for MiniLM and for two layers of bge-m3's shape, and
    compiling 0.2 to 0.3 s: too little to keep files for.
    """
    import torch

    openvino = import_openvino()
    arrays = inputs.arrays(example)

    class Pipeline(torch.nn.Module):
        """The modules with tensors in a row instead of a dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.pipeline = modules

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            """The sentences' vectors, as they leave the last module."""
            features = dict(zip(arrays, tensors, strict=True))
            found: torch.Tensor = self.pipeline({**features, **inputs.constants})["sentence_embedding"]
            return found

    with _undisturbed(), torch.inference_mode():
        try:
            return openvino.convert_model(Pipeline(), example_input=tuple(map(torch.from_numpy, arrays.values())))
        except (openvino.frontend.OpConversionFailure, openvino.frontend.GeneralFailure) as error:
            raise RuntimeError(str(error)) from error


class CompiledGraph:
    """A graph ready to run, once for all shapes, on ``streams`` shares of the cores.

    A failed allocation leaves a stream's buffers half changed: what ran on it next had wrong shapes, or ended the
    process (2026.4). So nothing is queued behind a request that may fail, and after a failure nothing is started, nor
    believed.
    """

    def __init__(self, graph: "openvino.Model", dtype: str) -> None:
        # One stream of all cores: 1.46 times the predecessor's speed where two streams of a core each had 1.18 to 1.30,
        # in the same CPU time (MiniLM, real reviews, two idle cores): a stream waits for its next pack.
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
            "PERFORMANCE_HINT": "LATENCY",
            "CPU_RUNTIME_CACHE_CAPACITY": CACHED_KERNELS,
        }
        self._model = core().compile_model(graph, "CPU", settings)
        self.streams = int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.failure: RuntimeError | MemoryError | None = None
        self._running: list[openvino.InferRequest] = []
        self._starting = threading.Lock()

    def start(self, arrays: Sequence[NDArray[np.int64]]) -> "openvino.InferRequest":
        """Start a request, as soon as a stream is free; one that is never waited for is no loss."""
        # A request of its own for each pack costs nothing measurable.
        request = self._model.create_infer_request()
        with self._starting:
            self._running = [one for one in self._running if not self._finished(one)]
            while len(self._running) >= self.streams:
                self._finished(self._running.pop(0), FOREVER)
            self._require_no_failure()
            request.start_async(arrays, share_inputs=True)
            self._running.append(request)
        return request

    def wait(self, request: "openvino.InferRequest") -> None:
        """Until the request is done; raises MemoryError when memory ran out, RuntimeError for any other failure."""
        self._finished(request, FOREVER)
        self._require_no_failure()

    def _finished(self, request: "openvino.InferRequest", milliseconds: int = 0) -> bool:
        """Whether the request is done by then; a failure of it is kept."""
        try:
            return bool(request.wait_for(milliseconds))
        except RuntimeError as error:
            kind = MemoryError if is_out_of_memory(error) else RuntimeError
            self.failure = self.failure or kind(f"OpenVINO: {last_line(error)}")
            return True

    def _require_no_failure(self) -> None:
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)

    def release_memory(self) -> None:
        """Give back the buffers of past requests, unless one is under way."""
        with contextlib.suppress(RuntimeError):  # "in a busy state"
            self._model.release_memory()


def last_line(error: BaseException) -> str:
    """What went wrong: OpenVINO's messages begin with the files of its source that it went through."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No warnings that are meant for developers, and the root logger as it was: convert_model sets it, to be undone
    only when it succeeds."""
    import torch

    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    with quiet(), warnings.catch_warnings():
        # Of lengths that become constants, it fears: whoever converts tries other lengths.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        try:
            yield
        finally:
            root.setLevel(level)
            root.filters, root.handlers = filters, handlers

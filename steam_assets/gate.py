"""The precision gate: before vectors of 16 bit or of another backend are written, some are compared with fp32's.

How near is near enough is said in encoder/precision.py, which texts are compared in gate_sample.py. A verdict holds for
the same column, model, device and libraries, and is kept in the home directory.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steam_assets.embeddings import SourceTexts
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.device import DeviceUnavailable
from steam_assets.encoder.encoder import DeviceFailed, Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.memory import is_out_of_memory
from steam_assets.encoder.models import Model
from steam_assets.encoder.precision import PrecisionRefused, PrecisionReport, compare
from steam_assets.encoder.preparation import find_preparation
from steam_assets.gate_sample import Sample, choose_sample
from steam_assets.settings import make_home

logger = logging.getLogger(__name__)

GATE_VERSION = 1
"""Raise it whenever the sample or what is asked of it changes: verdicts of other versions do not count."""
LIBRARIES = ("torch", "transformers", "sentence-transformers", "tokenizers", "openvino")
CPU_TOKENS = 60_000
"""MiniLM's lengths need half of them: 8 to 30 s on two busy cores, the reference included. bge-m3 takes minutes."""
CUDA_TOKENS = 300_000
REMOTE_VERDICT_HOLDS = timedelta(days=1)
"""Behind the same address there may be another model after a restart."""

Conditions = Mapping[str, str | int | bool | None]


def check_precision(encoder: Encoder, rows: Callable[[], Sequence[str]], column: str = "") -> PrecisionReport | None:
    """How near the encoder's vectors are to fp32's; None where they are fp32 themselves, or fp32 cannot be had here.

    ``rows`` gives prepared texts of ``column``, and is called only where there is no verdict about it yet: the same
    encoder may pass on one column and not on another. Raises PrecisionRefused when the vectors are not near enough;
    that is not remembered, since it may be mended.
    """
    model, backend = encoder.model, encoder.backend
    if backend.name == "torch" and backend.dtype == "fp32":
        return None
    conditions = conditions_of(encoder, column)
    kept = read_verdict(conditions)
    if kept is not None:
        return kept
    if backend.name == "remote" and not weights_are_here(model):
        logger.info(
            "The vectors of %s are not compared with fp32: the weights of %s are not on this machine (`hf download` "
            "brings them).",
            *(backend.device, model.name),
        )
        return None
    most_tokens = CUDA_TOKENS if backend.device.startswith("cuda") else CPU_TOKENS
    chosen = choose_sample(rows(), encoder.count_tokens, model.max_seq_length, most_tokens)
    report = compare_with_fp32(encoder, chosen)
    failures = report.failures()
    if failures:
        raise PrecisionRefused(
            f"{model.name} in {backend.dtype} through {backend.name} on {backend.device_name} is not near enough to "
            f"fp32. {'; '.join(failures)}. {next_step(encoder)}"
        )
    keep_verdict(conditions, report)
    return report


def compare_with_fp32(encoder: Encoder, chosen: Sample) -> PrecisionReport:
    """Encode the sample both ways and compare; rows that cannot be embedded are left out, made-up texts must be."""
    backend = encoder.backend
    logger.info(
        "Comparing %s through %s with fp32 on %d texts of %d tokens, %d of them rows; the verdict is kept.",
        *(backend.dtype, backend.name, len(chosen.texts), chosen.tokens.sum(), chosen.is_row.sum()),
    )
    ours = vectors_of(encoder, chosen.texts)
    # A row without a vector is the run's to quarantine: it costs one row, not the column.
    kept = has_vector(ours) | ~chosen.is_row
    chosen, ours = chosen.only(kept), ours[kept]
    theirs = fp32_vectors(encoder, chosen.texts)
    kept = has_vector(theirs) | ~chosen.is_row
    report = compare(ours[kept], theirs[kept], chosen.tokens[kept])
    logger.info("%s through %s beside fp32, %s.", backend.dtype, backend.name, report)
    return report


def vectors_of(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """Vectors (texts, dimension) in this order; NaN for a text that has none."""
    count = len(texts)
    page = SourceTexts(ids=range(count), texts=texts, row_versions=[0] * count, source_md5=[bytes(16)] * count)
    found = np.full((count, encoder.model.dimension), np.nan, dtype=np.float32)
    for batch in encoder.embed(encoder.windows([page], find_preparation("plain"))):
        found[np.array(batch.embeddings.ids, dtype=np.intp)] = batch.embeddings.vectors
    return found


def has_vector(vectors: Vectors) -> NDArray[np.bool_]:
    """Which texts have one, bool (texts,)."""
    return np.asarray(np.isfinite(vectors).all(axis=1))


def fp32_vectors(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """The same model's vectors in fp32 through torch, on the encoder's device, or on the CPU where that has no room."""
    device = {"torch": encoder.backend.device, "remote": "auto"}.get(encoder.backend.name, "cpu")
    encoder.backend.release_memory()
    found = None if device == "cpu" else _try_fp32(encoder.model, device, texts)
    # Out here nothing refers to the reference any more.
    encoder.backend.release_memory()
    if found is None:
        found = vectors_of(build_encoder(encoder.model, EncoderSettings(device="cpu", dtype="fp32")), texts)
    return found


def _try_fp32(model: Model, device: str, texts: Sequence[str]) -> Vectors | None:
    """The vectors of all texts, or None where the device has no memory for the model beside the one that is loaded."""
    try:
        found = vectors_of(build_encoder(model, EncoderSettings(device=device, dtype="fp32")), texts)
    except (DeviceUnavailable, DeviceFailed, RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError | MemoryError) and not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
    else:
        if has_vector(found).all():
            return found
        reason = "some texts had no room"
    logger.info("The fp32 vectors to compare with are made on the CPU: %s", reason)
    return None


def next_step(encoder: Encoder) -> str:
    """What to do where vectors were refused."""
    backend = encoder.backend
    if backend.name == "remote":
        return (
            f"Expected {encoder.model.name} at {encoder.model.revision[:12]}, in 16 bit or more, with "
            f"{encoder.model.pooling} pooling: correct the server, or run the model here without --endpoint."
        )
    if backend.dtype == "fp32":
        return "Use --backend torch (STEAM_ASSETS_BACKEND)."
    # 10 bits of mantissa instead of 7.
    nearer = " or --dtype fp16" if backend.dtype == "bf16" else ""
    other = "" if backend.name == "torch" else ", or --backend torch"
    return f"Use --dtype fp32{nearer} (STEAM_ASSETS_DTYPE){other}."


def weights_are_here(model: Model) -> bool:
    """Whether the model can be loaded without a download."""
    if model.is_local:
        return Path(model.location).is_dir()
    from steam_assets.encoder.hub import PICKLED_WEIGHTS, cached

    weights = PICKLED_WEIGHTS if model.pickle_sha256 else "*.safetensors"
    return cached(model.location, model.revision, weights) is not None


# Verdicts


def conditions_of(encoder: Encoder, column: str = "") -> Conditions:
    """All that a verdict depends on: with one of them changed, it is another question."""
    model, backend = encoder.model, encoder.backend
    return {
        "gate": GATE_VERSION,
        "column": column,
        "model": model.name,
        "revision": model.revision,
        "max_seq_length": model.max_seq_length,
        "prompt": model.prompt,
        "backend": backend.name,
        "device": backend.device if backend.name == "remote" else backend.device_name,
        "dtype": backend.dtype,
        "padded": backend.packing.padded,
        "compiled": bool(getattr(backend, "compiled", False)),
        **{library: _version(library) for library in LIBRARIES},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def verdict_path(conditions: Conditions) -> Path:
    """The file of a verdict under these conditions; its directory is there."""
    digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
    return make_home("precision") / f"{digest}.json"


def read_verdict(conditions: Conditions) -> PrecisionReport | None:
    """The report that passed under these conditions; None where there is none, or not a readable one."""
    path = verdict_path(conditions)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        report = PrecisionReport.from_dict(found["report"])
        age = datetime.now(UTC) - datetime.fromisoformat(found["compared_at"])
        if found["conditions"] != conditions or report.failures():
            raise ValueError("it is not a verdict that passed under these conditions")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.info("The precision is compared again; %s cannot be used: %s", path.name, error)
        return None
    return report if conditions["backend"] != "remote" or age < REMOTE_VERDICT_HOLDS else None


def keep_verdict(conditions: Conditions, report: PrecisionReport) -> None:
    """Write a verdict whole or not at all; who comes at the same time writes the same."""
    path = verdict_path(conditions)
    kept = {"conditions": conditions, "compared_at": datetime.now(UTC).isoformat(), "report": report.as_dict()}
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

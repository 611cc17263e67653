"""Whether this machine can do the job, found out by doing it: each Check says what was found and how to mend it.

Nothing is printed or installed here; `steam-assets doctor` prints one line a check, as they finish. The checks of the
database are in doctor_database.py, those of what runs by itself in doctor_operation.py, how fast 16 bit is in
doctor_speed.py.
"""

import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.encoder.loading import EncoderSettings, load_encoder
from steam_assets.encoder.models import DEMO_MODEL, Model, find_model
from steam_assets.errors import SteamAssetsError
from steam_assets.settings import make_home

State = Literal["ok", "warn", "fail"]

NORM_TOLERANCE = 1e-3
DISK_WARN_GB, DISK_FAIL_GB = 5.0, 0.5
GPU_FREE_WARN_GB = 3.0
"""bge-m3 in 16 bit: 1.1 GB of weights, the rest for a batch."""

DEFAULTS = EncoderSettings()
SET_UP = "python3 infra/bootstrap.py setup"


@dataclass(frozen=True)
class Check:
    """One thing looked at: "ok", "warn" (it works, but less well) or "fail", what was found, and the fix.

    The fix is empty where nothing needs one, and where what was found is an error that already says what to do.
    """

    name: str
    state: State
    found: str
    fix: str = ""


def run_checks(
    columns: Sequence[TextColumn] = COLUMNS,
    configured: Callable[[], Model | None] = lambda: None,
    database_url: str | None = None,
    settings: EncoderSettings = DEFAULTS,
) -> Iterator[Check]:
    """Every check, each yielded when it is finished; ``configured`` finds the model, None before there is one."""
    from steam_assets.doctor_speed import check_16_bit

    yield Check("Python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield _package("steam-assets")
    torch = _package("torch")
    yield torch
    if torch.state == "ok":
        yield from _check_gpu()
        yield _check_model(configured, settings)
        yield from check_16_bit(settings)
    yield _check_disk()
    from steam_assets.doctor_database import check_database
    from steam_assets.doctor_operation import check_operation

    yield from check_database(columns, database_url)
    yield from check_operation(database_url)


def exit_code(checks: Sequence[Check]) -> int:
    """1 when a check failed, 0 otherwise: what works less well is no failure."""
    return int(any(check.state == "fail" for check in checks))


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(name, "fail", "not installed", SET_UP)


# The GPU


def _check_gpu() -> Iterator[Check]:
    """CUDA as torch sees it, then each device; without a GPU everything works on the CPU, so that is a warning."""
    from steam_assets.encoder.device import device_name, why_no_cuda

    driver = _read_driver()
    try:
        reason = why_no_cuda()
    except (ImportError, OSError) as error:
        yield Check("CUDA available", "fail", f"torch cannot be imported: {error}", SET_UP)
        return
    import torch

    if reason is not None:
        fix = (
            f"{SET_UP} --torch cuda"
            if driver.state == "ok"
            else "fine without an NVIDIA GPU; with one, install its driver"
        )
        yield Check("CUDA available", "warn", f"no: {reason}", fix)
        yield Check("device", "ok", f"CPU: {device_name('cpu')}, {torch.get_num_threads()} threads")
    else:
        yield Check("CUDA available", "ok", f"yes, {torch.cuda.device_count()} device(s)")
    yield Check("CUDA version", "ok", torch.version.cuda or "none (CPU build of torch)")
    yield driver
    for index in range(torch.cuda.device_count() if reason is None else 0):
        yield from _check_device(index)


def _read_driver() -> Check:
    """The NVIDIA driver through NVML, which is also where the monitor's figures come from."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            found, cuda = pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlSystemGetCudaDriverVersion()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return Check(
            "driver and NVML", "warn", f"none: {error}", "fine without an NVIDIA GPU; the monitor shows CPU and RAM"
        )
    return Check("driver and NVML", "ok", f"{found}, runs CUDA up to {cuda // 1000}.{cuda % 1000 // 10}")


def _check_device(index: int) -> Iterator[Check]:
    import torch

    name, (major, minor) = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    yield Check(f"GPU {index}", "ok", f"{name}, compute capability {major}.{minor}")
    free, total = (amount / 1e9 for amount in torch.cuda.mem_get_info(index))
    found = f"{free:.1f} of {total:.1f} GB free"
    if free < GPU_FREE_WARN_GB:
        fix = "end what else runs there (nvidia-smi lists it), or set STEAM_ASSETS_BATCH_TOKENS lower"
        yield Check(f"GPU {index} memory", "warn", found, fix)
    else:
        yield Check(f"GPU {index} memory", "ok", found)
    # Compute capability 8.0 (Ampere) brought bf16; below it torch emulates it, slowly. The default is fp16 everywhere.
    yield Check(f"GPU {index} bf16", "ok", "supported" if major >= 8 else "not before Ampere; fp16 is the default")


# The model


def _check_model(configured: Callable[[], Model | None], settings: EncoderSettings) -> Check:
    """Encode a text for real: the norm is 1 and the dimension is what the model promises."""
    started = time.monotonic()
    try:
        model = configured()
        chosen = model or find_model(DEMO_MODEL)
        name = chosen.name if model else f"{chosen.name} (the packaged one; none is configured yet)"
        encoder = load_encoder(chosen, settings)
        vector = encoder.encode(["A cozy farming game to play with friends."])[0]
    except (SteamAssetsError, OSError, RuntimeError, ValueError) as error:
        # torch reports a kernel or a library that it lacks as a RuntimeError, numpy another dimension as a ValueError.
        told = str(error) if isinstance(error, SteamAssetsError) else f"{type(error).__name__}: {error}"
        return Check("model", "fail", told)
    norm = float((vector.astype("float64") ** 2).sum() ** 0.5)
    found = (
        f"{name}: {vector.size} numbers, norm {norm:.4f}, {encoder.backend.dtype} on {encoder.backend.device}, "
        f"{time.monotonic() - started:.1f} s with loading"
    )
    if abs(norm - 1) > NORM_TOLERANCE:
        return Check("model", "fail", f"{found}; expected norm 1", "choose another model, or dtype fp32")
    return Check("model", "ok", found)


def _check_disk() -> Check:
    try:
        directory = make_home()
    except SteamAssetsError as error:
        return Check("home", "fail", str(error))
    free = shutil.disk_usage(directory).free / 1e9
    state: State = "fail" if free < DISK_FAIL_GB else "warn" if free < DISK_WARN_GB else "ok"
    fix = "" if state == "ok" else "make room, or set STEAM_ASSETS_HOME to a larger disk"
    return Check("home", state, f"{directory}, {free:.1f} GB free", fix)

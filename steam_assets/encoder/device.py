"""Which device and precision the model runs with, and why. Loading and running it are in torch_backend.py."""

import logging
import os
import platform
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from steam_assets.errors import SteamAssetsError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

DTYPES = ("fp32", "bf16", "fp16")


class DeviceUnavailable(SteamAssetsError):
    """A device or precision that this machine, or this build of torch, does not have."""


def set_allocator_defaults() -> None:
    """Choose CUDA's, torch's and tokenizers' defaults where the user has not; CUDA's first use reads them."""
    # cuda:0 is then the GPU 0 of nvidia-smi and NVML, which CUDA would otherwise number by speed.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    # Segments that grow instead of fragmenting: packs come in many shapes.
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    # One call tokenizes thousands of texts, in Rust threads; unset, the library warns when the process forks later.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def why_no_cuda(device: str = "cuda") -> str | None:
    """Why CUDA cannot be used here; None when it can, which a small computation on ``device`` has shown."""
    set_allocator_defaults()
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a CPU build"
    with warnings.catch_warnings(record=True) as told:  # a driver that is too old is a warning, and then False
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        masked = f"; CUDA_VISIBLE_DEVICES is {visible!r}" if visible is not None else ""
        reasons = "; ".join(str(warning.message).partition("\n")[0] for warning in told)
        return (reasons or "torch sees no CUDA device (no NVIDIA driver, or no device)") + masked
    if int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
        return f"torch sees {torch.cuda.device_count()} CUDA device(s), numbered from 0"
    try:
        torch.ones(2, device=device).sum().item()
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    return None


def find_device(requested: str) -> str:
    """The device for "auto", "cpu", "cuda" or "cuda:N", as torch names it; raises DeviceUnavailable."""
    if requested == "cpu":
        return "cpu"
    if requested != "auto" and not re.fullmatch(r"cuda(:\d+)?", requested):
        raise DeviceUnavailable(
            f"{requested!r} is no device; expected auto, cpu, cuda or cuda:N. Correct STEAM_ASSETS_DEVICE or --device."
        )
    reason = why_no_cuda("cuda" if requested == "auto" else requested)
    if requested == "auto" and reason is not None:
        logger.info("Using the CPU: %s.", reason)
        return "cpu"
    if reason is not None:
        raise DeviceUnavailable(
            f"{requested} was asked for, but {reason}. "
            "`steam-assets doctor` shows what is there; device `auto` or `cpu` works without CUDA."
        )
    import torch

    return f"cuda:{requested.partition(':')[2] or torch.cuda.current_device()}"


def find_dtype(requested: str, device: str) -> str:
    """The precision for "auto", "fp32", "bf16" or "fp16": auto is fp16 on CUDA, fp32 on the CPU."""
    if requested in DTYPES:
        return requested
    if requested != "auto":
        raise DeviceUnavailable(
            f"{requested!r} is no precision; expected auto, {', '.join(DTYPES)}. Correct STEAM_ASSETS_DTYPE or --dtype."
        )
    # fp16 is as fast as bf16 on tensor cores and has three more bits: it kept 99.9 % of the nearest neighbours of real
    # reviews where bf16 kept 99.1 % and was refused (MiniLM, gate.py). An overflow would be no finite vector, and told.
    return "fp32" if device == "cpu" else "fp16"


def torch_dtype(dtype: str) -> "torch.dtype":
    """The torch type of a name in DTYPES."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]


def device_name(device: str) -> str:
    """What the device calls itself."""
    if device == "cpu":
        # platform.processor() is empty on most Linux systems.
        cpuinfo = Path("/proc/cpuinfo")
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
        return found[1].strip() if found else platform.processor() or platform.machine()
    import torch

    return torch.cuda.get_device_name(device)

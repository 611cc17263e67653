"""Where a benchmark ran: what has to stand beside its figures, and whether anything else was running."""

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from steam_assets.encoder.device import device_name

LIBRARIES = (
    *("torch", "transformers", "sentence-transformers", "tokenizers", "openvino", "numpy"),
    *("psycopg2-binary", "psycopg"),
)
QUIET_LOAD = 0.5
"""Of the processors: above that, others take what is being measured."""
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")

Described = dict[str, object]


def describe_machine(device: str | None) -> Described:
    """Processor, memory, GPU, driver and library versions; nothing that names the machine or its directories.

    Without a device torch is not imported: with its objects a full garbage collection takes 0.2 s, and a reader of
    many rows causes one every 33,000 (2026-11).
    """
    found: Described = {
        "cpu": device_name("cpu"),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "bf16_instructions": has_bf16_instructions(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "load_average": round(os.getloadavg()[0], 2),
    }
    if device is None:
        return found
    import torch

    found |= {"device": device, "threads": torch.get_num_threads()}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "driver": _driver(),
        }
    return found


def has_bf16_instructions() -> bool:
    """Whether the processor computes with bf16; others emulate it, a hundred times slower."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text().split() for flag in BF16_FLAGS)


def load_warning(machine: Described) -> str | None:
    """What to say where something else is running."""
    load, cores = float(str(machine["load_average"])), int(str(machine["cores"]))
    if load <= QUIET_LOAD * cores:
        return None
    return f"Load average {load} on {cores} cores: something else is running. Figures of this run are not to be kept."


def machine_lines(machine: Described) -> str:
    """The machine as two lines of text."""
    libraries = machine["libraries"]
    assert isinstance(libraries, dict)
    gpu = f", {machine['gpu']} {machine['gpu_memory_gb']} GB, driver {machine['driver']}" if "gpu" in machine else ""
    threads = f", {machine['threads']} threads" if "threads" in machine else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores{threads}, {machine['memory_gb']} GB{gpu}, "
        f"load average {machine['load_average']}\n"
        + ", ".join(f"{name} {found}" for name, found in libraries.items() if found is not None)
    )


def _version(library: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(library)
    return None


def _driver() -> str | None:
    try:
        import pynvml
    except ImportError:
        return None
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    return None

"""The devices of this host that take one process each: CUDA devices by their UUID, or CPU workers. No SQL, no model.

Who has which of them is device_lease.py's.
"""

import os
import socket
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from steam_assets.encoder.device import find_device
from steam_assets.settings import integer_setting

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Device:
    """A device: ``torch_name`` is what torch calls it in this process, "cuda:1" or "cpu", and ``name`` what it is.

    A GPU's name is its UUID, the same to every process and container; others are told apart by ``host``.
    """

    torch_name: str
    name: str
    host: str | None = None

    @property
    def identity(self) -> str:
        """The same for everyone who means this device, and for nobody who means another."""
        return self.name if self.host is None else f"{self.name} of {self.host}"

    def __str__(self) -> str:
        return self.name if self.torch_name == "cpu" else f"{self.torch_name}, {self.name}"


def find_devices(requested: str) -> list[Device]:
    """What "auto", "cpu", "cuda" or "cuda:N" may be here, in CUDA's order; raises DeviceUnavailable.

    "cuda" is any of this process's CUDA devices.
    """
    if requested == "cpu":
        return cpu_workers()
    chosen = [device for device in cuda_devices() if requested in ("auto", "cuda", device.torch_name)]
    if chosen:
        return chosen
    # NVML knows of none: torch says why there is none, or that there is one all the same.
    if find_device(requested) == "cpu":
        return cpu_workers()
    return [device for device in torch_devices() if requested in ("auto", "cuda", device.torch_name)]


def count_devices(requested: str) -> int:
    """How many processes can have a device of their own, at least one; neither torch nor CUDA is asked."""
    if requested == "cpu":
        return len(cpu_workers())
    gpus = cuda_devices()
    if requested == "auto" and not gpus:
        return len(cpu_workers())
    return max(1, sum(requested in ("auto", "cuda", device.torch_name) for device in gpus))


def cpu_workers() -> list[Device]:
    """``STEAM_ASSETS_CPU_WORKERS`` places for processes on this host's CPU, one unless it says more."""
    return [Device("cpu", f"cpu#{n}", this_host()) for n in range(integer_setting("STEAM_ASSETS_CPU_WORKERS") or 1)]


def cuda_devices() -> list[Device]:
    """The CUDA devices of this process, as NVML and CUDA_VISIBLE_DEVICES have them; none where they cannot tell."""
    if os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID") != "PCI_BUS_ID" or _is_cpu_build():
        return []
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        try:
            return [Device(f"cuda:{index}", uuid) for index, uuid in enumerate(visible_uuids(pynvml))]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []


def visible_uuids(nvml: Any) -> list[str]:
    """The UUIDs of the devices that CUDA_VISIBLE_DEVICES leaves, in its order: by number, UUID, or the start of one."""
    handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
    uuids = [str(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return uuids
    found: list[str] = []
    for entry in map(str.strip, visible.split(",")):
        if entry.isdecimal():
            meant = uuids[int(entry) : int(entry) + 1]
        elif entry.startswith("MIG-"):  # a slice of a GPU, which NVML does not count
            meant = [entry]
        else:
            meant = [uuid for uuid in uuids if entry and uuid.startswith(entry)]
        if len(meant) != 1:
            break  # CUDA ignores what it does not know, and everything after it
        found += meant
    return found


def torch_devices() -> list[Device]:
    """The CUDA devices that torch sees, which is asked where NVML cannot tell: AMD's, or another order of devices."""
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
        if uuid is None:
            found.append(Device(f"cuda:{index}", f"gpu#{index}", this_host()))
        else:
            found.append(Device(f"cuda:{index}", f"GPU-{uuid}"))
    return found


@cache
def this_host() -> str:
    """This host until it is restarted: a container has a name, and so CPU workers, of its own."""
    boot = BOOT_ID.read_text()[:8] if BOOT_ID.exists() else "no boot id"
    return f"{socket.gethostname()}/{boot}"


def _is_cpu_build() -> bool:
    """Whether torch's version says that it knows no GPU, without importing it."""
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return True

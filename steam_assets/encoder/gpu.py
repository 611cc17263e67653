"""What NVML says about the CUDA device in use, and which of NVML's devices that is. No torch is imported here."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any


class Gpu:
    """The NVML side of a CUDA device; a figure that it does not have is None, ``error`` is what else NVML raises."""

    def __init__(self, device: str) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self.error: type[Exception] = pynvml.NVMLError
        absent = ("NVMLError_NotSupported", "NVMLError_NoPermission", "NVMLError_FunctionNotFound")
        self._absent: tuple[type[Exception], ...] = tuple(getattr(pynvml, name) for name in absent)
        pynvml.nvmlInit()
        try:
            self._handle = find_handle(pynvml, int(device.partition(":")[2] or 0))
        except BaseException:
            pynvml.nvmlShutdown()
            raise

    def sample(self) -> dict[str, float | None]:
        """Utilisation, memory, temperature and power now."""
        nvml = self._nvml
        return {
            "gpu_util_percent": self._ask(lambda: float(nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)),
            "gpu_memory_percent": self._ask(self._memory_percent),
            "gpu_temperature_c": self._ask(
                lambda: float(nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU))
            ),
            "gpu_power_w": self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000),
        }

    def energy_wh(self) -> float | None:
        """What the device has used since its driver was loaded; GPUs before Volta do not count it."""
        return self._ask(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 3_600_000)

    def close(self) -> None:
        """Let go of NVML, which counts its users."""
        with contextlib.suppress(self.error):
            self._nvml.nvmlShutdown()

    def _memory_percent(self) -> float:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        return float(100 * memory.used / memory.total)

    def _ask(self, question: Callable[[], float]) -> float | None:
        try:
            return question()
        except self._absent:
            return None


def find_handle(nvml: Any, index: int) -> Any:
    """NVML's handle of ``cuda:index``, which need not be NVML's device of that number."""
    # torch knows best: CUDA may order devices by speed, NVML orders them by bus. A MIG slice is not found this way.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        with contextlib.suppress(AttributeError, nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(index).uuid}")
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    wanted = visible[index] if index < len(visible) else str(index)
    if wanted.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(wanted))
    # CUDA accepts the beginning of a UUID, NVML only the whole.
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        if nvml.nvmlDeviceGetUUID(handle).startswith(wanted):
            return handle
    return nvml.nvmlDeviceGetHandleByUUID(wanted)

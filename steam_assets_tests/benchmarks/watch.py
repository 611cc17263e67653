"""What a piece of work takes: seconds, memory and the GPU's use."""

import time
from contextlib import suppress
from pathlib import Path

from steam_assets.encoder.memory import peak_memory_bytes, reset_peak_memory
from steam_assets.encoder.monitor import SystemMonitor

SAMPLE_EVERY_S = 0.1
CLEAR_REFS = Path("/proc/self/clear_refs")


class Watch:
    """Seconds, peak memory and the GPU's use between enter and exit; on CUDA the device is waited for at both ends.

    ``peak_bytes`` is on CUDA what was allocated on top of what was there before; on the CPU it is the most that the
    process occupied, every loaded model included. ``gpu_busy_percent`` is NVML's mean, None without NVML.
    """

    def __init__(self, device: str) -> None:
        self.seconds = 0.0
        self.peak_bytes = 0
        self.gpu_busy_percent: float | None = None
        self._device = device
        self._monitor = SystemMonitor(device, lambda _line: None, sample_every_s=SAMPLE_EVERY_S)

    def __enter__(self) -> "Watch":
        self._synchronize()
        self._reset_peak()
        self._before = allocated_bytes(self._device)
        self._monitor.__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self._synchronize()
            self.seconds = time.perf_counter() - self._started
        finally:
            self._monitor.__exit__(*raised)
        self.gpu_busy_percent = self._monitor.summary().gpu_util_percent_mean
        self.peak_bytes = peak_memory_bytes(self._device) - self._before

    def _synchronize(self) -> None:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)

    def _reset_peak(self) -> None:
        reset_peak_memory(self._device)
        if self._device == "cpu":
            # Linux forgets a process's peak when 5 is written there; elsewhere it stays the peak since the start.
            with suppress(OSError):
                CLEAR_REFS.write_text("5")


def allocated_bytes(device: str) -> int:
    """What tensors occupy on a CUDA device; 0 on the CPU, where nobody counts."""
    if not device.startswith("cuda"):
        return 0
    import torch

    return int(torch.cuda.memory_allocated(device))

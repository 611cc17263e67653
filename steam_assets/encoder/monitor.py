"""How hard the machine works while a model runs: samples in a background thread. Asking the GPU is gpu.py."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

import psutil

from steam_assets.encoder.gpu import Gpu

SAMPLE_EVERY_S = 2.0
STATS_EVERY_S = 30.0
SHORTEST_LOOK_S = 0.1
"""CPU use is a mean since the sample before; over less time than this it is noise."""


@dataclass(frozen=True)
class MonitorSummary:
    """Means and peaks over ``seconds``; None where the machine does not say. Energy is of the whole device."""

    seconds: float
    cpu_percent_mean: float | None = None
    cpu_percent_peak: float | None = None
    ram_percent_mean: float | None = None
    ram_percent_peak: float | None = None
    gpu_util_percent_mean: float | None = None
    gpu_util_percent_peak: float | None = None
    gpu_memory_percent_mean: float | None = None
    gpu_memory_percent_peak: float | None = None
    gpu_temperature_c_mean: float | None = None
    gpu_temperature_c_peak: float | None = None
    gpu_power_w_mean: float | None = None
    gpu_power_w_peak: float | None = None
    gpu_energy_wh: float | None = None


@dataclass(frozen=True)
class Sample:
    """One look at the machine; None where it does not say."""

    cpu_percent: float
    ram_percent: float
    gpu_util_percent: float | None = None
    gpu_memory_percent: float | None = None
    gpu_temperature_c: float | None = None
    gpu_power_w: float | None = None

    def __str__(self) -> str:
        parts = [f"CPU: {self.cpu_percent:.1f}%", f"RAM: {self.ram_percent:.1f}%"]
        if self.gpu_util_percent is not None:
            parts.append(f"GPU: {self.gpu_util_percent:.0f}%")
        if self.gpu_memory_percent is not None:
            parts.append(f"Mem: {self.gpu_memory_percent:.1f}%")
        if self.gpu_temperature_c is not None:
            parts.append(f"Temp: {self.gpu_temperature_c:.0f}°C")
        return " | ".join(parts)


@dataclass(frozen=True)
class Figure:
    """The mean and the peak of the values seen."""

    total: float = 0.0
    count: int = 0
    peak: float = 0.0

    @property
    def mean(self) -> float:
        """The plain mean: samples are taken at even times."""
        return self.total / self.count

    def including(self, value: float) -> "Figure":
        """The figure with one more value."""
        return Figure(self.total + value, self.count + 1, max(self.peak, value))


class SystemMonitor:
    """Samples in a thread between enter and exit, and tells ``log`` a STATS line at once and then regularly.

    NVML may be absent, or fail half-way: that is told once, and everything else goes on.
    """

    _cpu_since: ClassVar[float | None] = None
    _cpu_percent: ClassVar[float] = 0.0

    def __init__(
        self,
        device: str,
        log: Callable[[str], None],
        stats_every_s: float = STATS_EVERY_S,
        sample_every_s: float = SAMPLE_EVERY_S,
    ) -> None:
        self._device = device
        self._log = log
        self._stats_every_s = stats_every_s
        self._sample_every_s = min(sample_every_s, stats_every_s)
        self._stop = threading.Event()
        self._gpu: Gpu | None = None
        self._told_failure = False
        self._figures: dict[str, Figure] = {}
        self._energy_wh: float | None = None
        self._started = self._ended = 0.0
        self._latest = Sample(cpu_percent=0.0, ram_percent=0.0)

    def __enter__(self) -> "SystemMonitor":
        self._started = time.monotonic()
        self._gpu = self._open_gpu()
        self._energy_at_start = self._read_energy_wh()
        self._look()
        self._thread = threading.Thread(target=self._run, name="system-monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if time.monotonic() - self._looked >= SHORTEST_LOOK_S:
            self._look()
        at_end = self._read_energy_wh()
        if at_end is not None and self._energy_at_start is not None:
            self._energy_wh = at_end - self._energy_at_start
        self._ended = time.monotonic()
        if self._gpu is not None:
            self._gpu.close()

    def stats_line(self) -> str:
        """The latest sample: "CPU: 12.3% | RAM: 45.6% | GPU: 98% | Mem: 71.2% | Temp: 66°C"."""
        return str(self._latest)

    def note(self, event: str) -> None:
        """Log something that happened, beside the latest sample."""
        self._log(f"EVENT - {event} | {self._latest}")

    def summary(self) -> MonitorSummary:
        """What was seen so far; ``gpu_energy_wh`` is known when the monitor has ended."""
        seconds = (self._ended or time.monotonic()) - self._started
        found = {f"{name}_mean": figure.mean for name, figure in self._figures.items()}
        found |= {f"{name}_peak": figure.peak for name, figure in self._figures.items()}
        return MonitorSummary(seconds=seconds, gpu_energy_wh=self._energy_wh, **found)

    def _run(self) -> None:
        tell_at = time.monotonic()
        while True:
            if time.monotonic() >= tell_at:
                self._log(f"STATS - {self._latest}")
                tell_at += self._stats_every_s
            if self._stop.wait(self._sample_every_s):
                return
            self._look()

    @classmethod
    def _cpu(cls) -> float:
        """CPU use since the look before: psutil remembers one time for the whole process, so all monitors share it."""
        if cls._cpu_since is None:
            psutil.cpu_percent()
            time.sleep(SHORTEST_LOOK_S)
        now = time.monotonic()
        if cls._cpu_since is None or now - cls._cpu_since >= SHORTEST_LOOK_S:
            cls._cpu_percent, cls._cpu_since = psutil.cpu_percent(), now
        return cls._cpu_percent

    def _look(self) -> None:
        gpu: dict[str, float | None] = {}
        if self._gpu is not None:
            try:
                gpu = self._gpu.sample()
            except self._gpu.error as error:
                self._tell_failure(error)
        self._looked = time.monotonic()
        self._latest = Sample(self._cpu(), psutil.virtual_memory().percent, **gpu)
        for name, value in asdict(self._latest).items():
            if value is not None:
                self._figures[name] = self._figures.get(name, Figure()).including(value)

    def _open_gpu(self) -> Gpu | None:
        if not self._device.startswith("cuda"):
            return None
        try:
            import pynvml
        except ImportError as error:
            self._tell_failure(error)
            return None
        try:
            return Gpu(self._device)
        except pynvml.NVMLError as error:
            self._tell_failure(error)
            return None

    def _read_energy_wh(self) -> float | None:
        if self._gpu is None:
            return None
        try:
            return self._gpu.energy_wh()
        except self._gpu.error as error:
            self._tell_failure(error)
            return None

    def _tell_failure(self, error: Exception) -> None:
        if not self._told_failure:
            self._told_failure = True
            self._log(f"NVML does not answer ({error}): statistics go on without the GPU's while it does not.")

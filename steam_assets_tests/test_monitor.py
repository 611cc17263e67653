"""Statistics of the machine, with a stand-in for NVIDIA's library where a GPU is needed."""

import re
import sys
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from steam_assets.encoder.gpu import find_handle
from steam_assets.encoder.monitor import SystemMonitor

CPU_LINE = r"CPU: \d+\.\d% \| RAM: \d+\.\d%"
UUIDS = ["GPU-aaaa1111-0000", "GPU-bbbb2222-0000", "GPU-bbbb3333-0000"]


class Nvml(types.ModuleType):
    """The part of pynvml that is used, for three GPUs; ``broken`` makes every question fail."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """As in pynvml."""

    class NVMLError_NotSupported(NVMLError):  # noqa: N801  # pynvml's name
        """As in pynvml."""

    class NVMLError_NoPermission(NVMLError):  # noqa: N801
        """As in pynvml."""

    class NVMLError_FunctionNotFound(NVMLError):  # noqa: N801
        """As in pynvml."""

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.broken = False
        self.users = 0
        self.millijoules = 7_200_000

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetCount": lambda: len(UUIDS),
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetHandleByUUID": UUIDS.index,
            "nvmlDeviceGetUUID": lambda handle: UUIDS[handle],
            "nvmlDeviceGetUtilizationRates": lambda handle: types.SimpleNamespace(gpu=98 - handle),
            "nvmlDeviceGetMemoryInfo": lambda _: types.SimpleNamespace(used=712, total=1000),
            "nvmlDeviceGetTemperature": lambda _handle, _kind: 66,
            "nvmlDeviceGetPowerUsage": lambda _: 250_000,
            "nvmlDeviceGetTotalEnergyConsumption": self._energy,
        }
        if name not in answers:
            raise AttributeError(name)
        if self.broken:
            raise self.NVMLError("GPU is lost")
        return answers[name]

    def nvmlInit(self) -> None:  # noqa: N802
        """Count the users, as NVML does."""
        self.users += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        """One user less."""
        self.users -= 1

    def _energy(self, _: object) -> int:
        self.millijoules += 3_600_000
        return self.millijoules


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nvml]:
    """NVIDIA's library for three GPUs."""
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield stand_in
    assert stand_in.users == 0


def until(condition: Any, seconds: float = 10) -> None:
    """Wait for the monitor's thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_without_a_gpu_the_line_has_cpu_and_memory_only() -> None:
    """The first STATS line comes at once."""
    told: list[str] = []
    with SystemMonitor("cpu", told.append) as monitor:
        until(lambda: told)
        line = monitor.stats_line()
    assert re.fullmatch(CPU_LINE, line)
    assert told == [f"STATS - {line}"]
    assert asdict(monitor.summary())["gpu_util_percent_mean"] is None


def test_with_a_gpu_the_line_is_the_predecessors(nvml: Nvml) -> None:
    """Utilisation, memory and temperature of the device in use."""
    with SystemMonitor("cuda:0", lambda _: None) as monitor:
        line = monitor.stats_line()
    assert re.fullmatch(CPU_LINE + r" \| GPU: 98% \| Mem: 71\.2% \| Temp: 66°C", line)
    assert nvml.users == 0


def test_stats_lines_come_regularly() -> None:
    """Every ``stats_every_s``, also when samples are asked for less often."""
    told: list[str] = []
    with SystemMonitor("cpu", told.append, stats_every_s=0.02, sample_every_s=60):
        until(lambda: len(told) >= 5)
    assert all(re.fullmatch("STATS - " + CPU_LINE, line) for line in told)


def test_a_monitor_ends_at_once() -> None:
    """It does not sleep its interval out, and leaves no thread behind."""
    with SystemMonitor("cpu", lambda _: None, sample_every_s=60):
        time.sleep(0.02)
        started = time.monotonic()
    assert time.monotonic() - started < 0.2
    assert "system-monitor" not in [thread.name for thread in threading.enumerate()]


def test_a_summary_holds_means_peaks_and_energy(nvml: Nvml) -> None:
    """Plain numbers, as metadata needs them; the energy is the counter's difference."""
    with SystemMonitor("cuda:1", lambda _: None, sample_every_s=0.01) as monitor:
        time.sleep(0.05)
    found = monitor.summary()
    assert found.gpu_util_percent_mean == found.gpu_util_percent_peak == 97
    assert found.gpu_power_w_mean == 250
    assert found.gpu_energy_wh == 1
    assert found.ram_percent_peak is not None
    assert 0 < found.ram_percent_peak <= 100
    assert 0.05 <= found.seconds < 10
    assert all(value is None or type(value) is float for value in asdict(found).values())


def test_nvml_failing_half_way_is_told_once_and_the_rest_goes_on(nvml: Nvml) -> None:
    """And its figures come back when it does."""
    told: list[str] = []
    with SystemMonitor("cuda:0", told.append, stats_every_s=0.01) as monitor:
        until(lambda: told)
        nvml.broken = True
        until(lambda: re.fullmatch(CPU_LINE, monitor.stats_line()))
        lines = len(told)
        until(lambda: len(told) > lines + 5)
        nvml.broken = False
        until(lambda: "GPU: 98%" in monitor.stats_line())
    failures = [line for line in told if not line.startswith("STATS - ")]
    assert failures == ["NVML does not answer (GPU is lost): statistics go on without the GPU's while it does not."]


def test_a_machine_without_nvml_is_monitored_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library may not even be installed."""
    told: list[str] = []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with SystemMonitor("cuda:0", told.append) as monitor:
        assert re.fullmatch(CPU_LINE, monitor.stats_line())
    assert told[0].startswith("NVML does not answer")


def test_a_figure_the_gpu_does_not_have_is_left_out(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of a GPU has no utilisation, an old one no energy counter."""

    def unsupported(_: object) -> None:
        raise Nvml.NVMLError_NotSupported("Not Supported")

    monkeypatch.setattr(nvml, "nvmlDeviceGetUtilizationRates", unsupported, raising=False)
    monkeypatch.setattr(nvml, "nvmlDeviceGetTotalEnergyConsumption", unsupported, raising=False)
    told: list[str] = []
    with SystemMonitor("cuda:0", told.append) as monitor:
        line = monitor.stats_line()
    assert re.fullmatch(CPU_LINE + r" \| Mem: 71\.2% \| Temp: 66°C", line)
    assert monitor.summary().gpu_energy_wh is None
    assert monitor.summary().gpu_power_w_peak == 250
    assert not [line for line in told if "NVML" in line]


@pytest.mark.parametrize(
    ("visible", "index", "expected"),
    [
        (None, 2, 2),
        ("2,0", 0, 2),
        ("2, 0", 1, 0),
        ("GPU-bbbb3333-0000,GPU-aaaa1111-0000", 0, 2),
        ("GPU-bbbb3", 0, 2),
        ("", 1, 1),
    ],
)
def test_the_gpu_watched_is_the_one_in_use(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str | None, index: int, expected: int
) -> None:
    """CUDA_VISIBLE_DEVICES renumbers devices, by number, UUID or the beginning of one."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_handle(nvml, index) == expected


@pytest.mark.gpu
def test_a_real_gpu_is_watched() -> None:
    """Every figure of the line is there."""
    import torch

    torch.ones(1, device="cuda")
    with SystemMonitor("cuda:0", lambda _: None) as monitor:
        assert "Temp:" in monitor.stats_line()

"""GPU gauges for Prometheus, as NVML has them now; nothing where there is no NVIDIA GPU. Asking it: encoder/gpu.py."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from steam_assets.encoder.gpu import Gpu

JOULES_PER_WH = 3600


@dataclass(frozen=True)
class GpuGauge:
    """A gauge: its name, its help, and what one of its units is in the sample's."""

    name: str
    documentation: str
    unit: float = 1.0


GAUGES: Mapping[str, GpuGauge] = {
    "gpu_util_percent": GpuGauge("gpu_utilization_ratio", "How much of the time the GPU was at work, 0 to 1.", 100),
    "gpu_memory_percent": GpuGauge("gpu_memory_used_ratio", "Used memory of the GPU, 0 to 1.", 100),
    "gpu_temperature_c": GpuGauge("gpu_temperature_celsius", "Temperature of the GPU."),
    "gpu_power_w": GpuGauge("gpu_power_watts", "What the GPU takes now."),
}


def gpu_families() -> Iterator[Metric]:
    """Gauges of the GPUs that CUDA may use here, numbered as CUDA does; a figure that one does not have is left out."""
    gauges = {
        name: GaugeMetricFamily(f"steam_assets_{gauge.name}", gauge.documentation, labels=["gpu"])
        for name, gauge in GAUGES.items()
    }
    energy = CounterMetricFamily(
        "steam_assets_gpu_energy_joules", "What the GPU has used since its driver was loaded.", labels=["gpu"]
    )
    for number, figures, energy_wh in samples():
        for name, value in figures.items():
            if value is not None:
                gauges[name].add_metric([str(number)], value / GAUGES[name].unit)
        if energy_wh is not None:
            energy.add_metric([str(number)], energy_wh * JOULES_PER_WH)
    yield from (family for family in (*gauges.values(), energy) if family.samples)


def samples() -> Iterator[tuple[int, Mapping[str, float | None], float | None]]:
    """Each GPU's number, figures and energy in Wh; one that does not answer is left out."""
    try:
        import pynvml
    except ImportError:
        return
    try:
        for number in range(visible_gpus()):
            with closing(Gpu(f"cuda:{number}")) as gpu:
                yield number, gpu.sample(), gpu.energy_wh()
    except pynvml.NVMLError:
        return


def visible_gpus() -> int:
    """How many GPUs CUDA may use here."""
    import pynvml

    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return sum(bool(entry.strip()) for entry in visible.split(","))
    pynvml.nvmlInit()
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()

"""GPU gauges of a scrape, with a stand-in for NVIDIA's library."""

import sys
from collections.abc import Iterator

import pytest

from steam_assets.gpu_metrics import gpu_families
from steam_assets_tests.test_monitor import UUIDS, Nvml


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nvml]:
    """NVIDIA's library for three GPUs; nobody keeps it open."""
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield stand_in
    assert stand_in.users == 0


def gauges() -> dict[str, dict[str, float]]:
    """Each metric's values by GPU."""
    return {
        family.samples[0].name.removeprefix("steam_assets_gpu_"): {
            sample.labels["gpu"]: sample.value for sample in family.samples
        }
        for family in gpu_families()
    }


def test_shares_are_from_0_to_1_and_energy_is_in_joules(nvml: Nvml) -> None:
    """Base units, as Prometheus wants them."""
    found = gauges()
    assert found["utilization_ratio"] == {"0": 0.98, "1": 0.97, "2": 0.96}
    assert found["memory_used_ratio"]["0"] == pytest.approx(0.712)
    assert (found["temperature_celsius"]["1"], found["power_watts"]["2"]) == (66, 250)
    assert found["energy_joules_total"]["0"] == 10_800


@pytest.mark.parametrize(
    ("visible", "utilization"), [(f"{UUIDS[2]},{UUIDS[1]}", {"0": 0.96, "1": 0.97}), ("1", {"0": 0.97}), ("", {})]
)
def test_gpus_are_those_that_cuda_may_use_numbered_as_it_does(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str, utilization: dict[str, float]
) -> None:
    """What others do on the rest of the machine is theirs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gauges().get("utilization_ratio", {}) == utilization


def test_a_figure_that_the_gpu_does_not_have_is_left_out(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """No zero stands for what is not known."""

    def not_supported(handle: int) -> float:
        raise nvml.NVMLError_NotSupported

    monkeypatch.setattr(nvml, "nvmlDeviceGetPowerUsage", not_supported, raising=False)
    assert set(gauges()) == {"utilization_ratio", "memory_used_ratio", "temperature_celsius", "energy_joules_total"}


def test_a_gpu_that_is_lost_takes_nothing_else_with_it(nvml: Nvml) -> None:
    """NVML fails: there are no gauges, and no error."""
    nvml.broken = True
    assert gauges() == {}


def test_a_machine_without_nvml_has_no_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most that run this have no NVIDIA GPU."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gauges() == {}

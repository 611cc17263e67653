"""Every process means the same GPU by the same name, whatever it can see; CPU workers are as many as were asked for."""

import subprocess
import sys

import pytest

from steam_assets.encoder import devices
from steam_assets.encoder.device import DeviceUnavailable
from steam_assets.encoder.devices import Device, count_devices, cuda_devices, find_devices, this_host
from steam_assets.errors import SteamAssetsError
from steam_assets_tests.test_monitor import UUIDS, Nvml


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """NVIDIA's library for three GPUs, and a torch that could use them."""
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.setattr(devices, "_is_cpu_build", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    return stand_in


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        (" 1 ", [1]),
        ("GPU-bbbb3333-0000,GPU-aaaa1111-0000", [2, 0]),
        ("GPU-aaaa", [0]),
        ("GPU-bbbb", []),  # two begin like this
        ("1,7,0", [1]),  # CUDA stops at what it does not know
        ("-1", []),
        ("", []),
    ],
)
def test_a_gpu_is_known_by_its_uuid_whatever_a_process_can_see(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[int]
) -> None:
    """CUDA_VISIBLE_DEVICES renumbers devices: the second of one process is the first of another, and one lease."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = cuda_devices()
    assert [device.identity for device in found] == [UUIDS[index] for index in expected]
    assert [device.torch_name for device in found] == [f"cuda:{index}" for index in range(len(expected))]
    assert nvml.users == 0


def test_a_slice_of_a_gpu_is_a_device(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slices of one GPU take two processes."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-8f3e-1")
    assert [device.identity for device in cuda_devices()] == ["MIG-8f3e-1"]


@pytest.mark.parametrize(
    ("requested", "expected"), [("auto", [0, 1, 2]), ("cuda", [0, 1, 2]), ("cuda:1", [1])], ids=str
)
@pytest.mark.usefixtures("nvml")
def test_any_gpu_will_do_unless_one_is_named(requested: str, expected: list[int]) -> None:
    """No torch is asked where NVML knows."""
    assert find_devices(requested) == [Device(f"cuda:{index}", UUIDS[index]) for index in expected]
    assert count_devices(requested) == len(expected)


@pytest.mark.usefixtures("nvml")
def test_cpu_workers_are_told_apart_by_number_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """One unless the environment says more; `auto` means them where CUDA has no device."""
    assert find_devices("cpu") == [Device("cpu", "cpu#0", this_host())]
    monkeypatch.setenv("STEAM_ASSETS_CPU_WORKERS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = find_devices("cpu")
    assert [device.identity for device in found] == [f"cpu#{n} of {this_host()}" for n in range(2)]
    assert [str(device) for device in found] == ["cpu#0", "cpu#1"]
    assert count_devices("auto") == count_devices("cpu") == 2
    monkeypatch.setenv("STEAM_ASSETS_CPU_WORKERS", "0")
    with pytest.raises(SteamAssetsError, match="STEAM_ASSETS_CPU_WORKERS is '0'; expected a whole number above 0"):
        find_devices("cpu")


def test_where_nvml_knows_of_no_gpu_torch_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CUDA `auto` is the CPU, and who insists is told why not; the library may not even be installed."""
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(devices, "_is_cpu_build", lambda: False)
    assert cuda_devices() == []
    assert find_devices("auto") == find_devices("cpu")
    assert count_devices("cuda:1") == 1
    with pytest.raises(DeviceUnavailable, match=r"cuda was asked for, but torch .* is a CPU build"):
        find_devices("cuda")
    with pytest.raises(DeviceUnavailable, match="expected auto, cpu, cuda or cuda:N"):
        find_devices("gpu")


def test_an_nvml_that_fails_knows_of_no_gpu(nvml: Nvml) -> None:
    """And is let go of."""
    nvml.broken = True
    assert cuda_devices() == []
    assert nvml.users == 0


@pytest.mark.usefixtures("nvml")
def test_numbers_of_another_order_are_not_nvml_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CUDA numbers GPUs by speed, torch is asked which one has which."""
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert cuda_devices() == []


def test_counting_devices_imports_no_torch() -> None:
    """`up` counts them before it starts anything."""
    script = (
        "import sys\nfrom steam_assets.encoder.devices import count_devices\n"
        "assert count_devices('auto') >= 1\nprint('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == "False", ended.stderr


@pytest.mark.gpu
def test_nvml_and_torch_mean_the_same_gpu_by_a_number() -> None:
    """And by a UUID."""
    assert cuda_devices() == devices.torch_devices()

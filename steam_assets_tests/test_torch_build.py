"""Which build of torch a machine gets: the driver's and the GPU's say, and what the index has."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.torch_build import BootstrapError, Driver, choose_build, find_driver, pip_requirement
from steam_assets_tests.miniature_checkout import served, write_indexes

BANNER = """
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.95.05              Driver Version: 580.95.05      CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
"""
BANNER_610 = """
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 610.43.02              KMD Version: 610.43.02     CUDA UMD Version: 13.3     |
+-----------------------------------------+------------------------+----------------------+
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the only nvidia-smi on PATH; there is none until a test writes it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def write_nvidia_smi(path: Path, banner: str, capabilities: str) -> None:
    """A program that answers as NVIDIA's does."""
    path.write_text(f"#!/bin/sh\nif [ $# -gt 0 ]; then echo '{capabilities}'; else echo '{banner}'; fi\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("cuda", "gpu", "build"),
    [
        ((13, 3), 9.0, "cu132"),
        ((13, 2), 8.6, "cu132"),
        ((13, 1), 8.9, "cu130"),
        ((13, 0), 12.0, "cu130"),
        ((12, 8), 8.6, "cu126"),
        ((12, 2), 8.6, "cu126"),  # minor version compatibility
        ((13, 0), 6.1, "cu126"),  # Pascal: CUDA 13 has no kernels for it
        ((13, 0), None, "cu130"),  # a driver that does not tell
        ((12, 8), 12.0, "cpu"),  # Blackwell needs CUDA 13, the driver does not have it
        ((11, 8), 8.6, "cpu"),
    ],
)
def test_the_newest_build_that_driver_and_gpu_run_is_chosen(
    cuda: tuple[int, int], gpu: float | None, build: str
) -> None:
    """auto takes the newest CUDA build that the driver supports and that has kernels for the GPU, else the CPU's."""
    assert choose_build("auto", Driver(cuda, gpu)) == build


def test_a_build_that_is_named_is_taken_as_named() -> None:
    """cpu beside a GPU, and a CUDA build on a machine without one, are what they say."""
    assert choose_build("cpu", Driver((13, 0), 9.0)) == "cpu"
    assert choose_build("cu126", None) == "cu126"
    assert choose_build("auto", None) == "cpu"
    assert choose_build("cuda", None).startswith("cu1")


def test_cuda_with_a_driver_that_is_too_old_says_what_to_do() -> None:
    """--torch cuda never ends in a build that cannot run: the error names what was found and the driver."""
    with pytest.raises(BootstrapError, match=r"CUDA 11\.8.*compute capability 8\.6.*Update the NVIDIA driver"):
        choose_build("cuda", Driver((11, 8), 8.6))


@pytest.mark.parametrize(
    ("banner", "capabilities", "driver"),
    [
        (BANNER, "8.6", Driver((13, 0), 8.6)),
        (BANNER_610, "7.5\n12.0", Driver((13, 3), 12.0)),
        (BANNER, "[N/A]", Driver((13, 0), None)),
        ("NVIDIA-SMI 550.54   Driver Version: 550.54   CUDA Version: N/A", "8.0", None),
    ],
)
def test_old_and_new_words_of_nvidia_smi_are_understood(
    nvidia_smi: Path, banner: str, capabilities: str, driver: Driver | None
) -> None:
    """Driver 610 calls it CUDA UMD Version; of several GPUs the newest counts; N/A is no CUDA."""
    write_nvidia_smi(nvidia_smi, banner, capabilities)
    assert find_driver() == driver


def test_a_driver_that_does_not_answer_counts_as_none(nvidia_smi: Path) -> None:
    """nvidia-smi that fails, as after an update without a restart, leads to the CPU build, not to an error."""
    assert find_driver() is None
    nvidia_smi.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    nvidia_smi.chmod(0o755)
    assert find_driver() is None


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """PyTorch's index, with the builds cpu and cu126 of one version."""
    directory = tmp_path_factory.mktemp("indexes")
    write_indexes(directory)
    with served(directory) as address:
        yield f"{address}/pytorch"


def test_the_exact_build_is_asked_for_where_the_index_has_it(index: str) -> None:
    """pip gets version and build, and the index beside the user's own."""
    expected = ["torch==2.13.0+cu126", "--extra-index-url", f"{index}/cu126"]
    assert pip_requirement("cu126", "2.13.0", "auto", index, {}) == expected


def test_a_build_that_the_index_lacks_falls_back_unless_it_was_named(index: str) -> None:
    """auto and cuda take the plain wheel; a build asked for by name is an error that says what to use instead."""
    assert pip_requirement("cu132", "2.13.0", "cuda", index, {}) == ["torch==2.13.0"]
    assert pip_requirement("cpu", "2.99.0", "auto", index, {}) == ["torch==2.99.0"]
    with pytest.raises(BootstrapError, match=r"has no torch 2\.13\.0.*expected exactly cu132.*--torch auto"):
        pip_requirement("cu132", "2.13.0", "cu132", index, {})


def test_an_index_out_of_reach_costs_seconds(index: str) -> None:
    """A closed port, a name that nobody knows, and a server that accepts and stays silent end in the plain wheel."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closing:
        port, closed = silent.getsockname()[1], closing.getsockname()[1]
        closing.close()
        for address in (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{closed}", "http://nobody.invalid", "nonsense"):
            started = time.monotonic()
            assert pip_requirement("cpu", "2.13.0", "auto", address, {}) == ["torch==2.13.0"]
            assert time.monotonic() - started < 4
    assert pip_requirement("cpu", "2.13.0", "auto", index, {"proxy": f"http://127.0.0.1:{closed}"}) == ["torch==2.13.0"]

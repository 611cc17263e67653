"""Which build of torch a machine should have, and what to ask pip for. Installing it is bootstrap.py.

Standard library only; nothing here writes to the machine.
"""

import logging
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

log = logging.getLogger("bootstrap")

TORCH_INDEX = "https://download.pytorch.org/whl"
PROBE_S = 3.0
READ_S = 30.0


class BootstrapError(Exception):
    """Something needed is missing or failed; the message says what, and what to do next."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class CudaBuild:
    """A CUDA build of torch, and the compute capabilities of the GPUs that it has kernels for."""

    name: str
    cuda: tuple[int, int]
    oldest_gpu: float
    newest_gpu: float


# Newest first, for torch 2.12 to 2.14: "PyTorch CUDA Support Matrix" in RELEASE.md of pytorch/pytorch.
CUDA_BUILDS = (
    CudaBuild("cu132", (13, 2), 7.5, 99.0),
    CudaBuild("cu130", (13, 0), 7.5, 99.0),
    CudaBuild("cu126", (12, 6), 5.0, 9.9),
)
PLAIN_WHEEL = "cu130"
"""What the package index's own wheel is on Linux: the choice where CUDA is asked for and there is no driver to ask."""


@dataclass(frozen=True)
class Driver:
    """What the NVIDIA driver says: the newest CUDA version it runs, and the compute capability of its newest GPU."""

    cuda: tuple[int, int]
    gpu: float | None


def find_driver() -> Driver | None:
    """Ask nvidia-smi; None when there is no driver, or one that does not answer."""
    try:
        status = _nvidia_smi()
        capabilities = _nvidia_smi("--query-gpu=compute_cap", "--format=csv,noheader")
    except FileNotFoundError:
        return None
    except (OSError, subprocess.SubprocessError) as error:
        log.info("nvidia-smi is here but gives no answer, so no GPU is counted on: %s", error)
        return None
    # Driver 610 renamed "CUDA Version" to "CUDA UMD Version"; a container without the driver's libcuda says N/A.
    cuda = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)", status)
    if cuda is None:
        log.info(
            "nvidia-smi names no CUDA version, so no GPU is counted on; is the driver's libcuda in this container?"
        )
        return None
    gpus = [float(found) for found in re.findall(r"^\d+\.\d+", capabilities, re.MULTILINE)]
    return Driver((int(cuda[1]), int(cuda[2])), max(gpus, default=None))


def _nvidia_smi(*options: str) -> str:
    asked = ["nvidia-smi", *options]
    return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout


def pick_cuda_build(driver: Driver) -> str | None:
    """The newest build that this driver runs and that has kernels for its GPU: CUDA 13.1 and an RTX 4090 -> cu130."""
    fitting = [b for b in CUDA_BUILDS if driver.gpu is None or b.oldest_gpu <= driver.gpu <= b.newest_gpu]
    supported = [b for b in fitting if b.cuda <= driver.cuda]
    # CUDA's minor version compatibility: a driver for 12.0 runs what was built with 12.6.
    same_major = [b for b in reversed(fitting) if b.cuda[0] == driver.cuda[0]]
    return next((b.name for b in (*supported, *same_major)), None)


def choose_build(wanted: str, driver: Driver | None) -> str:
    """What ``--torch`` means on this machine: "cpu", or the name of a CUDA build."""
    if wanted not in ("auto", "cuda"):
        return wanted
    if driver is None:
        return "cpu" if wanted == "auto" else PLAIN_WHEEL
    build = pick_cuda_build(driver)
    if build is not None:
        return build
    found = (
        f"the driver runs CUDA {driver.cuda[0]}.{driver.cuda[1]} on a GPU of compute capability {driver.gpu}; expected "
        f"what one of {', '.join(b.name for b in CUDA_BUILDS)} runs on. Update the NVIDIA driver, then run: "
        "python3 infra/bootstrap.py setup --torch cuda"
    )
    if wanted == "cuda":
        raise BootstrapError(f"No CUDA build of torch fits: {found} (or: --torch cpu)")
    log.info("The CPU build of torch is taken: %s", found)
    return "cpu"


def pip_requirement(build: str, version: str, wanted: str, index: str, pip_settings: Mapping[str, str]) -> list[str]:
    """What to give pip: the exact build and its index, or the plain wheel where that index cannot be reached.

    The index is added to those of the user's own pip configuration, which stays in force.
    """
    if sys.platform == "darwin":
        return [f"torch=={version}"]
    offered = is_offered(build, version, index, pip_settings)
    if offered:
        return [f"torch=={version}+{build}", "--extra-index-url", f"{index}/{build}"]
    found = f"{index}/{build} " + (
        "cannot be reached" if offered is None else f"has no torch {version} for this Python"
    )
    if wanted not in ("auto", "cuda", "cpu"):
        raise BootstrapError(f"{found}; expected exactly {wanted}. Use --torch auto, or --torch-index URL of a mirror.")
    log.info("%s: taking torch %s from where pip finds other packages.", found, version)
    return [f"torch=={version}"]


def is_offered(build: str, version: str, index: str, pip_settings: Mapping[str, str]) -> bool | None:
    """Whether the index has this build for this Python; None when no answer begins within PROBE_S seconds."""
    wheel = rf"torch-{re.escape(version)}(\+|%2B){build}-cp{sys.version_info[0]}{sys.version_info[1]}-"
    begun = threading.Event()
    answers: list[bool] = []

    def ask() -> None:
        try:
            with _opener(pip_settings).open(f"{index}/{build}/torch/", timeout=PROBE_S) as page:
                begun.set()
                answers.append(re.search(wheel, page.read().decode()) is not None)
        except HTTPError as error:
            answers.extend([False] if error.code in (403, 404) else [])
        except (OSError, ValueError):
            pass
        finally:
            begun.set()

    # A thread, because no timeout bounds looking up a name: with a resolver out of reach that takes up to 30 s.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    if begun.wait(PROBE_S):
        asking.join(READ_S)
    return answers[0] if answers else None


def _opener(pip_settings: Mapping[str, str]) -> OpenerDirector:
    """Ask as pip would: through its proxy and with its certificates, where it has some of its own."""
    proxy, cafile = pip_settings.get("proxy"), pip_settings.get("cert")
    return build_opener(
        ProxyHandler({"http": proxy, "https": proxy} if proxy else None),
        HTTPSHandler(context=ssl.create_default_context(cafile=cafile)),
    )

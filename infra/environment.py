"""The virtual environment: made, completed or left alone, torch first. What is run in it afterwards is bootstrap.py.

Standard library only.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from infra.torch_build import BootstrapError, choose_build, find_driver, log, pip_requirement

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "infra" / "constraints.txt"
STAMP = "steam-assets-bootstrap.json"
FREE_GB = {"cpu": 3, "cuda": 10}
"""Asked of the disk before installing: the CPU environment took 2.2 GB; CUDA adds torch's own libraries, about 6 GB."""


@dataclass(frozen=True)
class Stamp:
    """What an environment is made of: kept inside it, and compared before anything is installed again."""

    directory: str
    python: str
    torch: str
    nvidia_driver: bool
    requirements: str
    with_tests: bool
    made_here: bool
    """Whether bootstrap created the environment: no other is ever emptied."""
    ready: bool = False

    def same_base(self, wanted: "Stamp") -> bool:
        """Whether packages can be added to it; if not, it is made anew."""
        base = ("directory", "python", "torch", "nvidia_driver")
        return self.ready and all(getattr(self, name) == getattr(wanted, name) for name in base)

    def covers(self, wanted: "Stamp") -> bool:
        """Whether everything wanted is installed."""
        same = self.same_base(wanted) and self.requirements == wanted.requirements
        return same and self.with_tests >= wanted.with_tests


def prepare(directory: Path, torch: str | None, torch_index: str, *, with_tests: bool) -> None:
    """Make the environment what this checkout needs; a complete one is left alone, a half-made one is made again."""
    if is_complete(directory, wanted_stamp(directory, torch, with_tests)):
        return
    started = time.monotonic()
    with locked(directory) as lock:
        before, wanted = read_stamp(directory), wanted_stamp(directory, torch, with_tests)
        if is_complete(directory, wanted):
            return
        left = [path.name for path in directory.iterdir()]
        if before is None and left and wanted.made_here:
            raise BootstrapError(f"{directory} holds {left[0]} and is no virtual environment. Name another: --venv DIR")
        can_add = before is not None and before.same_base(wanted) and (directory / "bin" / "python").exists()
        write_stamp(directory, wanted)
        if wanted.made_here and not can_add:
            make_environment(directory, lock)
        try:
            install(directory, wanted, torch_index, lock)
        except BootstrapError:
            # pip said no, it was not killed: what was complete before is no ruin, and is added to at the next run.
            if before is not None and can_add:
                write_stamp(directory, before)
            raise
        write_stamp(directory, replace(wanted, ready=True))
    log.info("%s is ready after %.0f s.", directory, time.monotonic() - started)


def is_complete(directory: Path, wanted: Stamp) -> bool:
    """Whether everything wanted is there."""
    before = read_stamp(directory)
    return before is not None and before.covers(wanted) and (directory / "bin" / "steam-assets").exists()


def wanted_stamp(directory: Path, torch: str | None, with_tests: bool) -> Stamp:
    """What the environment should be; what is not asked for stays as it was."""
    before = read_stamp(directory)
    return Stamp(
        directory=str(directory),
        python=f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}",
        torch=torch or (before.torch if before else "auto"),
        nvidia_driver=shutil.which("nvidia-smi") is not None,
        requirements=digest_of_requirements(),
        with_tests=with_tests or bool(before and before.with_tests),
        made_here=before.made_here if before else not (directory / "pyvenv.cfg").exists(),
    )


def digest_of_requirements() -> str:
    """Changes with the dependencies, their pins, and the place of this checkout, to which the installation points."""
    files = (ROOT / "pyproject.toml", CONSTRAINTS)
    return hashlib.sha256(b"\0".join([str(ROOT).encode(), *(file.read_bytes() for file in files)])).hexdigest()


def read_stamp(directory: Path) -> Stamp | None:
    """What the environment was made of; None where there is none, or one that bootstrap did not touch."""
    try:
        return Stamp(**json.loads((directory / STAMP).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_stamp(directory: Path, stamp: Stamp) -> None:
    """Replace the stamp in one step, so that being killed leaves the old one or the new one."""
    written = directory / f"{STAMP}.new"
    written.write_text(json.dumps(asdict(stamp), indent=1))
    written.replace(directory / STAMP)


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Create and lock the directory: two bootstraps take turns, and the next one waits for a killed one's pip.

    Yields the file descriptor that holds the lock, for pip to inherit.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise BootstrapError(f"{error}. Name another place for the environment: --venv DIR") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("Another bootstrap, or its pip, is at work in %s; waiting for it.", directory)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def make_environment(directory: Path, lock: int) -> None:
    """A fresh virtual environment; whatever a former one left is removed first."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for module in ("venv", "ensurepip"):
        if find_spec(module) is None:
            raise BootstrapError(
                f"Python {version} ({sys.executable}) has no module {module}; expected the whole standard library. "
                f"Install it (Debian, Ubuntu: apt-get install python{version}-venv) and run this again."
            )
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != STAMP:
            path.unlink()
    run_step("virtual environment", [sys.executable, "-m", "venv", str(directory)], lock)


# What goes into it


def install(directory: Path, wanted: Stamp, torch_index: str, lock: int) -> None:
    """torch first, as the build chosen here: asked for by another package, pip would take the newest with gigabytes."""
    python = str(directory / "bin" / "python")
    usable = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([python, "-c", usable], capture_output=True, check=False).returncode:
        raise BootstrapError(f"{directory} is older than Python 3.11 or has no pip. Name another: --venv DIR")
    build = choose_build(wanted.torch, find_driver())
    needed, free = FREE_GB["cpu" if build == "cpu" else "cuda"], shutil.disk_usage(directory).free / 1e9
    if wanted.made_here and free < needed:
        raise BootstrapError(f"{directory} has {free:.1f} GB free; expected {needed}. Make room, or: --venv DIR")
    version = pinned("torch")
    torch = pip_requirement(build, version, wanted.torch, torch_index, pip_settings(python))
    pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--constraint", str(CONSTRAINTS)]
    run_step(torch[0].replace("==", " "), [*pip, *torch], lock)
    # The build backend as pinned as the rest: pip's own isolated build would fetch whichever is newest.
    run_step("build backend", [*pip, "hatchling", "editables"], lock)
    package = f"{ROOT}[test]" if wanted.with_tests else str(ROOT)
    run_step("steam-assets and what it needs", [*pip, "--no-build-isolation", "--editable", package], lock)
    check_torch(python, wanted.torch, build)


def pinned(package: str) -> str:
    """The version in the constraints."""
    found = re.search(rf"^{package}==(\S+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    if found is None:
        raise BootstrapError(f"{CONSTRAINTS} pins no {package}; its first lines say how to make it again.")
    return found[1]


def pip_settings(python: str) -> dict[str, str]:
    """What the user has set for pip, in its files or in PIP_* variables: {"proxy": ..., "cert": ...}."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    return dict(re.findall(r"^[\w:-]+\.([\w-]+)='(.*)'$", listed, re.MULTILINE))


def run_step(name: str, command: Sequence[str], lock: int) -> None:
    """One line when it is done; when it fails, its last words and the next step, with its exit code."""
    log.info("Installing %s ...", name)
    started = time.monotonic()
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env=environment,
        pass_fds=(lock,),
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise BootstrapError(
            f"{tail}\nInstalling {name} failed (exit {done.returncode}); its last words are above; pip speaks of "
            "missing or conflicting versions also when it cannot reach its index. Then run the same command again.",
            exit_code=done.returncode if done.returncode > 0 else 128 - done.returncode,
        )
    log.info("Installed %s in %.0f s.", name, time.monotonic() - started)


def check_torch(python: str, wanted: str, build: str) -> None:
    """Import torch once, and say so when it is not the build that was chosen."""
    look = (
        "import importlib.metadata as m, torch; d = {x.name.lower() for x in m.distributions()} - {'nvidia-ml-py'};"
        "print(torch.__version__, torch.version.cuda, sum(n.startswith('nvidia-') for n in d))"
    )
    looked = subprocess.run([python, "-c", look], capture_output=True, text=True, check=False)
    if looked.returncode:
        raise BootstrapError(
            f"{looked.stderr.strip()}\ntorch was installed and cannot be imported; see above.", exit_code=1
        )
    version, cuda, libraries = looked.stdout.split()
    if build == "cpu" and (cuda != "None" or libraries != "0"):
        log.info("torch %s is a CUDA build with %s NVIDIA packages: right, but larger than needed.", version, libraries)
    if build != "cpu" and cuda == "None":
        found = f"torch {version} is a CPU build; expected {build}. Give pip an index that has it: --torch-index URL"
        if wanted != "auto":
            raise BootstrapError(found, exit_code=1)
        log.info("%s", found)

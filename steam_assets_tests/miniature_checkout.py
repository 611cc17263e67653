"""A checkout small enough to be set up in seconds: the real infra/ over tiny packages from an index on this machine."""

import base64
import hashlib
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

INFRA = Path(__file__).parent.parent / "infra"
PYTHON_TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"

# What is handed over to tells how it was called, and leaves with the code that it is told.
COMMAND = """
import os, sys

def main():
    print("called", *sys.argv[1:], "in", os.environ["VIRTUAL_ENV"])
    sys.exit(int(os.environ.get("EXIT_WITH", 0)))
"""
TOOL = """
import os, sys

print("ran {name}", *sys.argv[1:], flush=True)
sys.exit(int(os.environ.get("{name}_EXITS_WITH", 0)))
"""
TORCH = """
__version__ = {version!r}

class version:
    cuda = {cuda!r}
"""
# An editable install without setuptools or hatchling: PEP 660 asks for one function.
BACKEND = """
import pathlib, zipfile

METADATA = '''Metadata-Version: 2.1
Name: steam-assets
Version: 0.1.0
Requires-Dist: torch
Provides-Extra: test
Requires-Dist: pytest; extra == "test"
'''

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name, info = "steam_assets-0.1.0-py3-none-any.whl", "steam_assets-0.1.0.dist-info/"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("steam_assets.pth", str(pathlib.Path.cwd()))
        wheel.writestr(info + "METADATA", METADATA)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "entry_points.txt", "[console_scripts]\\nsteam-assets = mini_assets:main\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def write_checkout(directory: Path) -> Path:
    """A copy of infra/ with a project of a few lines; returns its bootstrap.py."""
    (directory / "infra").mkdir(parents=True)
    for file in INFRA.glob("*.py"):
        shutil.copy(file, directory / "infra")
    (directory / "infra" / "constraints.txt").write_text("torch==2.13.0\npytest==9.0\nhatchling==1.0\n")
    (directory / "pyproject.toml").write_text(PYPROJECT)
    (directory / "backend.py").write_text(BACKEND)
    (directory / "mini_assets.py").write_text(COMMAND)
    return directory / "infra" / "bootstrap.py"


def write_indexes(directory: Path) -> None:
    """simple/ holds what the package index would, with torch's big CUDA build; pytorch/ holds PyTorch's own builds."""
    simple, pytorch = directory / "simple", directory / "pytorch"
    for name in ("pytest", "ruff", "mypy", "pyright"):
        requires = "ruff mypy pyright" if name == "pytest" else ""
        write_wheel(simple / name, name, "9.0", {f"{name}/__main__.py": TOOL.format(name=name)}, requires)
    for name in ("hatchling", "editables"):
        write_wheel(simple / name, name, "1.0", {f"{name}.py": ""})
    write_wheel(simple / "nvidia-cublas", "nvidia-cublas", "13.0", {"nvidia_cublas.py": ""})
    for version, where, cuda in (
        ("2.13.0", simple / "torch", "13.0"),
        ("2.13.0+cpu", pytorch / "cpu" / "torch", None),
        ("2.13.0+cu126", pytorch / "cu126" / "torch", "12.6"),
    ):
        code = {"torch/__init__.py": TORCH.format(version=version, cuda=cuda)}
        write_wheel(where, "torch", version, code, "nvidia-cublas" if cuda else "")


def write_wheel(directory: Path, name: str, version: str, files: Mapping[str, str], requires: str = "") -> None:
    """A wheel of these files, for this Python."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires.split())
    written = {
        **files,
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {PYTHON_TAG}-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in written.items())
    with zipfile.ZipFile(directory / f"{stem}-{PYTHON_TAG}-none-any.whl", "w") as wheel:
        for path, text in {**written, f"{stem}.dist-info/RECORD": record}.items():
            wheel.writestr(path, text)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gives it
        """Say nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The directory over HTTP on this machine; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()

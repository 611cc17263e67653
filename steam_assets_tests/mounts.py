"""Small and read-only disks for tests, where root may mount them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(directory: Path, size_bytes: int) -> Iterator[Path]:
    """A disk of its own at ``directory`` that is full after so many bytes."""
    with _mounted(directory, "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs"):
        yield directory


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """What is in ``directory`` can be read and not written, by root neither."""
    with _mounted(directory, "--bind", str(directory)):
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
        yield


@contextmanager
def _mounted(directory: Path, *arguments: str) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", *arguments, directory], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a disk here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a server that a failed test left there must not keep the mount.
        subprocess.run(["umount", "--lazy", directory], check=True)

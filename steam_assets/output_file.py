"""A file that was asked for: refused before the work where it cannot be written, and whole at any time."""

import os
from pathlib import Path

from steam_assets.errors import SteamAssetsError


def check_place(path: Path) -> None:
    """Raise SteamAssetsError where no file can be written; to be asked before the work is done."""
    if not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir():
        raise SteamAssetsError(
            f"{path} cannot be written. Name a file in a directory that is there and yours to write."
        )


def write_file(path: Path, content: bytes) -> Path:
    """Replace the file; whoever has the old one open keeps it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise SteamAssetsError(f"{path} cannot be written: {error.strerror or error}. Name another file.") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return path

"""Where maps are kept: files that are whole at any time, also while an older one is open in a browser."""

import os
from pathlib import Path
from urllib.parse import quote

from steam_assets.errors import SteamAssetsError
from steam_assets.pictures.embedding_map import EmbeddingMap
from steam_assets.settings import make_home


def place_in_home(drawn: EmbeddingMap) -> Path:
    """The home's file for a map: of the table, or of the column itself where it serves no searches."""
    column = drawn.points.column
    name = quote(column.qualified_table if drawn.points.serves else str(column), safe=" ")
    return make_home("maps") / f"{name}.html"


def check_place(path: Path) -> None:
    """Raise SteamAssetsError where no file can be written; to be asked before the work is done."""
    if not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir():
        raise SteamAssetsError(
            f"{path} cannot be written. Name a file in a directory that is there and yours to write."
        )


def write_file(path: Path, content: bytes) -> Path:
    """Replace the file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise SteamAssetsError(f"{path} cannot be written: {error.strerror or error}. Name another file.") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return path

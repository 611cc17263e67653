"""What an export is made of and how far it is: its origin, and every part with its sha256. JSON beside the files."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from steam_assets.columns import IdType, TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.runs import EmbeddingRun, recipe_digest

Format = Literal["parquet", "npy"]
FORMATS: tuple[Format, ...] = ("parquet", "npy")
LAYOUT_VERSION = 1
COPY_BYTES = 1 << 20
UNFINISHED = ".unfinished"


class BadExport(SteamAssetsError):
    """Files that are not an export, or not as the export left them."""


@dataclass(frozen=True)
class Origin:
    """Where vectors come from and what made them: enough to know them again in another database."""

    column: str
    id: str
    id_type: IdType
    run_id: int
    model_name: str
    dimension: int
    normalized: bool | None
    recipe: Mapping[str, object] | None

    @classmethod
    def of(cls, column: TextColumn, run: EmbeddingRun) -> "Origin":
        """The origin of a run's vectors in a column."""
        of_column = (str(column), column.id, column.id_type)
        return cls(*of_column, run.run_id, run.model_name, run.dimension, run.normalized, run.recipe)

    @property
    def recipe_digest(self) -> str | None:
        """The digest that embedding_runs has for this recipe."""
        return None if self.recipe is None else recipe_digest(self.recipe)

    def as_json(self) -> dict[str, object]:
        """For a manifest, and for the metadata of a parquet file."""
        return {**asdict(self), "recipe_digest": self.recipe_digest}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Origin":
        """Back again; raises KeyError or TypeError for anything else."""
        return cls(**{name: told[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Piece:
    """A stretch of a file, and its sha256."""

    file: str
    offset: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """Rows that were written together: all of them are on the disk, or none is counted."""

    rows: int
    last_id: int | str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Manifest:
    """An export as far as it is; its next part begins behind ``last_id``."""

    format: Format
    origin: Origin
    parts: tuple[Part, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of all parts; the header of a .npy file is not counted."""
        return sum(piece.bytes for part in self.parts for piece in part.pieces)

    @property
    def last_id(self) -> int | str | None:
        """The highest id in it, in the table's order."""
        return self.parts[-1].last_id if self.parts else None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files, each once."""
        return tuple(dict.fromkeys(piece.file for part in self.parts for piece in part.pieces))

    def with_part(self, part: Part) -> "Manifest":
        """The same with one part more."""
        return replace(self, parts=(*self.parts, part))

    def check_files(self, directory: Path, suffix: str = "") -> None:
        """Raise BadExport unless every part is on the disk as it was written; reads all of them."""
        for part in self.parts:
            for piece in part.pieces:
                path = directory / f"{piece.file}{suffix}"
                if not path.exists() or measure(path, piece.file, piece.offset, piece.bytes) != piece:
                    raise BadExport(
                        f"{path} is not as the export left it: bytes {piece.offset:,} to "
                        f"{piece.offset + piece.bytes:,} should have sha256 {piece.sha256[:12]}... "
                        "Copy it once more, or export again with --force."
                    )

    def write(self, path: Path) -> None:
        """Put it under its name at once, and onto the disk."""
        told = {
            "layout_version": LAYOUT_VERSION,
            "format": self.format,
            "rows": self.rows,
            "origin": self.origin.as_json(),
            "parts": [asdict(part) for part in self.parts],
        }
        fresh = path.with_name(f"{path.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
            flush(file)
        fresh.replace(path)
        synchronize_directory(path.parent)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; raises BadExport for any other file."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["layout_version"] != LAYOUT_VERSION or told["format"] not in FORMATS:
            raise BadExport(
                f"{path} was written by another version of `steam-assets export`: its layout is "
                f"{told['layout_version']!r} ({told['format']!r}), expected {LAYOUT_VERSION}."
            )
        parts = tuple(
            Part(part["rows"], part["last_id"], tuple(Piece(**piece) for piece in part["pieces"]))
            for part in told["parts"]
        )
        manifest = Manifest(told["format"], Origin.from_json(told["origin"]), parts)
        strange = [name for name in manifest.files if name in ("", "..") or Path(name).name != name]
    except OSError as error:
        raise BadExport(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadExport(f"{path} is no manifest of `steam-assets export`: {type(error).__name__}: {error}.") from None
    if strange:
        raise BadExport(f"{path} names a file outside its directory: {strange[0]!r}.")
    return manifest


def file_stem(column: TextColumn) -> str:
    """What the files of a column's export begin with: applications.description_embedding."""
    return re.sub(r"[^\w.-]+", "_", str(column))


def measure(path: Path, name: str, offset: int = 0, size: int | None = None) -> Piece:
    """A stretch of a file with its sha256; without a size all behind ``offset``."""
    digest = hashlib.sha256()
    left = path.stat().st_size - offset if size is None else size
    total = 0
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(min(COPY_BYTES, left - total)):
            digest.update(block)
            total += len(block)
    return Piece(name, offset, total, digest.hexdigest())


def flush(file: IO[str] | IO[bytes]) -> None:
    """Have the disk hold what was written: a machine that dies must not leave a manifest without its part."""
    file.flush()
    os.fsync(file.fileno())


def synchronize_directory(directory: Path) -> None:
    """Have the disk hold the names in a directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files of vectors, ours and others', opened and read page by page. Which rows they may go to is importing.py's."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steam_assets.columns import IdType, TextColumn
from steam_assets.embeddings import UNIT_NORM_TOLERANCE
from steam_assets.exports.manifest import BadExport, Origin, read_manifest
from steam_assets.exports.npy import DIGEST_COLUMN
from steam_assets.exports.parquet import count_rows, read_origin, read_pages
from steam_assets.store.export_rows import VectorPage
from steam_assets.store.files import column_names
from steam_assets.store.values import shown, whole_number_text

READ_BYTES = 8 << 20
READ_ROWS = 2_048
INT64: tuple[int, int] = (-(1 << 63), (1 << 63) - 1)
ID_COLUMNS = ("id", "ids")


@dataclass(frozen=True)
class VectorFile:
    """Vectors with their ids; ``origin`` is None where nothing says what made them. ``pages`` may be read again."""

    label: str
    rows: int
    dimension: int
    origin: Origin | None
    pages: Callable[[TextColumn], Iterator[VectorPage]]


def open_vectors(path: Path, ids: Path | None = None) -> VectorFile:
    """The vectors that ``path`` names: a manifest of an export or its directory, a .parquet file, or a .npy file.

    A .npy file has its ids in a CSV, ``ids`` or ``<stem>_ids.csv`` beside it. Raises BadExport where anything is not
    what it should be; every file that a manifest names is read to be compared with its sha256.
    """
    if path.is_dir():
        return _open_manifest(_only_manifest(path))
    match path.suffix.lower():
        case ".json":
            return _open_manifest(path)
        case ".parquet":
            origin = read_origin(path)
            return _parquet(path.name, [path], origin)
        case ".npy":
            manifest = path.with_suffix(".json")
            if ids is None and manifest.exists():
                return _open_manifest(manifest)
            return _npy(path, ids or path.with_name(f"{path.stem}_ids.csv"), None)
        case _:
            raise BadExport(f"{path} is no file of vectors: expected .npy, .parquet, or the manifest of an export.")


def check_vectors(file: VectorFile, column: TextColumn) -> None:
    """Read the file to its end; raises BadExport unless ids are there once and vectors are finite and of length 1."""
    seen: set[int | str] = set()
    row = 0
    for page in file.pages(column):
        norms = np.linalg.norm(page.vectors.astype(np.float64), axis=1)
        # A norm that is not a number is not within the tolerance either.
        for wrong in np.flatnonzero(~(np.abs(norms - 1) <= UNIT_NORM_TOLERANCE))[:1]:
            found = f"length {norms[wrong]:.6g}" if np.isfinite(norms[wrong]) else "numbers that are not finite"
            raise BadExport(
                f"{file.label}, row {row + wrong + 1}: the vector of {page.ids[wrong]!r} has {found}; expected length "
                "1. Vectors are loaded as they are: normalise them where they were made."
            )
        for id_ in page.ids:
            if id_ in seen:
                raise BadExport(f"{file.label}: the id {shown(id_)} is there twice; expected each id once.")
            seen.add(id_)
        row += len(page)
    if row != file.rows:
        raise BadExport(f"{file.label} holds {row:,} rows; expected {file.rows:,}.")


def _only_manifest(directory: Path) -> Path:
    found = sorted(directory.glob("*.json"))
    if len(found) != 1:
        unfinished = " An export there is unfinished: go on with it first." if any(directory.glob("*.json.*")) else ""
        raise BadExport(
            f"{directory} holds {len(found)} manifests of exports; name the one that is meant, COLUMN.json.{unfinished}"
        )
    return found[0]


def _open_manifest(path: Path) -> VectorFile:
    manifest = read_manifest(path)
    manifest.check_files(path.parent)
    files = [path.parent / name for name in manifest.files]
    if manifest.format == "parquet":
        return _parquet(path.name, files, manifest.origin)
    if len(files) != 2:
        raise BadExport(f"{path} names {len(files)} files; expected two, of vectors and of their ids.")
    return _npy(files[0], files[1], manifest.origin)


def _parquet(label: str, paths: list[Path], origin: Origin) -> VectorFile:
    def pages(column: TextColumn) -> Iterator[VectorPage]:
        _check_id_type(label, origin, column)
        for path in paths:
            yield from read_pages(path, origin)

    return VectorFile(label, count_rows(paths), origin.dimension, origin, pages)


def _npy(path: Path, ids: Path, origin: Origin | None) -> VectorFile:
    vectors = _map(path)
    rows, dimension = vectors.shape
    size = max(1, min(READ_ROWS, READ_BYTES // (4 * dimension)))

    def pages(column: TextColumn) -> Iterator[VectorPage]:
        if origin is not None:
            _check_id_type(path.name, origin, column)
        listed = _read_ids(ids, column, origin)
        for start in range(0, rows, size):
            block = np.ascontiguousarray(vectors[start : start + size], dtype=np.float32)
            found = list(islice(listed, len(block)))
            if len(found) < len(block):
                raise BadExport(f"{ids} holds {start + len(found):,} ids; expected {rows:,}, as {path.name} has rows.")
            digests = [digest for _, digest in found if digest is not None]
            yield VectorPage([id_ for id_, _ in found], digests if len(digests) == len(found) else None, block)
        if beyond := sum(1 for _ in listed):
            raise BadExport(f"{ids} holds {rows + beyond:,} ids; expected {rows:,}, as {path.name} has rows.")

    return VectorFile(path.name, rows, dimension, origin, pages)


def _map(path: Path) -> NDArray[np.floating]:
    """The array of a .npy file, mapped and not read; nothing in it is ever unpickled."""
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise BadExport(f"{path} cannot be read as .npy: {error}") from None
    if found.ndim != 2 or found.dtype.kind != "f" or found.dtype.itemsize > 8 or not found.shape[1]:
        raise BadExport(
            f"{path} holds {found.dtype} of shape {found.shape}; expected float32, and a row of numbers for each id."
        )
    return found


def _check_id_type(label: str, origin: Origin, column: TextColumn) -> None:
    if origin.id_type != column.id_type:
        raise BadExport(
            f"{label} has ids of {origin.column} ({origin.id_type}); those of {column} are {column.id_type}. "
            "Say with --column which one is meant."
        )


def _read_ids(path: Path, column: TextColumn, origin: Origin | None) -> Iterator[tuple[int | str, bytes | None]]:
    """Ids and digests of a CSV; where it is not ours 10.0 is 10: pandas writes ids so where one was missing."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            id_at = _id_column(path, header, column) if origin is None else _our_id_column(path, header, origin)
            digest_at = header.index(DIGEST_COLUMN) if DIGEST_COLUMN in header else None
            for fields in lines:
                if not fields:
                    continue
                where = f"{path}, line {lines.line_num}"
                if len(fields) != len(header):
                    raise BadExport(f"{where}: {len(fields)} fields; expected {len(header)}.")
                id_ = _id(where, fields[id_at], column.id_type, exact=origin is not None)
                yield id_, None if digest_at is None else _digest(where, fields[digest_at])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadExport(f"{path} cannot be read as a CSV of ids: {error}. Name the file of ids with --ids.") from None


def _id_column(path: Path, header: list[str], column: TextColumn) -> int:
    """Where the ids are; other tools call them app_id, and some have one column and no name that we know."""
    names = list(column_names(header).values())
    for name in (column.id, *ID_COLUMNS):
        for written in (header, names):
            if name in written:
                return written.index(name)
    if len(header) == 1 and not header[0].isdigit():
        return 0
    found = ", ".join(header)[:200] or "none"
    raise BadExport(f"{path}: its first line names {found}; expected {column.id} there, the ids of {column}.")


def _our_id_column(path: Path, header: list[str], origin: Origin) -> int:
    """Where the ids are in a file of ours, of which no sha256 covers the first line."""
    if header != [origin.id, DIGEST_COLUMN]:
        raise BadExport(
            f"{path} is not as the export left it: its first line names {', '.join(header)[:200] or 'none'}; expected "
            f"{origin.id}, {DIGEST_COLUMN}. Copy it once more, or export again with --force."
        )
    return 0


def _id(where: str, written: str, id_type: IdType, exact: bool) -> int | str:
    text = written if exact else whole_number_text(written)
    if id_type == "text":
        if "\0" in text:
            raise BadExport(f"{where}: the id holds a NUL byte, which PostgreSQL's text cannot.")
        return text
    try:
        number = int(text)
    except ValueError:
        raise BadExport(f"{where}: the id is {shown(written)}; expected a whole number.") from None
    if not INT64[0] <= number <= INT64[1]:
        raise BadExport(f"{where}: the id is {number}; expected {INT64[0]} to {INT64[1]}.")
    return number


def _digest(where: str, written: str) -> bytes:
    try:
        digest = bytes.fromhex(written)
    except ValueError:
        digest = b""
    if len(digest) != 16:
        raise BadExport(f"{where}: {DIGEST_COLUMN} is {shown(written)}; expected the 32 hexadecimal digits of an md5.")
    return digest

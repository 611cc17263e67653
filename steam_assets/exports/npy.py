"""Vectors as one .npy file and a CSV of ids, row by row: the layout of the published dataset, written part by part."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steam_assets.exports.manifest import UNFINISHED, Origin, Part, Piece, flush, synchronize_directory
from steam_assets.store.export_rows import VectorPage

DIGEST_COLUMN = "source_md5"


@dataclass(frozen=True)
class NpyFiles:
    """``<stem>.npy``, float32, and ``<stem>_ids.csv``, which grow under another name until both are complete."""

    directory: Path
    stem: str
    origin: Origin

    growing = UNFINISHED
    """What the names of its files end in until then."""

    def there(self) -> list[Path]:
        """Those of its files that are there, complete or growing."""
        paths = [path for name in self._headers(0) for path in (self.directory / name, self._growing(name))]
        return [path for path in paths if path.exists()]

    def keep(self, parts: Sequence[Part]) -> None:
        """Have the files end behind these parts, whatever a killed export left there."""
        for name, header in self._headers(0).items():
            path = self._growing(name)
            finished = self.directory / name
            if parts and finished.exists() and not path.exists():
                finished.rename(path)  # killed between the last two renames
            if not parts:
                path.write_bytes(header)
                continue
            length = len(header) + sum(piece.bytes for part in parts for piece in part.pieces if piece.file == name)
            if path.exists() and path.stat().st_size > length:
                os.truncate(path, length)

    def write(self, number: int, pages: Iterable[VectorPage]) -> tuple[Piece, ...]:
        """Add the pages to both files; they are on the disk when this returns."""
        names = tuple(self._headers(0))
        with self._growing(names[0]).open("ab") as vectors, self._growing(names[1]).open("ab") as ids:
            files = (vectors, ids)
            offsets = [file.tell() for file in files]
            digests = [hashlib.sha256() for _ in files]
            for page in pages:
                blocks = (page.vectors.astype("<f4", copy=False).tobytes(), self._lines(page))
                for file, digest, block in zip(files, digests, blocks, strict=True):
                    file.write(block)
                    digest.update(block)
            for file in files:
                flush(file)
            sizes = [file.tell() - offset for file, offset in zip(files, offsets, strict=True)]
        found = zip(names, offsets, sizes, (digest.hexdigest() for digest in digests), strict=True)
        return tuple(Piece(*piece) for piece in found)

    def finish(self, rows: int) -> None:
        """Write the number of rows into the header, and give both files their names."""
        for name, header in self._headers(rows).items():
            with self._growing(name).open("r+b") as file:
                file.write(header)
                flush(file)
        for name in self._headers(rows):
            self._growing(name).rename(self.directory / name)
        synchronize_directory(self.directory)

    def _growing(self, name: str) -> Path:
        return self.directory / f"{name}{self.growing}"

    def _headers(self, rows: int) -> dict[str, bytes]:
        """What each file begins with; numpy leaves room in its header for rows of any number."""
        header = io.BytesIO()
        shape = (rows, self.origin.dimension)
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        ids = self._csv([(self.origin.id, DIGEST_COLUMN)])
        return {f"{self.stem}.npy": header.getvalue(), f"{self.stem}_ids.csv": ids}

    def _lines(self, page: VectorPage) -> bytes:
        return self._csv((id_, digest.hex()) for id_, digest in zip(page.ids, page.source_md5 or (), strict=True))

    def _csv(self, rows: Iterable[tuple[int | str, str]]) -> bytes:
        # Every text in quotes: the csv module leaves a carriage return without them, and reads it as the end of a line.
        lines = io.StringIO()
        if self.origin.id_type == "text":
            csv.writer(lines, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
        else:
            csv.writer(lines, lineterminator="\n").writerows(rows)
        return lines.getvalue().encode()

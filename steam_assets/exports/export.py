"""A column's vectors into files: part by part, each on the disk before it is counted, so that a kill costs one part."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.exports.manifest import (
    UNFINISHED,
    Format,
    Manifest,
    Origin,
    Part,
    Piece,
    file_stem,
    read_manifest,
    synchronize_directory,
)
from steam_assets.exports.npy import NpyFiles
from steam_assets.exports.parquet import ParquetFiles
from steam_assets.store.export_rows import NUMBER_BYTES, VectorPage, read_vectors, vector_counts
from steam_assets.store.runs import EmbeddingRun

PART_BYTES = 128 << 20
"""Of vectors: what a kill costs is a few seconds, and a million vectors of 1,024 numbers are 32 parts."""

Progress = Callable[[int, int], None]  # told the rows so far and those there are


@dataclass(frozen=True)
class ExportReport:
    """What an export holds, and what it leaves out: rows with a vector of another run, and rows without any.

    ``kept_rows`` were written before it was resumed. ``written_meanwhile`` rows of the run are in the table and not in
    the files: they came, at ids that had been passed, while it went on.
    """

    column: str
    format: Format
    run_id: int
    model_name: str
    rows: int
    kept_rows: int
    other_runs: int
    without_vector: int
    written_meanwhile: int
    bytes: int
    files: tuple[str, ...]
    seconds: float


class VectorFiles(Protocol):
    """Files of one format that grow by parts."""

    @property
    def growing(self) -> str:
        """What the names of files end in until all are complete."""
        ...

    def there(self) -> Sequence[Path]:
        """Those that are there, complete or not, whoever wrote them."""
        ...

    def keep(self, parts: Sequence[Part]) -> None:
        """Leave these parts and nothing else."""

    def write(self, number: int, pages: Iterator[VectorPage]) -> tuple[Piece, ...]:
        """Add a part."""
        ...

    def finish(self, rows: int) -> None:
        """Give the files their names."""


def export_column(
    conn: connection,
    column: TextColumn,
    run: EmbeddingRun,
    directory: Path,
    file_format: Format,
    progress: Progress = lambda done, total: None,
    *,
    resume: bool = False,
    force: bool = False,
) -> ExportReport:
    """Write a run's vectors in the table's order into ``directory``; a manifest there says when they are complete.

    Every row is in it once at most: ``resume`` goes on behind the last id of an export that was interrupted, and ends
    in the same bytes where the table is the same; what was written at lower ids meanwhile is not in it. ``force``
    begins anew. The connection should be in autocommit. Raises SteamAssetsError where files would be replaced, where
    they cannot be written, and where they are another run's.
    """
    began = time.monotonic()
    counts = vector_counts(conn, column, run.run_id)
    if not counts.of_run:
        raise SteamAssetsError(f"{column} has no vector of run {run.run_id} ({run.model_name}): nothing was written.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone_in(directory):
            plan = _Plan(directory, Manifest(file_format, Origin.of(column, run)), file_stem(column))
            manifest = plan.begin(resume, force)
            kept = manifest.rows
            if not plan.complete.exists():
                manifest = _write_parts(conn, column, manifest, plan, lambda rows: progress(rows, counts.of_run))
    except OSError as error:
        raise SteamAssetsError(
            f"{directory} cannot be written: {error.strerror or error}. Whole parts are kept: when that is mended, "
            "go on with --resume."
        ) from None
    counts = vector_counts(conn, column, run.run_id)
    return ExportReport(
        *(str(column), file_format, run.run_id, run.model_name, manifest.rows, kept),
        *(counts.others, counts.without, max(0, counts.of_run - manifest.rows), manifest.bytes),
        files=(*manifest.files, plan.complete.name),
        seconds=time.monotonic() - began,
    )


class _Plan:
    """Where an export stands: its manifest, ``.unfinished`` until all is written, and its files."""

    def __init__(self, directory: Path, fresh: Manifest, stem: str) -> None:
        self.fresh = fresh
        self.complete = directory / f"{stem}.json"
        self.unfinished = directory / f"{stem}.json{UNFINISHED}"
        self._directory = directory
        parquet, npy = ParquetFiles(directory, stem, fresh.origin), NpyFiles(directory, stem, fresh.origin)
        self.files: VectorFiles = parquet if fresh.format == "parquet" else npy
        self._of_any_format: tuple[VectorFiles, ...] = (parquet, npy)

    def begin(self, resume: bool, force: bool) -> Manifest:
        """The manifest to go on from; raises SteamAssetsError where something is there that nobody spoke of."""
        if force:
            self._remove()
        for path in (self.complete, self.unfinished):
            if not path.exists():
                continue
            if not resume:
                state = "An export is" if path == self.complete else "An unfinished export is"
                raise SteamAssetsError(
                    f"{state} in {self._directory} already ({path.name}). Go on with it with --resume, replace it "
                    "with --force, or name another directory."
                )
            found = read_manifest(path)
            if (found.format, found.origin) != (self.fresh.format, self.fresh.origin):
                raise SteamAssetsError(
                    f"{path} is of run {found.origin.run_id} ({found.origin.model_name}) of {found.origin.column} as "
                    f"{found.format}; asked for is run {self.fresh.origin.run_id} ({self.fresh.origin.model_name}) of "
                    f"{self.fresh.origin.column} as {self.fresh.format}. Begin anew with --force, or name another "
                    "directory."
                )
            if path == self.unfinished:
                self.files.keep(found.parts)
            found.check_files(self._directory, self.files.growing if path == self.unfinished else "")
            return found
        if strangers := self._there():
            raise SteamAssetsError(
                f"{strangers[0]} is there already, and no manifest of an export with it. Replace it with --force, or "
                "name another directory."
            )
        self.fresh.write(self.unfinished)
        self.files.keep(())
        return self.fresh

    def _remove(self) -> None:
        """Take away an export that is there, its manifest first: without it nothing counts as one."""
        for path in (self.complete, self.unfinished):
            path.unlink(missing_ok=True)
        synchronize_directory(self._directory)
        for path in self._there():
            path.unlink()

    def _there(self) -> list[Path]:
        return [path for files in self._of_any_format for path in files.there()]


def _write_parts(
    conn: connection, column: TextColumn, manifest: Manifest, plan: _Plan, progress: Callable[[int], None]
) -> Manifest:
    origin = manifest.origin
    part_rows = max(1, PART_BYTES // (NUMBER_BYTES * origin.dimension))
    progress(manifest.rows)
    while True:
        # Read anew from each part's first row: a resumed export then sees the same pages, and writes the same bytes.
        found = read_vectors(conn, column, origin.run_id, origin.dimension, manifest.last_id)
        pages = _Counted(_first_rows(found, part_rows), manifest.rows, progress)
        opening = next(pages, None)
        if opening is None:
            break
        try:
            pieces = plan.files.write(len(manifest.parts), chain([opening], pages))
        except BaseException:
            plan.files.keep(manifest.parts)
            raise
        manifest = manifest.with_part(Part(pages.rows, pages.last_id, pieces))
        manifest.write(plan.unfinished)
    plan.files.finish(manifest.rows)
    plan.unfinished.rename(plan.complete)
    synchronize_directory(plan.complete.parent)
    return manifest


class _Counted(Iterator[VectorPage]):
    """Pages of a part, counted as they go by."""

    def __init__(self, pages: Iterator[VectorPage], before: int, progress: Callable[[int], None]) -> None:
        self.rows = 0
        self.last_id: int | str = 0
        self._pages = pages
        self._before = before
        self._progress = progress

    def __next__(self) -> VectorPage:
        page = next(self._pages)
        self.rows += len(page)
        self.last_id = page.ids[-1]
        self._progress(self._before + self.rows)
        return page


def _first_rows(pages: Iterator[VectorPage], rows: int) -> Iterator[VectorPage]:
    for page in pages:
        yield page.first(rows)
        rows -= len(page)
        if rows <= 0:
            return


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Let no other export write into the directory meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SteamAssetsError(
                f"Another export is writing into {directory}. Wait for it, or name another."
            ) from None
        yield
    finally:
        os.close(descriptor)

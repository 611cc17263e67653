"""Vectors as parquet files: id, vector as a list of fixed size, and source_md5; what made them is in the metadata."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from steam_assets.exports.manifest import (
    UNFINISHED,
    BadExport,
    Origin,
    Part,
    Piece,
    flush,
    measure,
    synchronize_directory,
)
from steam_assets.store.export_rows import VectorPage

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY: Final = b"steam_assets"
COMPRESSION = "zstd"
READ_ROWS = 2_048


@dataclass(frozen=True)
class ParquetFiles:
    """``<stem>-00000.parquet`` and so on, a file for each part, which gets its name when it is complete."""

    directory: Path
    stem: str
    origin: Origin

    growing = ""
    """Files of parts have their own names at once."""

    def there(self) -> list[Path]:
        """Those of its files that are there, complete or growing."""
        return [path for path in sorted(self.directory.iterdir()) if self._is_part(path.name.removesuffix(UNFINISHED))]

    def keep(self, parts: Sequence[Part]) -> None:
        """Remove what a killed export left beside these parts."""
        kept = {piece.file for part in parts for piece in part.pieces}
        for path in self.there():
            if path.name not in kept:
                path.unlink()

    def write(self, number: int, pages: Iterable[VectorPage]) -> tuple[Piece, ...]:
        """Write a part's file, a row group for each page; it is on the disk when this returns."""
        import pyarrow.parquet as pq

        schema = self._schema()
        path = self.directory / self._name(number)
        growing = path.with_name(f"{path.name}{UNFINISHED}")
        with growing.open("wb") as file:
            # Vectors repeat no number, so a dictionary of them is as long as they are.
            with pq.ParquetWriter(file, schema, compression=COMPRESSION, use_dictionary=False) as writer:
                for page in pages:
                    writer.write_table(self._table(page, schema))
            flush(file)
        growing.rename(path)
        synchronize_directory(self.directory)
        return (measure(path, path.name),)

    def finish(self, rows: int) -> None:
        """Nothing is left to do."""

    def _is_part(self, name: str) -> bool:
        number = name.removeprefix(f"{self.stem}-").removesuffix(".parquet")
        return number.isdecimal() and name == self._name(int(number))

    def _name(self, number: int) -> str:
        return f"{self.stem}-{number:05}.parquet"

    def _schema(self) -> "pa.Schema":
        import pyarrow as pa

        return pa.schema(
            [
                pa.field("id", pa.int64() if self.origin.id_type == "bigint" else pa.string(), nullable=False),
                pa.field("vector", pa.list_(pa.field("element", pa.float32(), nullable=False), self.origin.dimension)),
                pa.field("source_md5", pa.string()),
            ],
            metadata={METADATA_KEY: json.dumps(self.origin.as_json(), sort_keys=True)},
        )

    def _table(self, page: VectorPage, schema: "pa.Schema") -> "pa.Table":
        import pyarrow as pa

        numbers = pa.array(page.vectors.reshape(-1), pa.float32())
        columns = [
            pa.array(page.ids, schema.field("id").type),
            pa.FixedSizeListArray.from_arrays(numbers, type=schema.field("vector").type),
            pa.array([digest.hex() for digest in page.source_md5 or ()], pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=schema)


def read_origin(path: Path) -> Origin:
    """What made the vectors of a parquet file of ours; raises BadExport for any other file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        return Origin.from_json(json.loads(metadata[METADATA_KEY]))
    except (OSError, pa.ArrowException) as error:
        raise BadExport(f"{path} cannot be read as parquet: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise BadExport(
            f"{path} was not made by `steam-assets export`: its metadata does not say what made its vectors. Write "
            "them as .npy with a CSV of ids, and name it with --ids."
        ) from None


def count_rows(paths: Sequence[Path]) -> int:
    """Rows of all files, by their metadata."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in paths)


def read_pages(path: Path, origin: Origin) -> Iterator[VectorPage]:
    """The rows of a file of ours, a page after the other; raises BadExport where it is cut off or changed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(READ_ROWS, columns=["id", "vector", "source_md5"]):
                vectors = batch.column("vector")
                if any(batch.column(name).null_count for name in batch.schema.names):
                    raise BadExport(f"{path} holds rows without an id, a vector or a digest.")
                numbers = vectors.flatten().to_numpy(zero_copy_only=False)
                yield VectorPage(
                    batch.column("id").to_pylist(),
                    [bytes.fromhex(digest) for digest in batch.column("source_md5").to_pylist()],
                    numbers.astype(np.float32, copy=False).reshape(-1, origin.dimension),
                )
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadExport(f"{path} cannot be read to its end: {error}") from None

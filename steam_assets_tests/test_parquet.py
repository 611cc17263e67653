"""Parquet files of an export say what made them, and other programs read them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.exports.manifest import BadExport, Origin, Part
from steam_assets.exports.parquet import ParquetFiles, count_rows, read_origin, read_pages
from steam_assets.store.export_rows import VectorPage
from steam_assets.store.runs import EmbeddingRun
from steam_assets_tests.rows import vectors_of

RUN = EmbeddingRun(1, "modèle", 8, True, {"prompt": 'query: "'}, None)


def page(*ids: int | str) -> VectorPage:
    """A row for each id."""
    digests = [str(id_).encode().ljust(16) for id_ in ids]
    return VectorPage(list(ids), digests, vectors_of(digests))


@pytest.mark.parametrize(("column", "ids"), [(APPLICATIONS, (-1, 2**63 - 1)), (REVIEWS, ("", "日\n"))])
def test_what_is_written_is_read_with_its_origin(
    tmp_path: Path, column: TextColumn, ids: tuple[int | str, ...]
) -> None:
    """Ids, digests, numbers, and what made them; a row group for each page."""
    origin = Origin.of(column, RUN)
    (piece,) = ParquetFiles(tmp_path, "a", origin).write(3, [page(ids[0]), page(ids[1])])
    path = tmp_path / "a-00003.parquet"
    assert (piece.file, piece.bytes) == (path.name, path.stat().st_size)
    assert read_origin(path) == origin
    assert (count_rows([path, path]), pq.read_metadata(path).num_row_groups) == (4, 2)
    (found,) = read_pages(path, origin)
    assert found.ids == list(ids)
    assert found.source_md5 == page(*ids).source_md5
    assert (found.vectors == page(*ids).vectors).all()
    types = {field.name: str(field.type) for field in pq.read_schema(path)}
    id_type = "int64" if column is APPLICATIONS else "string"
    assert types["id"] == id_type
    assert types["vector"].startswith("fixed_size_list<element: float")
    assert types["vector"].endswith("[8]")


def test_what_a_killed_export_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Other files of the directory are not ours, however similar."""
    files = ParquetFiles(tmp_path, "a", Origin.of(APPLICATIONS, RUN))
    kept = Part(1, 1, files.write(0, [page(1)]))
    files.write(1, [page(2)])
    others = ("a-00002.parquet.unfinished", "a-2.parquet", "b-00000.parquet", "a-notes.parquet", "a.json.unfinished")
    for name in others:
        (tmp_path / name).touch()
    files.keep((kept,))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a-00000.parquet", *others[1:]])


def test_rows_without_a_vector_or_a_digest_are_refused(tmp_path: Path) -> None:
    """Somebody has changed the file."""
    origin = Origin.of(APPLICATIONS, RUN)
    ParquetFiles(tmp_path, "a", origin).write(0, [page(1, 2)])
    path = tmp_path / "a-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "source_md5", pa.array([None, "00" * 16])), path)
    with pytest.raises(BadExport, match="without an id, a vector or a digest"):
        list(read_pages(path, origin))

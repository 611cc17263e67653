"""A .npy file grows in place: its header has room for any number of rows."""

from pathlib import Path

import numpy as np

from steam_assets.columns import REVIEWS
from steam_assets.exports.manifest import Origin, Part
from steam_assets.exports.npy import NpyFiles
from steam_assets.store.export_rows import VectorPage
from steam_assets.store.runs import EmbeddingRun
from steam_assets_tests.rows import vectors_of

ORIGIN = Origin.of(REVIEWS, EmbeddingRun(1, "m", 8, True, {}, None))


def page(*ids: str) -> VectorPage:
    """A row for each id."""
    digests = [id_.encode().ljust(16) for id_ in ids]
    return VectorPage(list(ids), digests, vectors_of(digests))


def test_the_header_is_as_long_for_no_row_as_for_any_number() -> None:
    """Otherwise the rows behind it would have to move."""
    files = NpyFiles(Path(), "a", ORIGIN)
    assert {len(files._headers(rows)["a.npy"]) for rows in (0, 9, 10**6, 10**12)} == {128}


def test_files_end_behind_the_parts_that_are_kept(tmp_path: Path) -> None:
    """Whatever was written behind them is cut off, and the next part begins there."""
    files = NpyFiles(tmp_path, "a", ORIGIN)
    files.keep(())
    first = Part(2, "b", files.write(0, [page("a", 'b"\r')]))
    files.write(1, [page("lost")])
    files.keep((first,))
    second = Part(2, "d", files.write(1, [page("c"), page("d")]))
    files.finish(4)

    found = np.load(tmp_path / "a.npy")
    assert (found == np.concatenate([part.vectors for part in (page("a", 'b"\r'), page("c", "d"))])).all()
    lines = (tmp_path / "a_ids.csv").read_bytes().decode()
    assert lines.startswith('"recommendationid","source_md5"\n"a","61')
    assert '\n"b""\r","62' in lines
    assert lines.count("\n") == 5
    assert [piece.offset for piece in first.pieces] == [128, len('"recommendationid","source_md5"\n')]
    assert second.pieces[0].bytes == 2 * 8 * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "a_ids.csv"]


def test_finished_files_grow_again_when_the_end_was_not_written_down(tmp_path: Path) -> None:
    """Killed after the last rename: with the rows that came meanwhile they end as if nothing had been."""
    files = NpyFiles(tmp_path, "a", ORIGIN)
    files.keep(())
    first = Part(1, "a", files.write(0, [page("a")]))
    files.finish(1)
    files.keep((first,))
    files.write(1, [page("b")])
    files.finish(2)
    assert np.load(tmp_path / "a.npy").shape == (2, 8)

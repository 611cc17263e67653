"""Files that were asked for are there whole or not at all, and one that cannot be is told before the work."""

from pathlib import Path

import pytest

from steam_assets.errors import SteamAssetsError
from steam_assets.output_file import check_place, write_file


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    """Whoever has the old one open keeps it, and nothing else is left in the folder."""
    path = tmp_path / "map.html"
    path.write_text("old")
    with path.open() as opened:
        assert write_file(path, b"new") == path
        assert opened.read() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    """A folder that is not there, and a folder where a file is meant."""
    check_place(tmp_path / "map.html")
    for wrong in (tmp_path / "missing" / "map.html", tmp_path):
        with pytest.raises(SteamAssetsError, match=r"cannot be written\. Name a file in a directory that is there"):
            check_place(wrong)


def test_an_error_of_the_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """The file that cannot be replaced is named, and the unfinished one is gone."""
    directory = tmp_path / "map.html"
    directory.mkdir()
    with pytest.raises(SteamAssetsError, match=r"map\.html cannot be written"):
        write_file(directory, b"new")
    assert list(tmp_path.iterdir()) == [directory]

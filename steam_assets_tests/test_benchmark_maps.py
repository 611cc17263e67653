"""The benchmark of maps draws what it times."""

import json
from pathlib import Path

import pytest

from steam_assets.pictures.layout import umap_is_installed
from steam_assets_tests.benchmarks import embedding_maps


@pytest.mark.slow
@pytest.mark.skipif(not umap_is_installed(), reason="umap-learn is not installed: it is an extra")
def test_each_size_is_drawn_the_smallest_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the seconds of each part, and a page that has its rows."""
    monkeypatch.setattr(embedding_maps, "FIRST", 20)
    path = tmp_path / "maps.json"
    embedding_maps.main(["--rows", "300", "100", "--json", str(path)])
    found = json.loads(path.read_text())
    assert [row["rows"] for row in found["rows"]] == [100, 300]
    for row in found["rows"]:
        assert all(row[part] > 0 for part in ("umap_s", "pca_s", "clusters_s", "page_s", "picture_s"))
    assert found["rows"][0]["page_bytes"] < found["rows"][1]["page_bytes"]
    assert "|  300 |" in capsys.readouterr().out

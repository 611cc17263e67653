"""A manifest says what an export is of, and knows its parts again."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.exports.manifest import BadExport, Manifest, Origin, Part, file_stem, measure, read_manifest
from steam_assets.store.runs import EmbeddingRun, recipe_digest

RECIPE = {"revision": "1", "preparation": "steam_html@1", "quantization": None}
RUN = EmbeddingRun(3, "a/model", 8, True, RECIPE, None)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Two parts in one file, with an id of text that JSON has to escape."""
    (tmp_path / "a.bin").write_bytes(b"headfirstsecond")
    parts = [
        Part(5, 'é"\n', (measure(tmp_path / "a.bin", "a.bin", 4, 5),)),
        Part(6, "🎮", (measure(tmp_path / "a.bin", "a.bin", 9),)),
    ]
    return Manifest("npy", Origin.of(APPLICATIONS, RUN), tuple(parts))


def test_a_manifest_is_read_as_it_was_written(manifest: Manifest, tmp_path: Path) -> None:
    """And adds up; nothing but the file itself is left in the directory."""
    manifest.write(tmp_path / "a.json")
    assert read_manifest(tmp_path / "a.json") == manifest
    assert (manifest.rows, manifest.bytes, manifest.last_id, manifest.files) == (11, 11, "🎮", ("a.bin",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "a.json"]
    assert manifest.origin.recipe_digest == recipe_digest(RECIPE)


def test_every_byte_of_a_part_is_compared(manifest: Manifest, tmp_path: Path) -> None:
    """A changed one, a missing end and a missing file; what is around the parts, such as a header, is not theirs."""
    path = tmp_path / "a.bin"
    manifest.check_files(tmp_path)
    path.write_bytes(b"HEADfirstsecond and more")
    manifest.check_files(tmp_path)
    for content in (b"headfirstsecon", b"headfirstsecoND", b"headFirstsecond"):
        path.write_bytes(content)
        with pytest.raises(BadExport, match=r"a\.bin is not as the export left it: bytes \d+ to \d+"):
            manifest.check_files(tmp_path)
    path.unlink()
    with pytest.raises(BadExport, match="is not as the export left it"):
        manifest.check_files(tmp_path)


def test_a_stretch_is_measured_by_its_own_bytes(tmp_path: Path) -> None:
    """Its sha256 is what `sha256sum` says of them."""
    content = bytes(range(256)) * 9_000
    (tmp_path / "a").write_bytes(content)
    whole = measure(tmp_path / "a", "a")
    assert (whole.bytes, whole.sha256) == (len(content), sha256(content).hexdigest())
    inside = measure(tmp_path / "a", "a", 1_000, 2_000_000)
    assert (inside.offset, inside.bytes, inside.sha256) == (
        1_000,
        2_000_000,
        sha256(content[1_000:2_001_000]).hexdigest(),
    )


def test_names_of_files_are_plain_whatever_the_column_is_called() -> None:
    """No separator and no space."""
    assert file_stem(APPLICATIONS) == "applications.description_embedding"
    odd = TextColumn(table="a b/..", id="id", text="t", vector='v"1', schema="s;é")
    assert file_stem(odd) == "s_é.a_b_...v_1"


def test_a_run_without_a_recipe_has_no_digest() -> None:
    """As those of the predecessor."""
    assert Origin.of(APPLICATIONS, replace(RUN, recipe=None)).as_json()["recipe_digest"] is None

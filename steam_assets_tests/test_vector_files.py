"""Files of vectors are read as they are, or refused with what was found and what was expected; nothing is unpickled."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.exports.manifest import BadExport, Format
from steam_assets.exports.vector_files import VectorFile, check_vectors, open_vectors
from steam_assets_tests.exported import export
from steam_assets_tests.rows import NUMBERED, Connect, add_rows, embed

ROWS = 6


def unit_vectors(rows: int = ROWS, dimension: int = 8) -> NDArray[np.float64]:
    """Vectors of length 1."""
    vectors = np.random.default_rng(1).normal(size=(rows, dimension))
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def published(directory: Path, vectors: NDArray[Any], ids: str) -> VectorFile:
    """The published layout: a .npy file and a CSV of ids beside it."""
    np.save(directory / "02_embeddings_vectors.npy", vectors)
    (directory / "02_embeddings_appids.csv").write_text(ids)
    return open_vectors(directory / "02_embeddings_vectors.npy", directory / "02_embeddings_appids.csv")


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_in_either_order_is_read_as_float32(tmp_path: Path, dtype: str, order: Any) -> None:
    """Half and double precision, big-endian numbers, and columns first."""
    vectors = np.asarray(unit_vectors(), dtype=dtype, order=order)
    file = published(tmp_path, vectors, "appid\n" + "".join(f"{n}.0\n" for n in range(ROWS)))
    check_vectors(file, APPLICATIONS)
    (page,) = file.pages(APPLICATIONS)
    assert (file.rows, file.dimension, file.origin, page.source_md5) == (ROWS, 8, None, None)
    assert page.ids == list(range(ROWS))
    assert page.vectors.dtype == np.float32
    assert (page.vectors == vectors.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("column", "header", "first"),
    [
        (APPLICATIONS, "appid", 0),
        (APPLICATIONS, "App ID,name", 0),
        (APPLICATIONS, "row,id", 1),
        (APPLICATIONS, "whatever", 0),
        (REVIEWS, "review_id", 0),
        (REVIEWS, "appid,recommendationid", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_column_of_ids_is_known_by_its_name(tmp_path: Path, column: TextColumn, header: str, first: int) -> None:
    """However the file calls it; a single column needs no name that is known."""
    width = header.count(",") + 1
    lines = "".join(",".join(str(10 * n + place) for place in range(width)) + "\n" for n in range(ROWS))
    (page,) = published(tmp_path, unit_vectors(), f"\ufeff{header}\n{lines}").pages(column)
    expected = [10 * n + first for n in range(ROWS)]
    assert page.ids == (expected if column.id_type == "bigint" else list(map(str, expected)))


def ids(*lines: str) -> str:
    """A CSV of ids."""
    return "appid\n" + "".join(f"{line}\n" for line in lines)


GOOD_IDS = ids(*map(str, range(ROWS)))


def spoiled(row: int, value: float) -> NDArray[np.float32]:
    """Sound vectors but for one number."""
    vectors = unit_vectors().astype(np.float32)
    vectors[row, 3] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "listed", "message"),
    [
        (spoiled(2, np.nan), GOOD_IDS, r"row 3: the vector of 2 has numbers that are not finite"),
        (spoiled(4, np.inf), GOOD_IDS, r"row 5: the vector of 4 has numbers that are not finite"),
        (spoiled(0, 7), GOOD_IDS, r"row 1: the vector of 0 has length 7\.\d+; expected length 1"),
        (unit_vectors() * 1.01, GOOD_IDS, r"has length 1\.01; expected length 1"),
        (np.zeros((ROWS, 8)), GOOD_IDS, r"has length 0;"),
        (unit_vectors(), ids(*"12345"), r"holds 5 ids; expected 6"),
        (unit_vectors(), ids(*"1234567"), r"holds 7 ids; expected 6"),
        (unit_vectors(), ids(*"123452"), r"the id '2' is there twice"),
        (unit_vectors(), ids(*"12345", "x"), r"line 7: the id is 'x'; expected a whole number"),
        (unit_vectors(), ids(*"12345", "9" * 19), r"line 7: the id is 9999999999999999999; expected"),
        (unit_vectors(), ids(*"12345", "6,7"), r"line 7: 2 fields; expected 1"),
        (unit_vectors(), "".join(f"{n}\n" for n in range(ROWS)), r"its first line names 0; expected appid"),
        (unit_vectors(), "name,price\n", r"its first line names name, price; expected appid"),
        (unit_vectors(), "", r"its first line names none; expected appid"),
        (unit_vectors(), 'appid\n"1\n', r"cannot be read as a CSV of ids: .*--ids"),
        (unit_vectors(), "appid,source_md5\n1,abc\n", r"source_md5 is 'abc'; expected the 32 hexadecimal digits"),
        (unit_vectors()[0], GOOD_IDS, r"holds float64 of shape \(8,\); expected float32"),
        (np.ones((ROWS, 8), dtype=np.int64), GOOD_IDS, r"holds int64 of shape \(6, 8\); expected float32"),
        (np.ones((ROWS, 8), dtype=np.complex64), GOOD_IDS, r"holds complex64"),
        (np.array([[{"a": 1}]], dtype=object), GOOD_IDS, r"cannot be read as \.npy: .*Python objects"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_not_sound_is_refused_with_what_was_found(
    tmp_path: Path, vectors: NDArray[Any], listed: str, message: str
) -> None:
    """The row and its id, so that one can look; every file is read to its end."""
    with pytest.raises(BadExport, match=message):
        check_vectors(published(tmp_path, vectors, listed), APPLICATIONS)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    """It could run anything; only the header of .npy and its numbers are read."""

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
            return exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    path = tmp_path / "a.npy"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadExport, match=r"cannot be read as \.npy"):
        open_vectors(path, path)
    np.save(path, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(BadExport, match="Python objects"):
        open_vectors(path, path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kept", [0, 5, 60, 127, 200])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    """In its header or in its numbers."""
    file = tmp_path / "a.npy"
    np.save(file, unit_vectors())
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BadExport, match=r"a\.npy cannot be read as \.npy"):
        open_vectors(file)


@pytest.fixture
def exported(conn: connection, numbered: TextColumn, connect: Connect, tmp_path: Path) -> Callable[[Format], Path]:
    """A directory with an export of ten rows."""
    add_rows(conn, numbered, {n: f"text {n}" for n in range(10)})
    embed(conn, numbered)

    def make(file_format: Format) -> Path:
        export(connect, numbered, tmp_path / file_format, file_format)
        return tmp_path / file_format

    return make


@pytest.mark.parametrize("file_format", ["npy", "parquet"])
def test_an_export_is_named_by_its_directory_its_manifest_or_its_file(
    exported: Callable[[Format], Path], file_format: Format
) -> None:
    """Each says what made the vectors, so that nothing has to be guessed."""
    directory = exported(file_format)
    data = sorted(directory.glob(f"*.{file_format}"))[0]
    for path in (directory, directory / f"{NUMBERED}.json", data):
        file = open_vectors(path)
        assert file.origin is not None
        assert (file.rows, file.dimension, file.origin.model_name) == (10, 8, "made-up")
        assert file.origin.recipe == {"revision": "first"}
        check_vectors(file, NUMBERED)
        assert [id_ for page in file.pages(NUMBERED) for id_ in page.ids] == list(range(10))
    with pytest.raises(BadExport, match=r"ids of numbered\.body_vector \(bigint\); those of reviews.* are text"):
        check_vectors(open_vectors(directory), REVIEWS)


@pytest.mark.parametrize("file_format", ["npy", "parquet"])
def test_an_export_that_was_changed_or_cut_off_is_refused(
    exported: Callable[[Format], Path], file_format: Format
) -> None:
    """By its sha256, whatever the change; a file named by itself is read to its end instead."""
    directory = exported(file_format)
    for path in sorted(directory.glob(f"*.{file_format}")) + sorted(directory.glob("*.csv")):
        content = path.read_bytes()
        for spoilt in (content[:-3], content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]):
            path.write_bytes(spoilt)
            with pytest.raises(BadExport, match=r"is not as the export left it"):
                open_vectors(directory)
        path.write_bytes(content)
    check_vectors(open_vectors(directory), NUMBERED)
    if file_format == "parquet":
        path.write_bytes(content[:-30])
        with pytest.raises(BadExport, match="cannot be read"):
            check_vectors(open_vectors(path), NUMBERED)


def test_a_directory_with_no_export_or_an_unfinished_one_says_so(tmp_path: Path) -> None:
    """Not an empty import."""
    with pytest.raises(BadExport, match=r"holds 0 manifests of exports"):
        open_vectors(tmp_path)
    (tmp_path / "a.json.unfinished").write_text("{}")
    with pytest.raises(BadExport, match="unfinished: go on with it first"):
        open_vectors(tmp_path)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("", "is no manifest"),
        ("[]", "is no manifest"),
        ('{"layout_version": 1}', "is no manifest"),
        ('{"layout_version": 9, "format": "npy"}', r"layout is 9 \('npy'\), expected 1"),
    ],
)
def test_a_json_file_that_is_no_manifest_is_refused(tmp_path: Path, told: str, message: str) -> None:
    """With its name."""
    path = tmp_path / "a.json"
    path.write_text(told)
    with pytest.raises(BadExport, match=rf"a\.json .*{message}"):
        open_vectors(path)


def test_a_manifest_names_files_beside_it_only(exported: Callable[[Format], Path]) -> None:
    """What it says is not ours to trust: a path out of the directory is refused, and one file where two belong."""
    path = exported("npy") / f"{NUMBERED}.json"
    told = json.loads(path.read_text())
    pieces = told["parts"][0]["pieces"]
    for name in ("../../etc/passwd", "..", ".", ""):
        pieces[0]["file"] = name
        path.write_text(json.dumps(told))
        with pytest.raises(BadExport, match="names a file outside its directory"):
            open_vectors(path)
    del pieces[0]
    path.write_text(json.dumps(told))
    with pytest.raises(BadExport, match=r"names 1 files; expected two"):
        open_vectors(path)


@pytest.mark.parametrize("header", ["no,source_md5", "id,source_md4", "source_md5,id"])
def test_the_first_line_of_our_ids_is_read_as_we_wrote_it(exported: Callable[[Format], Path], header: str) -> None:
    """No sha256 covers it; without the digests old vectors would be those of texts that have changed since."""
    directory = exported("npy")
    path = directory / f"{NUMBERED}_ids.csv"
    path.write_text(path.read_text().replace("id,source_md5", header, 1))
    with pytest.raises(BadExport, match=r"its first line names .+; expected id, source_md5"):
        check_vectors(open_vectors(directory), NUMBERED)


def test_parquet_of_other_tools_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """It does not say what made its vectors; neither does text with that ending."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(BadExport, match=r"was not made by `steam-assets export`.* --ids"):
        open_vectors(path)
    path.write_text("appid\n1\n")
    with pytest.raises(BadExport, match="cannot be read as parquet"):
        open_vectors(path)
    with pytest.raises(BadExport, match="is no file of vectors"):
        open_vectors(tmp_path / "a.txt")

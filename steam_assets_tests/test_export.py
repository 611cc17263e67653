"""A run's vectors reach files bit for bit, whatever kills the export on its way, and never a half of them."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.exports.manifest import BadExport, Format, read_manifest
from steam_assets_tests.exported import contents_of, export, killed_at_step
from steam_assets_tests.mounts import small_disk
from steam_assets_tests.rows import (
    DIMENSION,
    ODD_IDS,
    Connect,
    add_rows,
    change_recipe,
    embed,
    execute,
    fetch,
    target_of,
)

BOTH: tuple[Format, ...] = ("parquet", "npy")
PART_ROWS = 7
KILLS_AT_MOST = 200
DISK_BYTES = 1 << 17
BLOCK_BYTES = 4096

Rows = dict[int | str, tuple[list[float], str]]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of seven rows, read in pages of three."""
    monkeypatch.setattr("steam_assets.exports.export.PART_BYTES", 4 * DIMENSION * PART_ROWS)
    monkeypatch.setattr("steam_assets.store.export_rows.PAGE_ROWS", 3)


@pytest.fixture
def many(conn: connection, numbered: TextColumn) -> TextColumn:
    """Twenty-five numbered rows with vectors, and two without."""
    add_rows(conn, numbered, {n * 10: f"text {n}" if n % 12 else None for n in range(1, 28)})
    embed(conn, numbered)
    return numbered


def is_final(name: str) -> bool:
    """Whether a file has the name that others look for."""
    return not name.endswith((".unfinished", ".new"))


def stored(conn: connection, column: TextColumn) -> Rows:
    """The table's vectors and digests by id, in the table's order."""
    query = f"SELECT {column.id}, {column.vector}::text, replace({column.digest}::text, '-', '') FROM {column.table}"  # noqa: S608
    rows = fetch(conn, f"{query} WHERE {column.vector} IS NOT NULL ORDER BY {column.id}")
    return {id_: (json.loads(str(vector)), str(md5)) for id_, vector, md5 in rows}  # type: ignore[misc]


def in_files(directory: Path, column: TextColumn, file_format: Format) -> Rows:
    """What other programs find in the files of an export."""
    if file_format == "parquet":
        rows = [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
        return {row["id"]: (row["vector"], row["source_md5"]) for row in rows}
    vectors = np.load(directory / f"{column}.npy")
    assert vectors.dtype == np.float32
    with (directory / f"{column}_ids.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == [column.id, "source_md5"]
    ids = [int(id_) if column.id_type == "bigint" else id_ for id_, _ in lines]
    return {id_: (row.tolist(), line[1]) for id_, row, line in zip(ids, vectors, lines, strict=True)}


@pytest.mark.parametrize("file_format", BOTH)
def test_other_programs_find_every_vector_bit_for_bit_in_the_tables_order(
    conn: connection, notes: TextColumn, connect: Connect, small_parts: None, tmp_path: Path, file_format: Format
) -> None:
    """Ids with quotes, line ends and other scripts are ids like any other."""
    add_rows(conn, notes, {**{id_: f"text of {id_}" for id_ in ODD_IDS}, "cr\rinside": "a", "blank": " "})
    embed(conn, notes)
    report = export(connect, notes, tmp_path / "out", file_format)

    expected = stored(conn, notes)
    found = in_files(tmp_path / "out", notes, file_format)
    assert list(found) == list(expected)
    for id_, (vector, digest) in expected.items():
        assert np.array(found[id_][0], np.float32).tobytes() == np.array(vector, np.float32).tobytes()
        assert found[id_][1] == digest
    assert (report.rows, report.without_vector, report.other_runs) == (len(ODD_IDS) + 1, 1, 0)
    assert len(read_manifest(tmp_path / "out" / f"{notes}.json").parts) == -(-report.rows // PART_ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", BOTH)
def test_killed_at_any_step_and_resumed_it_ends_in_the_same_bytes(
    many: TextColumn, connect: Connect, small_parts: None, tmp_path: Path, file_format: Format
) -> None:
    """At each page, each rename and each word to the disk in turn; no final name ever stands for half a file."""
    export(connect, many, tmp_path / "whole", file_format)
    whole = contents_of(tmp_path / "whole")
    kills = 0
    for number in range(1, KILLS_AT_MOST):
        directory = tmp_path / f"killed_{number}"
        if not killed_at_step(number, lambda step: export(connect, many, directory, file_format, progress=step)):  # noqa: B023
            break
        kills += 1
        left = contents_of(directory)
        assert all(
            whole[name] == content for name, content in left.items() if not name.endswith((".unfinished", ".new"))
        )
        export(connect, many, directory, file_format, resume=True)
        assert contents_of(directory) == whole, f"killed at step {number}"
    assert kills > 25


@pytest.mark.parametrize("file_format", BOTH)
def test_killed_again_and_again_it_still_ends(
    many: TextColumn, connect: Connect, small_parts: None, tmp_path: Path, file_format: Format
) -> None:
    """A process that never gets far makes progress all the same, part by part."""
    export(connect, many, tmp_path / "whole", file_format)
    directory = tmp_path / "killed"
    resumed = 0
    while killed_at_step(15, lambda step: export(connect, many, directory, file_format, progress=step, resume=True)):
        resumed += 1
        assert resumed < KILLS_AT_MOST
    assert resumed > 1
    assert contents_of(directory) == contents_of(tmp_path / "whole")


def test_a_resumed_export_says_what_it_kept_and_reads_only_the_rest(
    conn: connection, many: TextColumn, connect: Connect, small_parts: None, tmp_path: Path
) -> None:
    """Rows that got a vector behind it meanwhile are not in it, and are counted; each id is in it once."""
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done > 2 * PART_ROWS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(connect, many, tmp_path, "npy", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{many}{name}.unfinished" for name in (".json", ".npy", "_ids.csv")
    ]
    add_rows(conn, many, {11: "too late", 271: "in time"})
    embed(conn, many)
    report = export(connect, many, tmp_path, "npy", resume=True)
    assert (report.kept_rows, report.rows, report.written_meanwhile) == (2 * PART_ROWS, 26, 1)
    found = in_files(tmp_path, many, "npy")
    assert len(found) == 26
    assert 271 in found
    assert 11 not in found
    assert seen[0] == (0, 25)


def test_rows_of_other_runs_and_of_unknown_texts_are_left_out_and_counted(
    conn: connection, many: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """An export never mixes runs; a row that has a run and no digest was stamped by another tool."""
    first = target_of(conn, many)
    second = change_recipe(conn, many, "second")
    execute(conn, "UPDATE numbered SET body_vector = NULL WHERE id <= 50")
    embed(conn, many)
    execute(conn, "UPDATE numbered SET embedding_run_id = %(run)s WHERE id > 200", run=first)
    execute(conn, "UPDATE numbered SET body_vector_source_md5 = NULL WHERE id = 100")

    report = export(connect, many, tmp_path / "second", "npy", second)
    assert (report.rows, report.other_runs, report.without_vector) == (18, 7, 2)
    assert all(id_ <= 200 and id_ != 100 for id_ in in_files(tmp_path / "second", many, "npy"))  # type: ignore[operator]
    assert export(connect, many, tmp_path / "first", "npy", first).rows == 6


def test_a_halfvec_column_comes_as_the_float32_that_its_halves_are(
    conn: connection, many: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """Every half is a float32 too: nothing is rounded on the way out."""
    execute(conn, "ALTER TABLE numbered ALTER COLUMN body_vector TYPE halfvec(8) USING body_vector::halfvec(8)")
    for file_format in BOTH:
        export(connect, many, tmp_path / file_format, file_format)
        found = in_files(tmp_path / file_format, many, file_format)
        vectors = np.array([vector for vector, _ in found.values()], dtype=np.float32)
        assert (vectors.astype(np.float16).astype(np.float32) == vectors).all()
        expected = np.array([vector for vector, _ in stored(conn, many).values()], dtype=np.float16)
        assert (vectors.astype(np.float16) == expected).all()


def test_an_export_that_is_there_is_replaced_or_continued_only_when_one_says_so(
    conn: connection, many: TextColumn, connect: Connect, small_parts: None, tmp_path: Path
) -> None:
    """Complete or not; --resume of a complete one changes nothing, --force leaves nothing of the former behind."""
    export(connect, many, tmp_path, "parquet")
    before = contents_of(tmp_path)
    with pytest.raises(SteamAssetsError, match=r"An export is in .*--resume.*--force"):
        export(connect, many, tmp_path, "parquet")
    assert export(connect, many, tmp_path, "parquet", resume=True).kept_rows == 25
    assert contents_of(tmp_path) == before
    with pytest.raises(SteamAssetsError, match=r"as parquet; asked for .* as npy\. Begin anew with --force"):
        export(connect, many, tmp_path, "npy", resume=True)
    export(connect, many, tmp_path, "npy", force=True)
    assert sorted(contents_of(tmp_path)) == [f"{many}{name}" for name in (".json", ".npy", "_ids.csv")]

    (tmp_path / f"{many}.json").rename(tmp_path / f"{many}.json.unfinished")
    with pytest.raises(SteamAssetsError, match=r"An unfinished export is in .*--resume"):
        export(connect, many, tmp_path, "npy")
    second = change_recipe(conn, many, "second")
    embed(conn, many)
    with pytest.raises(SteamAssetsError, match=rf"is of run \d+ .* asked for is run {second} "):
        export(connect, many, tmp_path, "npy", resume=True)


@pytest.mark.parametrize("file_format", BOTH)
def test_files_without_a_manifest_are_replaced_only_when_one_says_so(
    many: TextColumn, connect: Connect, tmp_path: Path, file_format: Format
) -> None:
    """Somebody's own, copies of an export, or what a killed one left; of either format."""
    export(connect, many, tmp_path / "whole", file_format)
    for name in (f"{many}.npy", f"{many}.npy.unfinished", f"{many}_ids.csv", f"{many}-00000.parquet"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / name).write_text("mine")
        with pytest.raises(SteamAssetsError, match=rf"{name} is there already, and no manifest .* with --force"):
            export(connect, many, directory, file_format)
        assert contents_of(directory) == {name: b"mine"}
        export(connect, many, directory, file_format, force=True)
        assert contents_of(directory) == contents_of(tmp_path / "whole")


def test_a_part_that_was_changed_is_not_built_upon(
    many: TextColumn, connect: Connect, small_parts: None, tmp_path: Path
) -> None:
    """The sha256 of each part is compared before an export goes on."""
    assert killed_at_step(15, lambda step: export(connect, many, tmp_path, "parquet", progress=step))
    part = tmp_path / f"{many}-00000.parquet"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    with pytest.raises(BadExport, match=r"is not as the export left it.* --force"):
        export(connect, many, tmp_path, "parquet", resume=True)


@pytest.mark.parametrize("file_format", BOTH)
def test_a_full_disk_leaves_whole_parts_and_one_message(
    many: TextColumn, connect: Connect, small_parts: None, tmp_path: Path, file_format: Format
) -> None:
    """Wherever the room ends; with room again it goes on from there, and ends as if nothing had been."""
    export(connect, many, tmp_path / "whole", file_format)
    whole = contents_of(tmp_path / "whole")
    said = []
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        for room in range(DISK_BYTES // BLOCK_BYTES):
            filler, directory = disk / "filler", disk / f"out_{room}"
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, DISK_BYTES - room * BLOCK_BYTES)
            try:
                export(connect, many, directory, file_format)
            except SteamAssetsError as error:
                said.append(str(error))
                left = contents_of(directory)
                assert f"{many}.json" not in left
                assert all(whole[name] == content for name, content in left.items() if is_final(name))
            filler.unlink()
            export(connect, many, directory, file_format, resume=True)
            assert contents_of(directory) == whole, f"with {room} blocks of room"
            shutil.rmtree(directory)
    assert 1 < len(said) < DISK_BYTES // BLOCK_BYTES
    assert all(re.search(r"cannot be written: .*No space left.* --resume", message) for message in said)


def test_two_exports_into_one_directory_do_not_meet(
    many: TextColumn, connect: Connect, small_parts: None, tmp_path: Path
) -> None:
    """The second is refused while the first is at work."""
    refused: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if done == PART_ROWS:
            with pytest.raises(SteamAssetsError, match="Another export is writing") as error:
                export(connect, many, tmp_path, "npy", force=True)
            refused.append(str(error.value))

    export(connect, many, tmp_path, "npy", progress=meanwhile)
    assert refused
    assert len(in_files(tmp_path, many, "npy")) == 25


def test_a_run_without_vectors_writes_nothing(
    conn: connection, notes: TextColumn, connect: Connect, tmp_path: Path
) -> None:
    """An export of nothing would look like one of everything."""
    add_rows(conn, notes, {"a": "a"})
    with pytest.raises(SteamAssetsError, match=r"has no vector of run \d+ \(made-up\)"):
        export(connect, notes, tmp_path / "out", "npy")
    assert not (tmp_path / "out").exists()

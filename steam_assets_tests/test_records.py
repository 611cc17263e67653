"""Rows come out of files as they were written, and a broken row costs no other."""

import csv
import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_assets.store.files import InputFile, UnreadableFile
from steam_assets.store.records import BrokenRecord, Record, read_header, read_rows

HEADER = "recommendationid,appid,review_text\n"


def _csv(path: Path, content: str | bytes, header: str = HEADER) -> InputFile:
    path.write_bytes(header.encode() + (content if isinstance(content, bytes) else content.encode()))
    return InputFile(path, None, "reviews", "csv")


def _texts(file: InputFile) -> list[object]:
    return [row.values["review_text"] for row in read_rows(file) if isinstance(row, Record)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_survives_csv(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Commas, quotes, line ends of every kind and NUL come back exactly; an empty field is None."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [[i, 1, text] for i, text in enumerate(texts)]
    )
    file = _csv(tmp_path_factory.getbasetemp() / "any.csv", out.getvalue())
    assert _texts(file) == [text or None for text in texts]


def test_text_of_several_lines_is_one_row_and_rows_after_it_know_their_line(tmp_path: Path) -> None:
    """Line numbers are those an editor shows."""
    file = _csv(tmp_path / "a.csv", '1,10,"one\r\ntwo\n\nfour ""quoted"""\n2,10,next\n')
    rows = list(read_rows(file))
    assert [row.line for row in rows] == [2, 6]
    assert _texts(file) == ['one\r\ntwo\n\nfour "quoted"', "next"]


def test_a_carriage_return_outside_quotes_belongs_to_the_text(tmp_path: Path) -> None:
    """pandas writes a lone CR without quotes; taking it for a row's end would break two rows."""
    file = _csv(tmp_path / "a.csv", "1,10,left\rright\r\n2,10,next\r\n")
    assert _texts(file) == ["left\rright", "next"]


def test_a_row_with_too_few_or_too_many_fields_is_broken_by_its_line(tmp_path: Path) -> None:
    """The rows around it are read."""
    rows = list(read_rows(_csv(tmp_path / "a.csv", "1,10,a\n2,10\n3,10,b,c\n4,10,d\n")))
    assert [(row.line, type(row)) for row in rows] == [(2, Record), (3, BrokenRecord), (4, BrokenRecord), (5, Record)]
    assert isinstance(rows[1], BrokenRecord)
    assert rows[1].reason == "2 fields where the header has 3"


def test_a_quote_left_open_costs_its_own_row_only(tmp_path: Path) -> None:
    """The rows that the open quote swallowed are read again, to the end of the file too."""
    middle = _csv(tmp_path / "a.csv", '1,10,a\n2,10,"open\n3,10,b\n4,10,"c"\n5,10,d\n')
    assert [row.line for row in read_rows(middle) if isinstance(row, BrokenRecord)] == [3]
    assert _texts(middle) == ["a", "b", "c", "d"]
    last = _csv(tmp_path / "b.csv", '1,10,a\n2,10,"open\n3,10,b\n')
    assert [row.line for row in read_rows(last) if isinstance(row, BrokenRecord)] == [3]
    assert _texts(last) == ["a", "b"]


def test_bytes_that_are_not_utf8_stay_visible_to_the_column_that_holds_them(tmp_path: Path) -> None:
    """Nothing is replaced silently; values.py refuses such a text with the byte in question."""
    assert _texts(_csv(tmp_path / "a.csv", b"1,10,caf\xe9\n2,10,ok\n")) == ["caf\udce9", "ok"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """Spreadsheets write one."""
    file = _csv(tmp_path / "a.csv", "1,10,a\n", header="\ufeff" + HEADER)
    assert read_header(file) == ["recommendationid", "appid", "review_text"]


def test_a_field_of_megabytes_is_read(tmp_path: Path) -> None:
    """The csv module's own limit of 131,072 characters is no limit of ours."""
    assert _texts(_csv(tmp_path / "a.csv", f'1,10,"{"x" * 3_000_000}"\n')) == ["x" * 3_000_000]


def test_a_line_longer_than_the_limit_is_broken_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without line ends must not fill the memory."""
    monkeypatch.setattr("steam_assets.store.records.MAX_ROW_BYTES", 1_000)
    file = _csv(tmp_path / "a.csv", "1,10," + "x" * 5_000 + "\n2,10,b\n")
    assert [type(row) for row in read_rows(file)] == [BrokenRecord, Record]
    assert _texts(file) == ["b"]


def _jsonl(path: Path, content: str) -> InputFile:
    path.write_text(content)
    return InputFile(path, None, "reviews", "jsonl")


def test_json_keeps_long_ids_exact(tmp_path: Path) -> None:
    """Seventeen digits are more than a float holds."""
    file = _jsonl(tmp_path / "a.jsonl", '{"review_id": 76561198000000001, "score": 0.52380955600738525391}\n')
    (row,) = read_rows(file)
    assert isinstance(row, Record)
    assert row.values["recommendationid"] == 76561198000000001
    assert str(row.values["score"]) == "0.52380955600738525391"


def test_a_broken_json_line_costs_itself_only(tmp_path: Path) -> None:
    """Its line is named, blank lines count as lines, NaN is what pandas writes for nothing."""
    file = _jsonl(tmp_path / "a.jsonl", '{"review": "a"}\n\n{"review": \n[1]\n{"review": NaN}\n{"review": Infinity}\n')
    rows = list(read_rows(file))
    assert [(row.line, type(row)) for row in rows] == [
        (1, Record),
        (3, BrokenRecord),
        (4, BrokenRecord),
        (5, Record),
        (6, BrokenRecord),
    ]
    assert _texts(file) == ["a", None]


def test_json_nested_without_end_is_a_broken_row(tmp_path: Path) -> None:
    """A hundred thousand brackets are bad input, no crash."""
    rows = list(read_rows(_jsonl(tmp_path / "a.jsonl", "[" * 100_000 + '\n{"review": "a"}\n')))
    assert [type(row) for row in rows] == [BrokenRecord, Record]


@pytest.mark.parametrize("kind", ["csv", "gz", "zip"])
def test_a_large_file_is_read_with_bounded_memory(tmp_path: Path, kind: str) -> None:
    """Reading holds a few buffers, wherever the file lies; here 20 MB of rows in less than 6 MB."""
    row = b"1,10," + b"some review text " * 60 + b"\n"
    content = HEADER.encode() + row * 20_000
    path = tmp_path / f"reviews.csv.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("reviews.csv", content)
    else:
        path.write_bytes(gzip.compress(content, 1) if kind == "gz" else content)
    del content
    file = InputFile(path, "reviews.csv" if kind == "zip" else None, "reviews", "csv")
    tracemalloc.start()
    count = sum(1 for _ in read_rows(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 6_000_000


def test_a_file_that_ends_too_soon_says_so(tmp_path: Path) -> None:
    """A download that broke off is not a shorter table."""
    path = tmp_path / "reviews.csv.gz"
    path.write_bytes(gzip.compress(HEADER.encode() + b"1,10,text\n" * 100_000)[:-100])
    with pytest.raises(UnreadableFile, match="cannot be read to its end"):
        list(read_rows(InputFile(path, None, "reviews", "csv")))

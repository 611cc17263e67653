"""The rows of a CSV or JSONL file, one at a time, broken ones named by line. What the values mean is values.py."""

import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, cast
from zipfile import BadZipFile, ZipFile

from steam_assets.store.files import InputFile, UnknownFile, UnreadableFile, column_names

MAX_ROW_BYTES = 64 * 1024 * 1024
HEADER_ROWS = 100
"""JSONL rows whose keys together are taken for the header: keys without a value are often left out."""
READ_BUFFER_BYTES = 1024 * 1024
# A carriage return inside a line, while the csv module looks: it takes every one for the end of a row. Decoding never
# gives this character, since surrogateescape is for bytes from 0x80.
LONE_CR = "\udc0d"


@dataclass(frozen=True, slots=True)
class Record:
    """A row: the line it starts on, and its values by column; a value that the file leaves empty is None."""

    line: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A row that cannot be read, and why."""

    line: int
    reason: str


class _BrokenLine(ValueError):
    pass


def read_header(file: InputFile) -> list[str]:
    """The columns of a file, as the tables call them; of JSONL, the keys of its first rows together."""
    with _open(file) as stream:
        if file.format == "csv":
            return _csv_header(file, _Lines(stream, file.label))
        columns: dict[str, None] = {}
        reason = "it is empty"
        for row, _ in zip(_jsonl_rows(_Lines(stream, file.label)), range(HEADER_ROWS), strict=False):
            if isinstance(row, Record):
                columns.update(dict.fromkeys(row.values))
            else:
                reason = f"line {row.line}: {row.reason}"
        if not columns:
            raise UnknownFile(f"{file.label} has no rows to tell its table by: {reason}.")
        return list(columns)


def read_rows(file: InputFile) -> Iterator[Record | BrokenRecord]:
    """Every row of a file, in its order, with bounded memory; blank lines are no rows.

    Bytes that are not UTF-8 come as lone surrogates: the column that holds them refuses them.
    """
    with _open(file) as stream:
        lines = _Lines(stream, file.label)
        if file.format == "csv":
            yield from _csv_rows(lines, _csv_header(file, lines))
        else:
            yield from _jsonl_rows(lines)


@contextmanager
def _open(file: InputFile) -> Iterator[IO[bytes]]:
    try:
        with ExitStack() as opened:
            stream: IO[bytes]
            if file.member is None:
                stream = opened.enter_context(file.path.open("rb"))
            else:
                stream = opened.enter_context(opened.enter_context(ZipFile(file.path)).open(file.member))
            if (file.member or file.path.name).lower().endswith(".gz"):
                stream = cast(IO[bytes], opened.enter_context(gzip.GzipFile(fileobj=stream)))
            # The readline of a zip member is a loop in Python; a buffer around it reads lines in C.
            yield io.BufferedReader(cast(io.RawIOBase, stream), READ_BUFFER_BYTES)
    except (OSError, EOFError, zlib.error, BadZipFile, RuntimeError, NotImplementedError) as error:
        # RuntimeError is what zipfile raises for an encrypted member.
        raise UnreadableFile(f"{file.label} cannot be read to its end: {error}") from error


class _Lines(Iterator[str]):
    """A file's lines, split at LF only and counted from 1; the lines of the current record can be given back."""

    def __init__(self, stream: IO[bytes], label: str) -> None:
        self.number = 0
        self._label = label
        self._stream = stream
        self._record: list[str] = []
        self._record_size = 0
        self._again: deque[str] = deque()

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        self.number += 1
        self._record.append(line)
        self._record_size += len(line)
        if self._record_size > MAX_ROW_BYTES:
            raise _BrokenLine(f"longer than {MAX_ROW_BYTES >> 20} MiB: a line end or a closing quote is missing")
        return line

    def begin_record(self) -> int:
        """Forget the lines of the last record; the number of the next line."""
        self._record.clear()
        self._record_size = 0
        return self.number + 1

    def give_back(self) -> None:
        """Return to the line after the record's first: a quote left open has swallowed rows that are sound."""
        again = self._record[1:]
        self._again.extendleft(reversed(again))
        self.number -= len(again)

    def _read(self) -> str:
        line = self._stream.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        rest = line
        while len(rest) > MAX_ROW_BYTES and not rest.endswith(b"\n"):
            rest = self._stream.readline(MAX_ROW_BYTES + 1)
        if self.number == 0:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UnreadableFile(f"{self._label} is UTF-16; save it as UTF-8.")
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line.decode("utf-8", "surrogateescape")


class _CsvLines(Iterator[str]):
    """Lines for the csv module, with carriage returns that end no row put out of its sight."""

    def __init__(self, lines: _Lines) -> None:
        self.replaced = False
        self._lines = lines

    def __next__(self) -> str:
        line = next(self._lines)
        if "\r" in line:
            end = "\r\n" if line.endswith("\r\n") else ""
            body = line.removesuffix(end)
            if "\r" in body:
                self.replaced = True
                return body.replace("\r", LONE_CR) + end
        return line


def _csv_header(file: InputFile, lines: _Lines) -> list[str]:
    csv.field_size_limit(MAX_ROW_BYTES)
    lines.begin_record()
    try:
        written = next(csv.reader(_CsvLines(lines), strict=True), [])
    except (csv.Error, _BrokenLine) as error:
        raise UnreadableFile(f"{file.label}: the header cannot be read: {error}") from None
    if not any(written):
        raise UnknownFile(f"{file.label} is empty; expected a header.")
    if LONE_CR in "".join(written):
        raise UnreadableFile(f"{file.label}: lines end in CR alone; save it with LF or CRLF.")
    if len(set(written)) != len(written):
        twice = sorted({name for name in written if written.count(name) > 1})
        raise UnknownFile(f"{file.label} has columns of the same name: {', '.join(twice)}.")
    return list(column_names(written).values())


def _csv_rows(lines: _Lines, header: list[str]) -> Iterator[Record | BrokenRecord]:
    csv_lines = _CsvLines(lines)
    reader = csv.reader(csv_lines, strict=True)
    while True:
        start = lines.begin_record()
        csv_lines.replaced = False
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _BrokenLine) as error:
            lines.give_back()
            reader = csv.reader(csv_lines, strict=True)
            yield BrokenRecord(start, f"not CSV: {error}")
            continue
        if not fields:
            continue
        if len(fields) != len(header):
            yield BrokenRecord(start, f"{len(fields)} fields where the header has {len(header)}")
            continue
        if csv_lines.replaced:
            fields = [field.replace(LONE_CR, "\r") for field in fields]
        yield Record(start, dict(zip(header, [field or None for field in fields], strict=True)))


def _jsonl_rows(lines: _Lines) -> Iterator[Record | BrokenRecord]:
    # Decimal, because a float would round ids and scores; strict=False lets raw tabs inside strings pass.
    decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_json_constant, strict=False)
    names: dict[tuple[str, ...], dict[str, str]] = {}
    while True:
        start = lines.begin_record()
        try:
            line = next(lines).strip()
            values = decoder.decode(line) if line else None
        except StopIteration:
            return
        except (ValueError, RecursionError) as error:
            yield BrokenRecord(start, f"not JSON: {error}")
            continue
        if not line:
            continue
        if not isinstance(values, dict):
            yield BrokenRecord(start, f"expected one JSON object a line, found a JSON {type(values).__name__}")
            continue
        keys = tuple(values)
        if keys not in names:
            names[keys] = column_names(keys)
        yield Record(start, {names[keys][key]: value for key, value in values.items()})


def _json_constant(name: str) -> None:
    # pandas writes NaN where a value is missing.
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON value")

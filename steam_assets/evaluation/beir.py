"""Query sets in BEIR's layout, from a folder or a zip, checked line by line. What a set is, query_set.py says."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from steam_assets.evaluation.known_items import IN_COLUMN, KNOWN_ITEMS
from steam_assets.evaluation.query_set import BadQuerySet, QuerySet, relevant, shortened, unknown_ids

MAX_DOCUMENTS = 250_000
"""Of a corpus that is encoded in memory: 1 GB of vectors at 1,024 numbers."""

MAX_QUERIES = 100_000
MAX_LINE_BYTES = 16_000_000
MAX_GRADE = 1_000

LAYOUT = (
    "queries.jsonl (_id, text), qrels/test.tsv (query-id, corpus-id, score) and, unless the documents are the rows of "
    "the column, corpus.jsonl (_id, title, text); each also as .gz"
)
UNREADABLE = (OSError, EOFError, BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""What gzip and zipfile raise of files that are cut off, damaged, encrypted or packed in another way."""

Lines = Iterator[tuple[str, str]]
"""Lines, each with its place as an error names it."""


def read_query_set(path: Path, ignore_unknown: bool = False) -> QuerySet:
    """The set in a folder or a zip; raises BadQuerySet saying which line is wrong.

    ``ignore_unknown`` leaves out judgements of queries and documents that are not there, and says how many.
    """
    name = path.resolve().name.removesuffix(".zip")
    if name in (KNOWN_ITEMS, IN_COLUMN):
        raise BadQuerySet(
            f"{path} has the name of a set that is made of the loaded pages, and its scores would pass for those. Give "
            "it another name."
        )
    with _members(path) as members:
        corpus = _corpus(members.lines("corpus.jsonl")) if members.find("corpus.jsonl") else None
        queries, languages = _queries(members.lines("queries.jsonl"))
        qrels = _qrels(members.lines("qrels/test.tsv"))
    notices = []
    if unknown := [query_id for query_id in qrels if query_id not in queries]:
        notices.append(unknown_ids("qrels/test.tsv", "queries", unknown, ignore_unknown))
    if corpus is not None:
        judged = dict.fromkeys(document for grades in qrels.values() for document in grades)
        if unknown := [document for document in judged if document not in corpus]:
            notices.append(unknown_ids("qrels/test.tsv", "documents", unknown, ignore_unknown))
        if empty := sum(not text.strip() for text in corpus.values()):
            notices.append(f"{empty:,} documents are blank, and no search finds them.")
    asked = {
        query_id: {id_: grade for id_, grade in qrels.get(query_id, {}).items() if corpus is None or id_ in corpus}
        for query_id in queries
    }
    answerable = relevant(asked)
    if unjudged := len(asked) - len(answerable):
        notices.append(f"{unjudged:,} queries have no document with a score above 0, and were left out.")
    usable = {query_id: grades for query_id, grades in answerable.items() if queries[query_id].strip()}
    if blank := len(answerable) - len(usable):
        notices.append(f"{blank:,} queries are blank, and were left out.")
    return QuerySet(
        name=name,
        queries={query_id: queries[query_id] for query_id in usable},
        qrels=usable,
        corpus=corpus,
        languages=languages,
        notices=tuple(notices),
    )


class _Members:
    """The files of a folder or of a zip, below the folder in which queries.jsonl lies, as in BEIR's own zips."""

    def __init__(self, label: str, names: set[str], open_member: Callable[[str], IO[bytes]]) -> None:
        self._label = label
        self._names = names
        self._open = open_member
        ends = ("queries.jsonl", "queries.jsonl.gz")
        # __MACOSX/set/._queries.jsonl is what macOS adds to a zip.
        roots = {name.removesuffix(end) for end in ends for name in names if name.rpartition("/")[2] == end}
        if len(roots) != 1:
            raise BadQuerySet(f"{label} has {len(roots)} files queries.jsonl; expected one set: {LAYOUT}.")
        (self._root,) = roots

    def find(self, name: str) -> str | None:
        """The member of this name, plain or packed."""
        return next((found for end in ("", ".gz") if (found := f"{self._root}{name}{end}") in self._names), None)

    def lines(self, name: str) -> Lines:
        """The lines of a member that are not blank; raises BadQuerySet."""
        member = self.find(name)
        if member is None:
            raise BadQuerySet(f"{self._label} has no {name}; expected {LAYOUT}.")
        try:
            with self._open(member) as raw:
                if not member.endswith(".gz"):
                    yield from _lines(raw, name)
                    return
                with gzip.open(raw) as unpacked:
                    yield from _lines(unpacked, name)
        except UNREADABLE as error:
            raise BadQuerySet(f"{self._label}: {name} cannot be read: {error}.") from None


@contextmanager
def _members(path: Path) -> Iterator[_Members]:
    if path.is_dir():
        names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
        yield _Members(path.name, names, lambda name: (path / name).open("rb"))
        return
    try:
        archive = ZipFile(path)
    except FileNotFoundError:
        raise BadQuerySet(f"{path} is not there; expected a folder or a zip with {LAYOUT}.") from None
    except UNREADABLE as error:
        raise BadQuerySet(f"{path.name} cannot be read as a zip: {error}. Expected {LAYOUT}.") from None
    with archive:
        yield _Members(path.name, set(archive.namelist()), archive.open)


def _lines(file: "IO[bytes] | gzip.GzipFile", name: str) -> Lines:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        place = f"{name} line {number:,}"
        if len(line) > MAX_LINE_BYTES:
            raise BadQuerySet(f"{place} is longer than {MAX_LINE_BYTES:,} bytes; expected a line for each record.")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadQuerySet(f"{place} is not UTF-8: {error.reason} at byte {error.start}.") from None
        if text.strip():
            yield place, text


def _corpus(lines: Lines) -> dict[str, str]:
    """Title and text of each document, joined as BEIR does."""
    found: dict[str, str] = {}
    for place, id_, record in _records(lines, found):
        title = _text(place, "title", record["title"]) if record.get("title") else ""
        found[id_] = f"{title} {_text(place, 'text', record.get('text'))}".strip()
        if len(found) > MAX_DOCUMENTS:
            raise BadQuerySet(
                f"corpus.jsonl has more than {MAX_DOCUMENTS:,} documents, and they are encoded in memory. Load them "
                "into a table with a vector column, and leave corpus.jsonl out."
            )
    return found


def _queries(lines: Lines) -> tuple[dict[str, str], dict[str, str]]:
    """Texts of queries, and the languages that their metadata names."""
    found: dict[str, str] = {}
    languages: dict[str, str] = {}
    for place, id_, record in _records(lines, found):
        found[id_] = _text(place, "text", record.get("text"))
        metadata = record.get("metadata")
        language = metadata.get("language") if isinstance(metadata, dict) else None
        if isinstance(language, str) and language.strip():
            languages[id_] = _text(place, "language", language).strip()[:40]
        if len(found) > MAX_QUERIES:
            raise BadQuerySet(f"queries.jsonl has more than {MAX_QUERIES:,} queries; expected a sample of them.")
    return found, languages


def _records(lines: Lines, known: Mapping[str, str]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """JSON objects with an id that none before had."""
    for place, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadQuerySet(f"{place} is not JSON: {error}.") from None
        if not isinstance(record, dict):
            raise BadQuerySet(f"{place} is {shortened(record)}; expected an object with _id and text.")
        id_ = record.get("_id")
        # BEIR's ids are text; a whole number means the same.
        id_ = _text(place, "_id", str(id_) if isinstance(id_, int) and not isinstance(id_, bool) else id_)
        if not id_ or id_ in known:
            raise BadQuerySet(f"{place} has the _id {shortened(id_)}; expected one that no line before it has.")
        yield place, id_, record


def _text(place: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadQuerySet(f"{place}: {name} is {shortened(value)}; expected text.")
    if "\0" in value or not _is_unicode(value):
        raise BadQuerySet(f"{place}: {name} holds a NUL or half of a surrogate pair; expected text.")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _qrels(lines: Lines) -> dict[str, dict[str, int]]:
    """Grades by query and document."""
    found: dict[str, dict[str, int]] = {}
    for row, (place, line) in enumerate(lines):
        cells = [_text(place, "a column", cell.strip()) for cell in line.split("\t")]
        if row == 0 and cells[0].replace("_", "-") == "query-id":
            continue
        if len(cells) != 3:
            raise BadQuerySet(f"{place} has {len(cells)} columns; expected 3 with tabs between them: {LAYOUT}.")
        query_id, document, score = cells
        try:
            grade = int(score)
        except ValueError:
            grade = MAX_GRADE + 1
        if abs(grade) > MAX_GRADE:
            raise BadQuerySet(f"{place}: the score is {shortened(score)}; expected a whole number such as 0, 1 or 2.")
        if found.setdefault(query_id, {}).setdefault(document, grade) != grade:
            raise BadQuerySet(f"{place} gives document {shortened(document)} a second, other score.")
    return found

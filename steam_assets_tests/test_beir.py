"""A query set in BEIR's layout is read from a folder or a zip, and a line that is wrong is named."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from steam_assets.evaluation import beir
from steam_assets.evaluation.beir import read_query_set
from steam_assets.evaluation.query_set import BadQuerySet
from steam_assets_tests.query_sets import CORPUS, FILES, QRELS, QUERIES, folder_of


def zip_of(path: Path, files: Mapping[str, str | bytes]) -> Path:
    """A zip with these members."""
    with ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_folder_is_read_with_titles_grades_and_languages(home: Path) -> None:
    """Title and text are joined, as BEIR does."""
    found = read_query_set(folder_of(home))
    assert found.name == "farms"
    assert found.queries == {"q1": "a cozy farm", "q2": "trains"}
    assert found.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert found.corpus == {"d1": "Turnips Grow them.", "d2": "Lay tracks."}
    assert found.languages == {"q2": "en"}
    assert found.notices == ()


def test_a_zip_with_a_folder_in_it_is_the_same_set(home: Path) -> None:
    """So BEIR publishes them; packed files and what macOS adds do no harm."""
    packed = {f"farms/{name}.gz": gzip.compress(text.encode()) for name, text in FILES.items()}
    written = zip_of(home / "set.zip", {**packed, "__MACOSX/farms/._queries.jsonl": b"\0\1", "farms/": ""})
    assert read_query_set(written).digest == read_query_set(folder_of(home)).digest


@pytest.mark.parametrize("name", ["known-items", "known-items-in-column"])
def test_a_set_has_no_name_of_those_that_are_made_here(home: Path, name: str) -> None:
    """The check of known items takes the newest evaluation of that name."""
    path = folder_of(home).rename(home / name)
    for named in (path, zip_of(home / f"{name}.zip", FILES)):
        with pytest.raises(BadQuerySet, match="has the name of a set that is made of the loaded pages"):
            read_query_set(named)


def test_windows_ends_lines_and_begins_files_in_its_own_way(home: Path) -> None:
    """A BOM and CRLF, blank lines, no header."""
    changed = {
        "queries": b"\xef\xbb\xbf" + QUERIES.replace("\n", "\r\n").encode() + b"\r\n\r\n",
        "qrels": b"\xef\xbb\xbf" + QRELS.partition("\n")[2].replace("\n", "\r\n").encode(),
    }
    assert read_query_set(folder_of(home, **changed)).digest == read_query_set(folder_of(home / "plain")).digest


def test_without_a_corpus_the_documents_are_rows_of_the_column(home: Path) -> None:
    """Which ones there are the database says."""
    found = read_query_set(folder_of(home, corpus=None))
    assert found.corpus is None
    assert found.qrels["q2"] == {"d2": 1}


def test_queries_that_cannot_be_scored_are_left_out_and_counted(home: Path) -> None:
    """Blank ones, and those without an answer; a blank document is found by no search."""
    queries = QUERIES + '{"_id": "q3", "text": " "}\n{"_id": "q4", "text": "x"}\n{"_id": "q5", "text": "y"}\n'
    changed = {"corpus": CORPUS + '{"_id": "d3", "text": ""}\n', "qrels": QRELS + "q3\td1\t1\nq4\td1\t0\n"}
    found = read_query_set(folder_of(home, queries=queries, **changed))
    assert list(found.queries) == ["q1", "q2"]
    assert found.notices == (
        "1 documents are blank, and no search finds them.",
        "2 queries have no document with a score above 0, and were left out.",
        "1 queries are blank, and were left out.",
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("q9\td1\t1\n", "qrels/test.tsv: 1 queries are not there: 'q9'"),
        ("q1\td8\t1\nq1\td9\t0\n", "qrels/test.tsv: 2 documents are not there: 'd8', 'd9'"),
    ],
)
def test_judgements_of_what_is_not_there_are_an_error_unless_ignored(home: Path, more: str, said: str) -> None:
    """They name the wrong set, or a part of it is missing; with --ignore-unknown they are counted and left out."""
    folder = folder_of(home, qrels=QRELS + more)
    with pytest.raises(BadQuerySet, match=said):
        read_query_set(folder)
    found = read_query_set(folder, ignore_unknown=True)
    assert found.notices[0].startswith(said.partition(":")[0])
    assert found.digest == read_query_set(folder_of(home / "plain")).digest


WRONG: Mapping[str, tuple[dict[str, str | bytes], str]] = {
    "no JSON": ({"queries": '{"_id": "q1"'}, r"queries\.jsonl line 1 is not JSON"),
    "a list": ({"queries": "[1]\n"}, r"line 1 is \[1\]; expected an object"),
    "deep": ({"queries": "[" * 100_000}, "line 1 is not JSON"),
    "no id": ({"queries": '{"text": "x"}\n'}, "_id is None; expected text"),
    "an empty id": ({"queries": '{"_id": "", "text": "x"}\n'}, "the _id ''"),
    "a repeated id": ({"queries": QUERIES + QUERIES}, "line 3 has the _id 'q1'; expected one that no line before"),
    "no text": ({"queries": '{"_id": "q1"}\n'}, "line 1: text is None; expected text"),
    "a number": ({"corpus": '{"_id": "d1", "text": 7}\n'}, r"corpus\.jsonl line 1: text is 7"),
    "half a pair": ({"queries": '{"_id": "q1", "text": "\\ud800"}\n'}, "half of a surrogate pair"),
    "a NUL": ({"queries": '{"_id": "q1", "text": "a\\u0000b"}\n'}, "holds a NUL"),
    "not UTF-8": ({"queries": QUERIES.encode() + b'{"_id": "\xe9"}'}, "line 3 is not UTF-8: .* at byte 9"),
    "spaces for tabs": ({"qrels": QRELS.replace("\t", " ")}, r"qrels/test\.tsv line 1 has 1 columns; expected 3"),
    "TREC's layout": ({"qrels": "q1\t0\td1\t1\n"}, "line 1 has 4 columns; expected 3 with tabs"),
    "no number": ({"qrels": QRELS + "q2\td1\tyes\n"}, "line 5: the score is 'yes'; expected a whole number"),
    "a fraction": ({"qrels": QRELS + "q2\td1\t0.5\n"}, "line 5: the score is '0.5'"),
    "a huge number": ({"qrels": QRELS + f"q2\td1\t{'9' * 5000}\n"}, "line 5: the score is '999"),
    "judged twice": ({"qrels": QRELS + "q1\td1\t1\n"}, "line 5 gives document 'd1' a second, other score"),
    "nothing": ({"queries": "\n", "qrels": "\n"}, "farms: no query is left that can be scored"),
}


@pytest.mark.parametrize(("replaced", "said"), WRONG.values(), ids=WRONG)
def test_a_line_that_is_wrong_is_named(home: Path, replaced: dict[str, str | bytes], said: str) -> None:
    """With what was found, and what was expected."""
    with pytest.raises(BadQuerySet, match=said):
        read_query_set(folder_of(home, **replaced))


def test_a_pair_judged_twice_alike_is_one_judgement(home: Path) -> None:
    """Sets that were put together out of parts have such lines."""
    assert read_query_set(folder_of(home, qrels=QRELS + "q1\td1\t2\n")).qrels["q1"] == {"d1": 2, "d2": 0}


def test_a_whole_number_is_an_id(home: Path) -> None:
    """Judgements name it as text."""
    found = read_query_set(folder_of(home, queries='{"_id": 7, "text": "x"}\n', qrels="7\td1\t1\n"))
    assert found.queries == {"7": "x"}


def not_there(home: Path) -> Path:
    """A path with nothing at it."""
    return home / "nothing"


def without_queries(home: Path) -> Path:
    """A folder with judgements only."""
    return folder_of(home, queries=None, corpus=None)


def without_qrels(home: Path) -> Path:
    """A folder with queries only."""
    return folder_of(home, qrels=None)


def two_sets(home: Path) -> Path:
    """A folder with two sets in it."""
    folder_of(home / "sets")
    folder_of(home / "sets" / "more")
    return home / "sets"


def no_zip(home: Path) -> Path:
    """A file of another kind."""
    (home / "set.zip").write_bytes(b"PK\x03\x04 not really")
    return home / "set.zip"


def cut_off(home: Path) -> Path:
    """A packed file of which the end is missing."""
    folder = folder_of(home, queries=None)
    (folder / "queries.jsonl.gz").write_bytes(gzip.compress(QUERIES.encode())[:-9])
    return folder


def damaged(home: Path) -> Path:
    """A packed file with another byte in it."""
    folder = folder_of(home, queries=None)
    packed = bytearray(gzip.compress((QUERIES * 100).encode()))
    packed[15] ^= 0xFF
    (folder / "queries.jsonl.gz").write_bytes(packed)
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (not_there, "is not there; expected a folder or a zip with queries.jsonl"),
        (without_queries, "farms has 0 files queries.jsonl"),
        (without_qrels, "farms has no qrels/test.tsv; expected"),
        (two_sets, "sets has 2 files queries.jsonl; expected one set"),
        (no_zip, "set.zip cannot be read as a zip"),
        (cut_off, "farms: queries.jsonl cannot be read: Compressed file ended"),
        (damaged, "farms: queries.jsonl cannot be read"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_no_query_set_says_what_one_is(home: Path, make: Callable[[Path], Path], said: str) -> None:
    """A path that was mistyped, or half a download."""
    with pytest.raises(BadQuerySet, match=said):
        read_query_set(make(home))


def test_there_are_bounds_to_what_is_held_in_memory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of documents, of queries, and of a line."""
    folder = folder_of(home)
    for name, bound, said in (
        ("MAX_DOCUMENTS", 1, "more than 1 documents, and they are encoded in memory"),
        ("MAX_QUERIES", 1, "more than 1 queries; expected a sample"),
        ("MAX_LINE_BYTES", 50, r"corpus\.jsonl line 1 is longer than 50 bytes"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(beir, name, bound)
            with pytest.raises(BadQuerySet, match=said):
                read_query_set(folder)
    assert read_query_set(folder).queries


def test_a_set_survives_being_written_and_read_as_json(home: Path) -> None:
    """Texts of any script come out as they went in."""
    text = '日本語 \u2028 отличная 🎮 \\ " é'
    folder = folder_of(home, queries=json.dumps({"_id": "q1", "text": text}, ensure_ascii=False), qrels="q1\td1\t1\n")
    assert read_query_set(folder).queries == {"q1": text}

"""Rows by the words they hold: all of them, in any script that has blanks, of one run, whatever the query is."""

from dataclasses import replace

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store import fulltext
from steam_assets.store.fulltext import why_slow, with_words
from steam_assets_tests.rows import NOTES, add_rows, change_recipe, embed, execute, fetch, target_of, vectors_of

QUERY = vectors_of([b"q" * 16])[0].tolist()
TEXTS = {
    "valley": "A farm in the Valley of Lanterns",
    "twice": "farm farm valley valley",
    "far": "The valley is far away, and nothing there reminds anybody of the old family's farm",
    "station": "Half-Life 2: a station",
    "russian": "Отличная ферма",
    "chinese": "音乐很好听! 音乐",
    "markup": "<b>bold</b> farm's <i>end</i>",
}


@pytest.fixture
def run_id(conn: connection, notes: TextColumn) -> int:
    """The run of a few embedded notes."""
    add_rows(conn, notes, TEXTS)
    embed(conn, notes)
    return target_of(conn, notes)


def found(conn: connection, run_id: int, words: str, condition: str = "TRUE", rows: int = 100) -> list[str]:
    """The ids of rows that hold the words, the best first."""
    hits = with_words(conn, NOTES, run_id, words, QUERY, rows, sql.SQL(condition))
    conn.rollback()
    return [hit.id for hit in hits]


HELD: dict[str, set[str]] = {
    "farm valley": {"valley", "twice", "far"},
    "FARM": {"valley", "twice", "far", "markup"},
    "farms": set(),
    '"valley of lanterns"': {"valley"},
    '"lanterns of valley"': set(),
    "farm -valley": {"markup"},
    "station or lanterns": {"station", "valley"},
    "half-life 2": {"station"},
    "ферма": {"russian"},
    "ФЕРМА": {"russian"},
    "音乐": {"chinese"},
    "很好": set(),
    "b": set(),
}


def test_every_word_must_be_there_as_it_is_written(conn: connection, run_id: int) -> None:
    """In any case; a phrase in order; none with a minus. A script without blanks is found between marks only."""
    assert {words: set(found(conn, run_id, words)) for words in HELD} == HELD


def test_the_text_that_has_the_words_closest_comes_first(conn: connection, run_id: int) -> None:
    """Each with its cosine, so that it can be compared with what vectors found."""
    ids = found(conn, run_id, "farm valley")
    assert ids.index("valley") < ids.index("far")
    (first, *_) = with_words(conn, NOTES, run_id, "farm valley", QUERY, 1)
    ((cosine,),) = fetch(conn, f"SELECT 1 - (body_vector <=> '{QUERY}') FROM notes WHERE id = '{first.id}'")  # noqa: S608
    assert first.cosine == pytest.approx(cosine, abs=1e-6)
    assert found(conn, run_id, "farm", rows=2) == found(conn, run_id, "farm")[:2]


def test_words_are_looked_for_in_one_run_and_behind_the_filter(conn: connection, run_id: int) -> None:
    """Rows of another recipe, and rows that do not fit, are not there."""
    second = change_recipe(conn, NOTES, "second")
    execute(conn, "UPDATE notes SET embedding_run_id = %(run)s WHERE id = 'twice'", run=second)
    execute(conn, "UPDATE notes SET body_vector = NULL WHERE id = 'markup'")
    assert set(found(conn, run_id, "farm")) == {"valley", "far"}
    assert found(conn, second, "farm") == ["twice"]
    assert found(conn, run_id, "farm", "t.id <> 'far'") == ["valley"]


NO_WORDS = ("", " ", "'", '"', "& | ! : * ( ) <->", "-", "a" * 10**6, "x " * 10**6, "%s {id} \\", "a\0b", "'; DROP")


def test_no_query_is_an_error(conn: connection, run_id: int) -> None:
    """What holds no words finds nothing."""
    assert [found(conn, run_id, words) for words in NO_WORDS] == [[]] * len(NO_WORDS)
    assert len(fetch(conn, "SELECT FROM notes")) == len(TEXTS)


def test_a_huge_text_spoils_no_search(conn: connection, run_id: int) -> None:
    """PostgreSQL refuses to index more than a megabyte of words; the beginning is searched."""
    huge = " ".join(f"word{n}" for n in range(400_000))
    add_rows(conn, NOTES, {"huge": f"farm {huge} ending"})
    embed(conn, NOTES)
    assert "huge" in found(conn, run_id, "farm word7")
    assert found(conn, run_id, "ending") == []


def test_the_index_that_is_named_is_the_one_that_is_used(
    conn: connection, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the statement that a search tells is not told again, and the plan has it."""
    execute(conn, "ANALYZE notes")
    assert why_slow(conn, NOTES) is None
    monkeypatch.setattr(fulltext, "MANY_TEXTS", 1)
    told = why_slow(conn, NOTES)
    conn.rollback()
    assert told is not None
    statement = told.partition("quick: ")[2]
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute(statement)
        assert why_slow(conn, NOTES) is None
        assert why_slow(conn, replace(NOTES, text="other")) is not None
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT FROM notes AS t WHERE to_tsvector('simple', left(t.body, 100000)) "
            "@@ websearch_to_tsquery('simple', 'farm')"
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Bitmap Index Scan" in plan
    assert set(found(conn, run_id, "farm")) == {"valley", "twice", "far", "markup"}

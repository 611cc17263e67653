"""Runs are found again by what they mean; ranges keep a record, also of those whose process died."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import connect, find_database
from steam_assets.store.locks import mark_lost, run_lock
from steam_assets.store.runs import (
    ColumnRuns,
    add_note,
    column_runs,
    find_or_create_run,
    finish_range,
    get_run,
    recipe_digest,
    set_serving,
    set_target,
    start_range,
)
from steam_assets.store.schema import apply_schema, plan_schema

RECIPE = {"revision": "5617a9f", "max_seq_length": 8192, "pooling": "cls", "preparation": "plain"}


@pytest.fixture
def other(database_url: str) -> Iterator[connection]:
    """A second session."""
    with closing(connect(find_database(database_url))) as opened:
        yield opened


@pytest.fixture
def run_id(conn: connection) -> int:
    return find_or_create_run(conn, "BAAI/bge-m3", 1024, True, RECIPE)


def attempt(conn: connection, run_id: int, dagster_run_id: str, key: str = "~:000000000070") -> int:
    return start_range(conn, REVIEWS, run_id, key, dagster_run_id, "cuda:0", "bfloat16", {"torch": "2.13.0"})


def fields(conn: connection, range_id: int, names: str) -> tuple[object, ...]:
    question = sql.SQL("SELECT {} FROM embedding_run_ranges WHERE range_id = %s").format(sql.SQL(names))
    with conn.cursor() as cursor:
        cursor.execute(question, (range_id,))
        return cursor.fetchone() or ()


def test_the_same_recipe_is_the_same_run(conn: connection, other: connection, run_id: int) -> None:
    """Asked again, by anyone and in any order of the recipe's words, it has the same number."""
    conn.commit()
    turned = dict(reversed(RECIPE.items()))
    assert find_or_create_run(other, "BAAI/bge-m3", 1024, True, turned) == run_id
    assert find_or_create_run(conn, "BAAI/bge-m3", 1024, True, RECIPE) == run_id


@pytest.mark.parametrize(
    ("model", "dimension", "normalized", "recipe"),
    [
        ("BAAI/bge-m3", 1024, True, {**RECIPE, "max_seq_length": 512}),
        ("BAAI/bge-m3", 1024, False, RECIPE),
        ("BAAI/bge-m3", 512, True, RECIPE),
        ("BAAI/bge-large", 1024, True, RECIPE),
    ],
)
def test_what_differs_in_meaning_is_another_run(
    conn: connection, run_id: int, model: str, dimension: int, normalized: bool, recipe: dict[str, object]
) -> None:
    """Model, dimension, normalisation and every word of the recipe count."""
    assert find_or_create_run(conn, model, dimension, normalized, recipe) != run_id


def test_two_processes_that_create_one_run_get_one_run(conn: connection, other: connection) -> None:
    """The one who comes second waits for the first one's commit and takes its run."""
    first = find_or_create_run(conn, "m", 8, True, RECIPE)
    found: list[int] = []

    def second() -> None:
        found.append(find_or_create_run(other, "m", 8, True, RECIPE))

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(timeout=0.3)
    assert found == []
    conn.commit()
    thread.join(timeout=30)
    assert found == [first]


def test_a_run_comes_back_as_it_was_made(conn: connection, run_id: int) -> None:
    """Model, dimension, normalisation and recipe are read from the database."""
    run = get_run(conn, run_id)
    assert (run.run_id, run.model_name, run.dimension, run.normalized) == (run_id, "BAAI/bge-m3", 1024, True)
    assert run.recipe == RECIPE
    assert run.created_at is not None


def test_an_unknown_run_is_named(conn: connection) -> None:
    """A number that no run has."""
    with pytest.raises(SteamAssetsError, match="no embedding run 4711"):
        get_run(conn, 4711)


def test_a_recipe_has_one_digest(run_id: int) -> None:
    """The digest is of canonical JSON, so it is the same in every process and version of Python."""
    assert recipe_digest({"b": 1, "a": "ü"}) == recipe_digest({"a": "ü", "b": 1})
    assert recipe_digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_the_predecessors_run_keeps_its_place(predecessor_database_url: str) -> None:
    """A run without recipe is no recipe's run: ours gets a number of its own, and the old one can still be read."""
    with closing(connect(find_database(predecessor_database_url))) as conn:
        apply_schema(conn, plan_schema(conn, (APPLICATIONS, REVIEWS), 1024))
        assert find_or_create_run(conn, "BAAI/bge-m3", 1024, True, RECIPE) == 8
        assert get_run(conn, 7).recipe is None
        assert column_runs(conn, APPLICATIONS) == ColumnRuns(None, None)


def test_what_is_filled_and_what_is_searched_are_set_apart(conn: connection, run_id: int) -> None:
    """A column has a target and a serving run; setting one leaves the other, and other columns, as they were."""
    assert column_runs(conn, REVIEWS) == ColumnRuns(None, None)
    newer = find_or_create_run(conn, "BAAI/bge-m3", 1024, True, {**RECIPE, "preparation": "html"})
    set_target(conn, REVIEWS, run_id)
    set_serving(conn, REVIEWS, run_id)
    set_target(conn, REVIEWS, newer)
    assert column_runs(conn, REVIEWS) == ColumnRuns(get_run(conn, newer), get_run(conn, run_id))
    assert column_runs(conn, APPLICATIONS) == ColumnRuns(None, None)


def test_a_note_is_added_to_those_of_the_run(conn: connection, run_id: int) -> None:
    """A line for each."""
    with conn.cursor() as cursor:
        for note in ("first", "100% second"):
            add_note(conn, run_id, note)
        cursor.execute("SELECT notes FROM embedding_runs WHERE run_id = %s", (run_id,))
        assert cursor.fetchone() == ("first\n100% second",)


def test_an_attempt_at_a_range_is_recorded_from_start_to_end(conn: connection, run_id: int) -> None:
    """While it runs and when it is done the row says what an operator asks."""
    range_id = attempt(conn, run_id, "run-a")
    assert fields(conn, range_id, "status, table_name, vector_column, range_key, device, dtype, library_versions") == (
        *("running", "reviews", "review_embedding", "~:000000000070", "cuda:0", "bfloat16"),
        {"torch": "2.13.0"},
    )
    finish_range(conn, range_id, "done", rows_written=1500, tokens=90_000, rows_per_s=59.5, gpu_util_peak=None)
    assert fields(conn, range_id, "status, rows_written, tokens, rows_per_s, gpu_util_peak, error") == (
        *("done", 1500, 90_000, 59.5, None, None),
    )
    assert fields(conn, range_id, "finished_at >= started_at") == (True,)


def test_a_failed_attempt_keeps_its_error(conn: connection, run_id: int) -> None:
    """Whatever the message holds: PostgreSQL takes no NUL in text."""
    range_id = attempt(conn, run_id, "run-a")
    finish_range(conn, range_id, "failed", error="CUDA\0error: '); DROP TABLE reviews; --")
    assert fields(conn, range_id, "status, error") == ("failed", "CUDAerror: '); DROP TABLE reviews; --")


def test_a_number_the_record_does_not_have_is_a_bug(conn: connection, run_id: int) -> None:
    """A misspelt name is not swallowed."""
    with pytest.raises(TypeError, match="rows_writen"):
        finish_range(conn, attempt(conn, run_id, "run-a"), "done", rows_writen=1)


def test_ranges_of_a_dead_run_are_marked_lost(conn: connection, other: connection, run_id: int) -> None:
    """Only running ranges, only of runs that hold no lock, only once."""
    run_lock(other, "alive")
    lost = attempt(conn, run_id, "dead")
    alive = attempt(conn, run_id, "alive")
    done = attempt(conn, run_id, "dead", "000000000070:~")
    finish_range(conn, done, "done")
    assert mark_lost(conn) == ["dead"]
    assert [fields(conn, r, "status")[0] for r in (lost, alive, done)] == ["lost", "running", "done"]
    assert fields(conn, lost, "finished_at IS NOT NULL") == (True,)
    assert mark_lost(conn) == []


def test_nothing_here_commits(conn: connection, other: connection) -> None:
    """The caller owns the transaction: rolled back, nothing was there."""
    run_id = find_or_create_run(conn, "BAAI/bge-m3", 1024, True, RECIPE)
    set_target(conn, REVIEWS, run_id)
    finish_range(conn, attempt(conn, run_id, "run-a"), "done")
    mark_lost(conn)
    conn.rollback()
    assert column_runs(other, REVIEWS) == ColumnRuns(None, None)
    with other.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM embedding_run_ranges")
        assert cursor.fetchone() == (0,)

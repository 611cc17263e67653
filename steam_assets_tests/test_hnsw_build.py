"""Indexes are built beside searches and writes, take the old one's place without a gap, and leave no half behind."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw import index_name, index_records, serving_index
from steam_assets.store.hnsw_build import BuildOptions
from steam_assets.store.hnsw_checks import IndexImpossible
from steam_assets.store.hnsw_create import BuildProgress
from steam_assets.store.hnsw_lock import IndexBeingBuilt
from steam_assets_tests.databases import wait_until
from steam_assets_tests.indexed_rows import (
    HALFVEC,
    built,
    fill,
    found_exactly,
    found_through,
    held_up,
    in_thread,
    index_names,
    measured,
    plan_of,
    vector_of,
    waiting_build,
)
from steam_assets_tests.rows import Connect, add_rows, change_recipe, embed, execute, fetch, make_table

NAME = "numbered_body_vector_halfvec_hnsw"
DEFINITION = "SELECT pg_get_indexdef(to_regclass(%(name)s))"


@pytest.mark.parametrize("variant", ["vector", "halfvec", "bit", "truncated"])
def test_a_search_s_plan_goes_through_the_index(
    conn: connection, connect: Connect, numbered: TextColumn, variant: str
) -> None:
    """The index's expression and the query's are of the same row; another run's query finds no such index."""
    run_id = fill(conn, numbered, 200)
    index = measured(conn, connect, numbered, run_id, variant)
    query = vector_of(conn, numbered, 7)
    assert f"Index Scan using {index.name}" in plan_of(conn, index, numbered, run_id, query)
    assert index.name not in plan_of(conn, index, numbered, run_id + 1, query)
    assert found_through(conn, index, numbered, run_id, query)[0] == "7"


def test_an_index_holds_the_vectors_of_its_run_alone(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """A row that is encoded anew leaves the index of the old run, and what is found there is still right."""
    first = fill(conn, numbered, 60)
    index = measured(conn, connect, numbered, first)
    change_recipe(conn, numbered, "second")
    execute(conn, "UPDATE numbered SET body_vector = NULL, embedding_run_id = NULL WHERE id % 2 = 0")
    embed(conn, numbered)
    query = vector_of(conn, numbered, 7)
    found = found_through(conn, index, numbered, first, query, 40)
    assert found == found_exactly(conn, numbered, first, query, 40)


def test_shape_memory_and_rows_are_recorded(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """What was asked for is what is built, and a rebuild can ask for it again."""
    run_id = fill(conn, numbered, 60)
    done = built(connect, numbered, run_id, options=BuildOptions(m=5, ef_construction=33, recall=0.9))
    ((definition,),) = fetch(conn, DEFINITION, name=NAME)
    assert "m='5', ef_construction='33'" in str(definition)
    assert f"(embedding_run_id = {run_id})" in str(definition)
    (record,) = index_records(conn, numbered)
    assert (record.m, record.ef_construction, record.rows) == (5, 33, 60)
    assert fetch(conn, "SELECT dagster_run_id FROM embedding_indexes") == [("a-run",)]
    assert record.bytes == done.bytes > 0
    assert record.details is not None
    assert record.details["asked"] == {"m": 5, "ef_construction": 33, "recall": 0.9}


def test_searches_go_on_while_an_index_is_rebuilt(
    conn: connection, connect: Connect, numbered: TextColumn, database_url: str
) -> None:
    """None fails, none loses a row, and there is an index that serves at every moment."""
    run_id = fill(conn, numbered, 600)
    index = measured(conn, connect, numbered, run_id)
    query = vector_of(conn, numbered, 7)
    expected = found_exactly(conn, numbered, run_id, query)
    stop = threading.Event()
    searches = 0

    def search() -> None:
        nonlocal searches
        with closing(psycopg2.connect(database_url)) as searcher:
            while not stop.is_set():
                assert serving_index(searcher, numbered, run_id) is not None
                searcher.commit()
                assert found_through(searcher, index, numbered, run_id, query) == expected
                searches += 1

    def came_to(enough: int) -> bool:
        return searches >= enough or searching.done()

    searching = in_thread(search)
    for _ in range(3):
        enough = searches + 1
        built(connect, numbered, run_id)
        wait_until(partial(came_to, enough), "a search during the build")
    stop.set()
    assert searching.exception(60) is None
    assert index_names(conn) == [NAME]


def test_writes_go_on_while_an_index_is_built(
    conn: connection, connect: Connect, numbered: TextColumn, database_url: str
) -> None:
    """What is written meanwhile is in the index."""
    run_id = fill(conn, numbered, 100)
    with held_up(database_url, numbered) as let_go:

        def write(progress: BuildProgress) -> None:
            if progress.phase.startswith("waiting for writers before build"):
                add_rows(conn, numbered, {1000: "one more"})
                embed(conn, numbered)
                let_go()

        built(connect, numbered, run_id, tell=write)
    execute(conn, "UPDATE embedding_indexes SET recall = 1")
    index = serving_index(conn, numbered, run_id)
    assert index is not None
    assert found_through(conn, index, numbered, run_id, vector_of(conn, numbered, 1000))[0] == "1000"


def test_progress_names_whom_a_build_waits_for(
    conn: connection, connect: Connect, numbered: TextColumn, database_url: str
) -> None:
    """A transaction that somebody forgot holds up every concurrent build; it is told whose."""
    run_id = fill(conn, numbered, 50)
    told: list[BuildProgress] = []
    with held_up(database_url, numbered) as let_go:

        def tell(progress: BuildProgress) -> None:
            told.append(progress)
            if progress.waits_for is not None:
                let_go()

        built(connect, numbered, run_id, tell=tell)
    assert told[0].column == str(numbered)
    assert told[0].total == 50
    assert any(progress.phase.startswith("waiting for") and progress.waits_for for progress in told)


def test_an_interrupt_ends_the_build_on_the_server_and_leaves_nothing(
    conn: connection, connect: Connect, numbered: TextColumn, database_url: str
) -> None:
    """Ctrl-C and Terminate cancel it; the index that was there goes on serving."""
    run_id = fill(conn, numbered, 50)
    measured(conn, connect, numbered, run_id)
    with held_up(database_url, numbered) as let_go:

        def interrupt(progress: BuildProgress) -> None:
            if progress.phase.startswith("waiting for writers"):
                assert index_names(conn) == [NAME, f"{NAME}_new"]
                let_go()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            built(connect, numbered, run_id, tell=interrupt)
    assert index_names(conn) == [NAME]
    assert serving_index(conn, numbered, run_id) is not None
    assert built(connect, numbered, run_id).rows == 50


def test_a_build_whose_session_is_ended_leaves_nothing(
    conn: connection, connect: Connect, numbered: TextColumn, database_url: str
) -> None:
    """An administrator's pg_terminate_backend, or a crash of the server's process."""
    run_id = fill(conn, numbered, 50)
    with held_up(database_url, numbered) as let_go:
        building = in_thread(lambda: built(connect, numbered, run_id))
        process = waiting_build(conn)
        execute(conn, "SELECT pg_terminate_backend(%(pid)s)", pid=process)
        wait_until(lambda: not fetch(conn, "SELECT FROM pg_stat_activity WHERE pid = %(p)s", p=process), "it is gone")
        let_go()
        assert isinstance(building.exception(60), psycopg2.Error)
    assert index_names(conn) == []
    assert index_records(conn, numbered) == []


CHECKOUT = Path(__file__).parent.parent
BUILD = """
import sys, psycopg2
from steam_assets_tests.indexed_rows import built
from steam_assets_tests.rows import NUMBERED
built(lambda: psycopg2.connect(sys.argv[1]), NUMBERED, int(sys.argv[2]))
"""


@pytest.mark.slow
def test_the_half_of_a_killed_build_is_dropped_by_the_next(
    conn: connection, connect: Connect, numbered: TextColumn, database_url: str
) -> None:
    """The server notices within seconds that its client is gone, and gives up both the build and its lock."""
    run_id = fill(conn, numbered, 50)
    with held_up(database_url, numbered):
        command = [sys.executable, "-c", BUILD, database_url, str(run_id)]
        killed = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process = waiting_build(conn)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        wait_until(lambda: not fetch(conn, "SELECT FROM pg_stat_activity WHERE pid = %(p)s", p=process), "it is gone")
    assert index_names(conn) == [f"{NAME}_new"]
    assert built(connect, numbered, run_id).rows == 50
    assert index_names(conn) == [NAME]


def test_a_second_builder_is_told_who_builds(
    conn: connection, connect: Connect, numbered: TextColumn, database_url: str
) -> None:
    """One at a time: two would each drop the other's half."""
    run_id = fill(conn, numbered, 50)
    with held_up(database_url, numbered) as let_go:
        building = in_thread(lambda: built(connect, numbered, run_id))
        process = waiting_build(conn)
        with pytest.raises(IndexBeingBuilt, match=f"process {process} of the server"):
            built(connect, numbered, run_id)
        let_go()
        assert building.exception(60) is None
    assert index_names(conn) == [NAME]


def test_a_table_dropped_meanwhile_is_said(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Nothing to mend but the database."""
    run_id = fill(conn, numbered, 5)
    execute(conn, "DROP TABLE numbered")
    with pytest.raises(IndexImpossible, match="no table numbered"):
        built(connect, numbered, run_id)


def test_a_column_without_vectors_of_the_run_has_nothing_to_index(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """The next command is the one that makes vectors."""
    run_id = fill(conn, numbered, 5)
    with pytest.raises(IndexImpossible, match=r"no vector of run \d+ to index\. Run `steam-assets embed"):
        built(connect, numbered, run_id + 1)
    assert index_names(conn) == []


def test_an_index_of_fewer_rows_than_are_asked_for_gives_them_all(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """Three rows, ten asked for."""
    run_id = fill(conn, numbered, 3)
    index = measured(conn, connect, numbered, run_id)
    assert sorted(map(str, found_through(conn, index, numbered, run_id, vector_of(conn, numbered, 1)))) == list("123")


def test_an_error_of_the_server_keeps_its_words_and_leaves_nothing(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """A full disk, or here a vector that pgvector will not have in half precision."""
    run_id = fill(conn, numbered, 20)
    execute(conn, "UPDATE numbered SET body_vector = '[1e6,0,0,0,0,0,0,0]' WHERE id = 7")
    with pytest.raises(errors.NumericValueOutOfRange, match="out of range for type halfvec"):
        built(connect, numbered, run_id)
    assert index_names(conn) == []


def test_memory_that_is_too_little_is_told_with_what_would_do(
    conn: connection, connect: Connect, numbered: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pgvector only says that the graph no longer fits."""
    run_id = fill(conn, numbered, 3_000)
    monkeypatch.setenv("STEAM_ASSETS_INDEX_MEMORY_MB", "1")
    done = built(connect, numbered, run_id)
    (notice,) = done.notices
    assert "hnsw graph no longer fits into maintenance_work_mem after" in notice
    needed = int(notice.partition("STEAM_ASSETS_INDEX_MEMORY_MB=")[2].partition(",")[0])
    monkeypatch.setenv("STEAM_ASSETS_INDEX_MEMORY_MB", str(needed))
    assert built(connect, numbered, run_id).notices == ()


def test_names_of_odd_columns_are_quoted(conn: connection, connect: Connect) -> None:
    """Capitals, spaces, quotes and per cent signs."""
    column = TextColumn(table='Odd "%s" table', id="the id", text="te xt", vector="100% Vector")
    make_table(conn, column, "bigint")
    run_id = fill(conn, column, 20)
    built(connect, column, run_id)
    assert index_names(conn) == [index_name(column, HALFVEC)]
    assert built(connect, column, run_id).rows == 20

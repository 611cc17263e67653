"""Torture finds what it is there to find, and finds nothing in the platform."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.id_range import EVERYTHING
from steam_assets.store.database import connect, find_database
from steam_assets.store.runs import set_target
from steam_assets_tests.benchmarks import torture
from steam_assets_tests.benchmarks.torture_checks import Judge
from steam_assets_tests.benchmarks.torture_client import HASHED, Order, fill, plain_encoder
from steam_assets_tests.benchmarks.torture_editor import Desk
from steam_assets_tests.benchmarks.torture_faults import FAULTS, Fault
from steam_assets_tests.benchmarks.torture_tables import (
    COLUMNS,
    NAMED,
    NUMBERED,
    POISON,
    copy_texts,
    make_tables,
    undisturbed,
)
from steam_assets_tests.rows import execute

ROWS = 60
WELL: dict[TextColumn, int | str] = {NUMBERED: 1, NAMED: "well"}
OTHER: dict[TextColumn, int | str] = {NUMBERED: 2, NAMED: "other"}
POISONED: dict[TextColumn, int | str] = {NUMBERED: 3, NAMED: "poisoned"}


def played(directory: Path, *options: str) -> list[dict[str, Any]]:
    """The rows of a torture of so many options that found nothing."""
    path = directory / "torture.json"
    assert torture.main([*options, "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found["command"].startswith("python -m steam_assets_tests.benchmarks.torture --")
    rows: list[dict[str, Any]] = found["rows"]
    assert sum(line["rounds"] for line in found["summary"]) == len(rows)
    return rows


@pytest.mark.slow
def test_a_killed_client_leaves_rows_that_are_true_and_the_next_run_finishes(tmp_path: Path) -> None:
    """One round, as `python -m steam_assets_tests.benchmarks.torture` plays hundreds."""
    (row,) = played(tmp_path, "--rounds", "1", "--seed", "21", "--fault", "client killed")
    assert row["client_ends"] == [-9]
    assert 0 < row["told"] <= row["committed"] < row["pending"]
    assert 0 < row["encoded_again"] <= row["pending"] - row["committed"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_rounds_of_torture_find_nothing(tmp_path: Path) -> None:
    """Ten faults, one of them through Dagster: clients, sessions and the server killed, texts edited, a disk full."""
    rows = played(tmp_path, "--rounds", "10", "--seed", "1")
    assert len({row["fault"] for row in rows}) == 10
    assert [row["through_dagster"] for row in rows].count(True) == 1


def test_a_round_that_finds_something_is_wrong_and_names_the_command_that_repeats_it() -> None:
    """A client that ends otherwise than the fault allows is a finding like any other."""
    never = Fault("nothing happens", ends=frozenset(), edits=False)
    (result,) = torture.rounds([3], [never], minilm=False)
    assert result.findings == ("client 1 ended with 0, saying: nothing",)
    (line,) = torture.summarised([result])
    assert (line.rounds, line.wrong) == (1, 1)
    assert torture.command_of(result) == (
        "python -m steam_assets_tests.benchmarks.torture --rounds 1 --encoder deterministic --seed 3 "
        "--fault 'nothing happens'"
    )


def test_a_round_is_chosen_by_its_seed_alone() -> None:
    """So that a seed can be repeated: all faults have their turn, and none shares its name."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.ends for fault in FAULTS)


@pytest.fixture
def conn(empty_database_url: str) -> Iterator[connection]:
    """A connection to the judged tables."""
    with closing(connect(find_database(empty_database_url))) as opened:
        yield opened


@pytest.fixture
def judge(conn: connection, empty_database_url: str) -> Judge:
    """Who judges filled tables and their twins, in which nothing is wrong yet."""
    dice = Random(0)  # noqa: S311  (no secret)
    tables = make_tables(conn, dice, ROWS, HASHED, small_disk=False)
    for column in COLUMNS:
        desk = Desk(conn, column, tables.histories[column])
        desk.write(POISONED[column], f"{POISON} of this test")
        desk.write(WELL[column], "a farm")
        desk.write(OTHER[column], "a dragon")
        set_target(conn, column, tables.runs[column])
    conn.commit()
    copy_texts(conn)
    ranges = [
        (twin, EVERYTHING.key, tables.runs[column]) for column in COLUMNS for twin in (column, undisturbed(column))
    ]
    fill(Order("test", empty_database_url, ranges, HASHED))
    encoders = {column: {tables.runs[column]: plain_encoder(HASHED)} for column in COLUMNS}
    return Judge(tables, HASHED.dimension, encoders, frozenset(tables.runs.values()))


def test_the_judge_finds_nothing_in_tables_that_nothing_happened_to(judge: Judge, conn: connection) -> None:
    """Blank rows, rows that are empty when prepared and a quarantined one are as they should be."""
    assert judge.at_the_end(conn) == []


@pytest.mark.parametrize(
    ("lie", "finding"),
    [
        ("SET body_vector_source_md5 = NULL", "half-written 'well'"),
        ("SET embedding_run_id = NULL", "half-written 'well'"),
        ("SET body_vector = NULL", "half-written 'well'"),
        ("SET body_vector_source_md5 = md5('a castle')::uuid", "of a text that it never had"),
        (
            "SET body_vector = (SELECT body_vector FROM named WHERE name = 'other')",
            "has the digest of 'a farm' and not",
        ),
    ],
)
def test_the_judge_finds_a_torn_row_at_any_time(judge: Judge, conn: connection, lie: str, finding: str) -> None:
    """Parts of a row that were not written together, or not for this text."""
    execute(conn, f"UPDATE named {lie} WHERE name = 'well'")
    (found,) = judge.at_any_time(conn)
    assert finding in found


@pytest.mark.parametrize(
    ("lie", "finding"),
    [
        (
            "UPDATE named SET body_vector = NULL, embedding_run_id = NULL, body_vector_source_md5 = NULL"
            " WHERE name = 'well'",
            "'well' is skipped or stale",
        ),
        ("UPDATE named SET body = 'a castle' WHERE name = 'well'", "'well' is skipped or stale"),
        ("UPDATE named SET body = ' ' WHERE name = 'well'", "'well' has no text and a vector"),
        ("DELETE FROM named WHERE name = 'well'", "ids differ from the undisturbed: ['well']"),
        ("DELETE FROM embedding_failures WHERE id = 'poisoned'", "quarantined and poisoned are not the same"),
        (
            "INSERT INTO embedding_failures (table_name, vector_column, run_id, id, source_md5, kind)"
            " SELECT table_name, vector_column, run_id, 'other', md5('a dragon')::uuid, kind"
            " FROM embedding_failures WHERE id = 'poisoned'",
            "quarantined and poisoned are not the same",
        ),
        ("UPDATE embedding_run_ranges SET status = 'running'", "4 attempts at ranges run for ever"),
    ],
)
def test_the_judge_finds_at_the_end_what_was_left_undone(
    judge: Judge, conn: connection, lie: str, finding: str
) -> None:
    """Rows skipped, stale, gone or given up, and attempts that nobody ended."""
    for column, history in judge.tables.histories.items():
        history.add(WELL[column], "a castle")
    execute(conn, lie)
    assert any(finding in found for found in judge.at_the_end(conn))

"""`steam-assets init` adds what is missing, once, to any database, and takes nothing away."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS
from steam_assets.encoder.models import Model
from steam_assets.initialise import initialise
from steam_assets.store.catalog import get_table
from steam_assets.store.database import connect, find_database
from steam_assets.store.promotions import serving_columns
from steam_assets.targets import ModelMismatch, target_run
from steam_assets_tests.dagster_home import Ended
from steam_assets_tests.hash_recipes import make_model
from steam_assets_tests.rivals import CHALLENGER
from steam_assets_tests.rows import DIMENSION, fetch

Run = Callable[..., Ended]

MINILM = "all-MiniLM-L6-v2"


def test_init_makes_the_schema_once_and_says_so_the_second_time(empty_database_url: str, steam_assets: Run) -> None:
    """The dry run prints the SQL that the first run executes, and changes nothing; the second run has nothing to do."""
    there = ("--database-url", empty_database_url)
    planned = steam_assets("init", *there, "--model", MINILM, "--dry-run")
    assert planned.code == 0
    assert "CREATE TABLE IF NOT EXISTS public.applications" in planned.out
    assert "vector(384)" in planned.out
    assert steam_assets("status", *there).out == "No column has a model yet. Run `steam-assets init`.\n"

    first = steam_assets("init", *there, "--model", MINILM)
    assert first.code == 0
    assert "Next: `steam-assets load FILES`" in first.out
    again = steam_assets("init", *there)
    assert again.code == 0
    assert again.out.startswith("The schema is complete; nothing to do.")
    assert MINILM in again.out


def test_init_completes_the_predecessor_s_database_and_loses_none_of_its_rows(
    predecessor_database_url: str, steam_assets: Run
) -> None:
    """Its tables get what is missing, with the default model whose dimension they have; its vectors are stale."""
    there = ("--database-url", predecessor_database_url)
    assert steam_assets("init", *there).code == 0
    states = {found["column"]: found["state"] for found in json.loads(steam_assets("status", *there, "--json").out)}

    assert states["applications.description_embedding"]["total"] == 10
    assert states["reviews.review_embedding"]["total"] == 20
    assert states["reviews.review_embedding"]["embedded"] == 0
    assert states["reviews.review_embedding"]["stale"] > 0


def types_of(conn: connection, table: str) -> dict[str, str]:
    """The types of a table's columns."""
    return {name: column.type for name, column in get_table(conn, table).columns.items()}


def test_one_entry_gives_a_table_a_second_vector_column_with_a_model_of_its_own(
    empty_database_url: str, minilm: Model, home: Path
) -> None:
    """Of that model's dimension, filled by it and serving nothing; a second init changes nothing."""
    make_model(home / "first")
    challenger = replace(CHALLENGER, model=str(home / "first"))
    columns = (APPLICATIONS, challenger, REVIEWS)
    with closing(connect(find_database(empty_database_url))) as conn:
        done = initialise(conn, columns, minilm.name)
        conn.commit()
        assert done.model_name == f"{minilm.name}, first"
        types = types_of(conn, "applications")
        assert types["description_embedding"] == "vector(384)"
        assert types["description_embedding_b"] == f"vector({DIMENSION})"
        assert (types[challenger.run], types[challenger.digest]) == ("bigint", "uuid")
        runs = {column: target_run(conn, column) for column in columns}
        assert [run.model_name for run in runs.values()] == [minilm.name, "first", minilm.name]
        assert (runs[challenger].recipe or {})["preparation"] == "plain@1"
        assert serving_columns(conn, columns) == [APPLICATIONS, REVIEWS]

        again = initialise(conn, columns)
        conn.commit()
        assert (again.model_name, str(again.plan)) == (done.model_name, "")
        assert {column: target_run(conn, column) for column in columns} == runs


def test_a_challenger_added_later_leaves_the_column_that_serves_alone(conn: connection, minilm: Model) -> None:
    """The same model with another preparation: three columns more, another run, and searches as before."""
    initialise(conn, (APPLICATIONS,), minilm.name)
    conn.commit()
    before = target_run(conn, APPLICATIONS)
    columns = (APPLICATIONS, CHALLENGER)
    plan = initialise(conn, columns).plan
    conn.commit()
    assert len(plan.statements) == 3
    assert all("description_embedding_b" in statement.sql for statement in plan.statements)
    assert target_run(conn, APPLICATIONS) == before
    assert target_run(conn, columns[1]).run_id != before.run_id
    assert serving_columns(conn, columns) == [APPLICATIONS]


def test_the_environment_s_model_is_not_for_a_column_that_names_its_own(
    empty_database_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has the database a model of its own where every entry names one."""
    for name in ("first", "second"):
        make_model(home / name)
    monkeypatch.setenv("STEAM_ASSETS_MODEL", str(home / "second"))
    named = replace(CHALLENGER, model=str(home / "first"))
    with closing(connect(find_database(empty_database_url))) as conn:
        assert initialise(conn, (named,)).model_name == "first"
        conn.commit()
        assert initialise(conn, (named, REVIEWS)).model_name == "first, second"


def test_an_entry_changed_after_init_is_refused_with_both_names(empty_database_url: str, home: Path) -> None:
    """The database keeps what fills the column until a person says otherwise."""
    for name in ("first", "second"):
        make_model(home / name)
    with closing(connect(find_database(empty_database_url))) as conn:
        initialise(conn, (replace(CHALLENGER, model=str(home / "first")),))
        conn.commit()
        with pytest.raises(ModelMismatch, match=r"second' for .*, which is filled with first\."):
            initialise(conn, (replace(CHALLENGER, model=str(home / "second")),))
        conn.rollback()
        assert fetch(conn, "SELECT model_name FROM embedding_runs") == [("first",)]

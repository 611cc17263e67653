"""Fixtures: a Dagster instance of the test's own, small tables with a model, and commands run in this process."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.cli import main
from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.encoder.models import Model
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.targets import choose_first_model
from steam_assets_tests.databases import database_url_of, execute_on, new_database

if TYPE_CHECKING:
    import dagster as dg

    from steam_assets.defs.runs import RunOutcome

GAMES = (
    "Grow turnips and raise chickens with your friends in a cozy farming village.",
    "A frightening night in an abandoned hospital where something follows you.",
    "Build railways, schedule trains and connect growing cities.",
    "Hunt dragons with sword and magic in a medieval kingdom.",
    "Race through neon streets in tuned cars.",
    "Command a fleet of starships and trade between the planets.",
)
WITHOUT_DAGSTER = {"compare", "db", "evaluate", "export", "map", "promote", "search", "serve"}
"""Verbs that open no database of Dagster's."""
OPINIONS = (
    "Relaxing, I planted carrots with my sister all weekend.",
    "I screamed at every door, the hospital is terrifying.",
    "The signals took me a while but my trains run on time.",
    "素晴らしいゲームです",
)


@pytest.fixture
def another_minilm(home: Path, minilm: Model) -> Path:
    """A directory with the packaged model's files but for one: it reads 64 tokens, so it is another recipe."""
    directory = home / "models" / "short-sighted"
    shutil.copytree(minilm.location, directory)
    settings = directory / "sentence_bert_config.json"
    settings.chmod(0o644)
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "max_seq_length": 64}))
    return directory


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def dagster_template(server: EmbeddedServer) -> str:
    """The name of a database with Dagster's tables, made once: its migrations take seconds."""
    from steam_assets.defs.instance import open_instance

    execute_on(server, "CREATE DATABASE dagster_template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEAM_ASSETS_DAGSTER_URL", database_url_of(server, "dagster_template"))
        with open_instance():
            pass
    return "dagster_template"


@pytest.fixture
def dagster_url(
    server: EmbeddedServer, named_database: str, dagster_template: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database for Dagster's runs and events, named to every process started from the test."""
    monkeypatch.setenv("DAGSTER_HOME", "")  # open_instance sets it; this has it put back
    with new_database(server, dagster_template) as url:
        monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", url)
        yield url


@pytest.fixture
def instance(dagster_url: str) -> Iterator["dg.DagsterInstance"]:
    """The instance of the test's home, from the dagster.yaml of the repository."""
    from steam_assets.defs.instance import open_instance

    with open_instance() as opened:
        yield opened


@pytest.fixture
def named_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test's database, named by the environment, so that resources and commands find it."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", database_url)
    monkeypatch.setenv("STEAM_ASSETS_DEVICE", "cpu")
    return database_url


@pytest.fixture
def tables(conn: connection, named_database: str, minilm: Model) -> connection:
    """24 applications and 24 reviews with text, one blank one in each table, to be filled by the packaged model."""
    fill_tables_for(conn, minilm)
    return conn


@pytest.fixture
def definitions(tables: connection, instance: "dg.DagsterInstance") -> "dg.Definitions":
    """The code location's definitions, with the ranges of both tables registered."""
    from steam_assets.definitions import build_definitions
    from steam_assets.defs.partitions import register_ranges

    for column in COLUMNS:
        register_ranges(instance, tables, column)
    tables.rollback()
    return build_definitions()


class Terminal(io.StringIO):
    """What a person at a terminal types."""

    def isatty(self) -> bool:
        """Somebody is there."""
        return True


@pytest.fixture
def few_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tables are cut into two: Dagster writes some twenty events a range, and rows that share one cost little."""
    monkeypatch.setattr("steam_assets.store.ranges.FEWEST_RANGES", 2)


@pytest.fixture
def steam_assets(
    request: pytest.FixtureRequest,
    named_database: str,
    few_ranges: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Ended]:
    """Runs `steam-assets` in this process, with its exit code; the model stays loaded from one command to the next.

    The first verb that may open Dagster's database makes one; before that its address leads nowhere.
    """
    if "dagster_url" not in request.fixturenames:
        monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", "postgresql://nobody@127.0.0.1:1/nothing")

    def run(*arguments: str, typed: str | None = None) -> Ended:
        if not WITHOUT_DAGSTER.issuperset(arguments[:1]):
            request.getfixturevalue("dagster_url")
        monkeypatch.setattr(sys, "argv", ["steam-assets", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else Terminal(typed))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, said.out, said.err)

    return run


def one_line(ended: Ended, code: int) -> str:
    """The one message of a command that failed as documented."""
    assert ended.code == code, ended
    assert "Traceback" not in ended.out + ended.err
    (line,) = ended.err.splitlines()
    return line


def fill_tables(conn: connection, applications: int = 24, reviews: int = 24) -> None:
    """Rows with text, ids 10, 20, 30, ..., and one blank row at the end of each table."""
    with conn, conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO applications (appid, name, short_description) VALUES (%s, %s, %s)",
            [(10 * n, f"Game {n}", GAMES[n % len(GAMES)]) for n in range(1, applications + 1)],
        )
        cursor.execute("INSERT INTO applications (appid, name) VALUES (%s, ' ')", (10 * applications + 10,))
        cursor.executemany(
            "INSERT INTO reviews (recommendationid, appid, review_text) VALUES (%s, 10, %s)",
            [(str(n), f"{OPINIONS[n % len(OPINIONS)]} {n} of 10") for n in range(1, reviews + 1)],
        )
        cursor.execute("INSERT INTO reviews (recommendationid, appid) VALUES ('~blank', 10)")


def fill_tables_for(conn: connection, model: Model) -> None:
    """The same, each column to be filled by ``model``."""
    fill_tables(conn)
    with conn:
        for column in COLUMNS:
            choose_first_model(conn, column, model)


def contents(conn: connection, column: TextColumn) -> list[tuple[object, ...]]:
    """Every row's id, version, run, digest and vector: equal before and after means that nothing was written."""
    statement = sql.SQL("SELECT {}, xmin::text, {}, {}, {}::text FROM {} ORDER BY {}").format(
        *map(sql.Identifier, (column.id, column.run, column.digest, column.vector)),
        sql.Identifier(column.schema, column.table),
        sql.Identifier(column.id),
    )
    with conn, conn.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def embedded_rows(conn: connection, column: TextColumn) -> int:
    """How many rows of a column have a vector."""
    with conn, conn.cursor() as cursor:
        cursor.execute(
            sql.SQL("SELECT count({}) FROM {}").format(
                sql.Identifier(column.vector), sql.Identifier(column.schema, column.table)
            )
        )
        (found,) = cursor.fetchone() or (0,)
    return int(found)


def materialize(
    instance: "dg.DagsterInstance", definitions: "dg.Definitions", column: TextColumn, first: int = 0, ranges: int = 1
) -> "RunOutcome":
    """One run over neighbouring ranges of a column, counted from the ``first``, through the column's own job."""
    from steam_assets.defs.jobs import column_job_name
    from steam_assets.defs.partitions import registered_ranges
    from steam_assets.defs.runs import run_ranges

    stretch = registered_ranges(instance, column)[first : first + ranges]
    return run_ranges(instance, definitions.resolve_job_def(column_job_name(column)), column, stretch)

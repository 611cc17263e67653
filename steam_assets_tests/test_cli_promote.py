"""From one entry more in columns.py to a promotion and back, and to the end of the column that lost."""

import json
from collections.abc import Callable

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.store.catalog import get_table
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.requested_runs import HashGpu
from steam_assets_tests.rivals import BOTH, CHALLENGER, RIVAL, make_rivals, runs_of
from steam_assets_tests.rows import NOTES, add_rows

Run = Callable[..., Ended]


def know(monkeypatch: pytest.MonkeyPatch, columns: tuple[TextColumn, ...]) -> None:
    """Have the commands know these columns, as if columns.py named them."""
    for module in ("cli", "cli_promote", "options"):
        monkeypatch.setattr(f"steam_assets.{module}.COLUMNS", columns)


@pytest.fixture
def rivals(conn: connection, named_database: str, monkeypatch: pytest.MonkeyPatch) -> connection:
    """Two complete columns of notes that the commands know."""
    make_rivals(conn)
    know(monkeypatch, BOTH)
    return conn


def test_a_challenger_is_made_filled_promoted_undone_and_dropped_by_commands(
    steam_assets: Run, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """init, embed, promote, promote --undo, drop-column: each says what it did, and what comes next."""
    know(monkeypatch, (APPLICATIONS, CHALLENGER))
    monkeypatch.setattr("steam_assets.cli.gpu", lambda options: HashGpu(device="cpu"))
    made = steam_assets("init")
    assert (made.code, "applications.description_embedding_b: its vector" in made.out) == (0, True)
    early = steam_assets("promote", "description_embedding_b")
    assert "is not ready to be searched" in one_line(early, 1)
    assert "24 rows pending (first of them 10, 20, 30, 40, 50)" in early.err

    filled = json.loads(steam_assets("embed", "--json").out)
    assert [(found["state"]["embedded"], found["serving_run_id"] is None) for found in filled] == [
        (24, False),
        (24, True),
    ]
    promoted = steam_assets("promote", "description_embedding_b")
    assert promoted.code == 0, promoted
    first, second, third = promoted.out.splitlines()
    assert first.startswith("Searches read applications.description_embedding_b now: run ")
    assert "`steam-assets index build applications.description_embedding_b`" in second
    assert third == "To go back: `steam-assets promote applications.description_embedding_b --undo`."

    undone = json.loads(steam_assets("promote", "description_embedding_b", "--undo", "--json").out)
    assert (undone["column"], undone["former"]) == (str(APPLICATIONS), str(CHALLENGER))
    dropped = steam_assets("drop-column", "description_embedding_b", "--yes")
    assert dropped.code == 0, dropped
    assert "with 24 vectors" in dropped.out
    assert "Take its entry out of steam_assets/columns.py" in dropped.out
    assert {CHALLENGER.vector, CHALLENGER.run, CHALLENGER.digest}.isdisjoint(get_table(tables, "applications").columns)


def test_a_promotion_that_cannot_be_is_one_line(steam_assets: Run, rivals: connection) -> None:
    """The column that is searched, one that is not there, nothing to undo, undone twice, half done."""
    assert "Searches read notes.body_vector already" in one_line(steam_assets("promote", "body_vector"), 2)
    assert "'absent' names 0 columns" in one_line(steam_assets("promote", "absent"), 2)
    assert "names 2 columns" in one_line(steam_assets("promote", "notes"), 2)
    assert "nothing to undo" in one_line(steam_assets("promote", "rival_vector", "--undo"), 2)
    assert steam_assets("promote", "rival_vector").code == 0
    assert steam_assets("promote", "rival_vector", "--undo").code == 0
    assert "is undone already" in one_line(steam_assets("promote", "rival_vector", "--undo"), 2)
    add_rows(rivals, NOTES, {"new": "a new note"})
    assert "1 row pending (new)" in one_line(steam_assets("promote", "rival_vector"), 1)
    assert runs_of(rivals, RIVAL)[1] is None


def test_nothing_is_dropped_that_is_searched_or_that_nobody_agreed_to(steam_assets: Run, rivals: connection) -> None:
    """Without a person to ask it needs --yes; a person may say no."""
    assert "searches read it" in one_line(steam_assets("drop-column", "body_vector", "--yes"), 2)
    assert "Repeat with --yes" in one_line(steam_assets("drop-column", "rival_vector"), 2)
    refused = steam_assets("drop-column", "rival_vector", typed="n\n")
    assert (refused.code, refused.err) == (1, "Nothing was dropped.\n")
    assert "Drop notes.rival_vector, rival_vector_run_id and rival_vector_source_md5, 3 vectors" in refused.out
    assert RIVAL.vector in get_table(rivals, "notes").columns
    rivals.rollback()
    agreed = steam_assets("drop-column", "rival_vector", typed="y\n")
    assert agreed.code == 0, agreed
    assert RIVAL.vector not in get_table(rivals, "notes").columns
    rivals.rollback()
    assert "is not there: nothing was dropped" in one_line(steam_assets("drop-column", "rival_vector", "--yes"), 2)

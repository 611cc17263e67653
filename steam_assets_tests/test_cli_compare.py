"""`steam-assets compare` asks two columns the same questions, and prints what a person or a script decides by."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.defs.resources import GpuResource
from steam_assets_tests.compared import NUMBERS, load, make_compared
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.rows import Connect
from steam_assets_tests.taken_devices import devices_taken

Run = Callable[..., Ended]


@pytest.fixture
def queries(conn: connection, named_database: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two columns of notes, known to the command, and a query set about them."""
    columns = make_compared(conn, home)
    monkeypatch.setattr("steam_assets.cli_compare.COLUMNS", columns)
    monkeypatch.setattr(GpuResource, "encoder", lambda self, model: load(model))
    folder = home / "notes"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"q{number}", "text": f"note {number}"}) for number in NUMBERS]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    (folder / "qrels" / "test.tsv").write_text("".join(f"q{number}\tn{number}\t1\n" for number in NUMBERS))
    return folder


def test_two_columns_are_compared_on_a_query_set_of_one_s_own(steam_assets: Run, queries: Path, home: Path) -> None:
    """As a table, as JSON, and as a picture."""
    plain = steam_assets("compare", "body_vector", "rival_vector", "--queries", str(queries))
    assert plain.code == 0, plain
    assert "ndcg@10: notes.body_vector is better (" in plain.out
    picture = home / "compared.png"
    asked = ("compare", "body_vector", "rival_vector", "--queries", str(queries), "--sample", "12", "--json")
    told = json.loads(steam_assets(*asked, "--plot", str(picture)).out)
    assert told["differences"]["mrr@10"]["queries"] == 12
    assert told["differences"]["mrr@10"]["first"] == 1.0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_compared_is_said_in_one_line(steam_assets: Run, queries: Path, home: Path) -> None:
    """The same column twice, one that is not there, a query set that is not there."""
    twice = steam_assets("compare", "body_vector", "body_vector", "--queries", str(queries))
    assert "expected two vector columns of one table" in one_line(twice, 2)
    unknown = steam_assets("compare", "body_vector", "other", "--queries", str(queries))
    assert "'other' names 0 columns" in one_line(unknown, 2)
    absent = steam_assets("compare", "body_vector", "rival_vector", "--queries", str(home / "absent"))
    assert "absent" in one_line(absent, 2)
    plot = str(home / "none" / "compared.png")
    nowhere = steam_assets("compare", "body_vector", "rival_vector", "--queries", str(queries), "--plot", plot)
    assert f"{plot} cannot be written. Name a file in a directory that is there" in one_line(nowhere, 2)
    known_items = steam_assets("compare", "body_vector", "body_vector")  # of which notes have none
    assert "expected two vector columns of one table" in one_line(known_items, 2)


def test_judgements_of_rows_that_are_not_there_are_left_out_where_that_is_asked_for(
    steam_assets: Run, queries: Path
) -> None:
    """The message names the option."""
    with (queries / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q1\tgone\t1\n")
    asked = ("compare", "body_vector", "rival_vector", "--queries", str(queries))
    assert "leave their judgements out with --ignore-unknown" in one_line(steam_assets(*asked), 2)
    ended = steam_assets(*asked, "--ignore-unknown")
    assert ended.code == 0, ended
    assert "their judgements were left out: 'gone'" in ended.out


def test_who_waits_for_a_device_is_told_for_whom(steam_assets: Run, queries: Path, connect: Connect) -> None:
    """An `embed` may have it for hours."""
    with devices_taken(connect, 1) as name:
        ended = steam_assets("compare", "body_vector", "rival_vector", "--queries", str(queries))
    assert (ended.code, f"Waiting for {name}. {name} is with " in ended.err) == (0, True)

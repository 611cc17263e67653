"""`steam-assets index measure` and `recommend`: figures and advice for people and scripts, or why there are none."""

import json
from collections.abc import Callable

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.encoder.models import Model
from steam_assets.indexes import timing
from steam_assets.targets import choose_first_model
from steam_assets_tests.dagster_home import Ended, fill_tables, one_line
from steam_assets_tests.made_up_vectors import clustered, give_vectors
from steam_assets_tests.rows import execute

Run = Callable[..., Ended]


@pytest.fixture
def measurable(conn: connection, named_database: str, minilm: Model, monkeypatch: pytest.MonkeyPatch) -> connection:
    """120 applications with vectors, and no reviews with a model."""
    monkeypatch.setattr(timing, "CLIENTS_S", 0.05)
    fill_tables(conn, applications=120)
    with conn:
        run = choose_first_model(conn, APPLICATIONS, minilm)
    give_vectors(conn, APPLICATIONS, run.run_id, clustered(120, numbers=384))
    return conn


def test_what_was_measured_is_shown_and_then_recommended(steam_assets: Run, measurable: connection) -> None:
    """For people a table and the next command; for scripts a row for each variant and ef_search of every column."""
    measured = steam_assets("index", "measure", "applications", "--recall", "0.9")
    assert measured.code == 0, measured
    assert "applications.description_embedding, run " in measured.out
    rows = [line.split()[0] for line in measured.out.splitlines()[2:-1]]
    assert list(dict.fromkeys(rows)) == ["exact", "vector", "halfvec", "bit", "pca", "truncated"]
    assert measured.out.splitlines()[-1] == "Next: `steam-assets index recommend applications.description_embedding`."
    assert "12 others are the queries" in measured.err

    advised = steam_assets("index", "recommend", "--recall", "0.9")
    assert advised.code == 0, advised
    assert "steam-assets index build applications.description_embedding --variant" in advised.out
    (found,) = json.loads(steam_assets("index", "recommend", "applications", "--recall", "0.9", "--json").out)
    assert found["column"] == "applications.description_embedding"
    assert found["command"] in advised.out
    assert found["figures"]["recall_10"] >= 0.9

    (found,) = json.loads(steam_assets("index", "measure", "--recall", "0.5", "--sample", "0", "--json").out)
    assert found["column"] == "applications.description_embedding"
    variants = found["variants"]
    assert {row["variant"] for row in variants} == {"exact", "vector", "halfvec", "bit", "pca", "truncated"}
    assert {row["rows"] for row in variants} == {108}
    assert all(0 < row["ms_p50"] <= row["ms_p95"] for row in variants)


def test_a_recommendation_without_a_measurement_is_refused(steam_assets: Run, measurable: connection) -> None:
    """With the command that measures; a measurement of another run does not do."""
    said = one_line(steam_assets("index", "recommend"), 2)
    assert "Next: `steam-assets index measure applications.description_embedding`" in said
    assert steam_assets("index", "measure", "--recall", "0.5").code == 0
    execute(
        measurable,
        """
        INSERT INTO embedding_runs (model_name, dimension, normalized, recipe_digest) VALUES ('other', 384, true, 'x');
        UPDATE embedding_variants SET run_id = (SELECT max(run_id) FROM embedding_runs)
        """,
    )
    said = one_line(steam_assets("index", "recommend", "applications"), 2)
    assert "There are measurements of run" in said


REFUSED = {
    "measure nonsense": "'nonsense' names 0 columns",
    "measure --recall 1.5": "1.5",
    "measure reviews": "reviews.review_embedding serves no run",
    "recommend reviews": "reviews.review_embedding serves no run",
}


def test_wrong_questions_end_with_2_and_one_line(steam_assets: Run, measurable: connection) -> None:
    """No traceback is shown to anybody."""
    for arguments, said in REFUSED.items():
        ended = steam_assets("index", *arguments.split())
        assert ended.code == 2, arguments
        assert said in ended.err
        assert "Traceback" not in ended.err


def test_a_database_without_our_tables_is_named_as_such(
    steam_assets: Run, named_database: str, empty_database_url: str
) -> None:
    """The next command is init."""
    for verb in ("measure", "recommend"):
        said = one_line(steam_assets("index", verb, "--database-url", empty_database_url), 2)
        assert "Run `steam-assets init`" in said

"""An evaluation scores the run that searches read, on documents of its own or on the column's rows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.evaluation.compare import differences
from steam_assets.evaluation.known_items import Sampling
from steam_assets.evaluation.query_set import BadQuerySet, QuerySet
from steam_assets.evaluation.rankings import How
from steam_assets.evaluation.score import evaluate, evaluate_all, plan_evaluations, query_sets
from steam_assets.indexes.build import Wanted, build_measured_index
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.known_pages import add_known_pages, serve_vectors
from steam_assets_tests.query_sets import folder_of
from steam_assets_tests.rows import Connect, execute

OWN = QuerySet(
    "own",
    {"q1": "Grow turnips.", "q2": "Lay <b>tracks</b>.", "q3": "Slay dragons."},
    {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d1": 1, "d2": 1}},
    {"d1": "Grow turnips.", "d2": "Lay tracks.", "d3": "Slay dragons."},
    notices=("Made by hand.",),
)
ROWS = QuerySet("rows", {"a": "cozy village", "b": "dragons"}, {"a": {"10": 1, "77": 1}, "b": {"40": 2}})


@pytest.fixture
def encoder(minilm: Model) -> Encoder:
    """Vectors by hash: equal texts are near, all others far."""
    return hash_encoder(minilm)


@pytest.fixture
def run_id(conn: connection, encoder: Encoder) -> int:
    """Six known pages with their vectors; the run that searches read."""
    add_known_pages(conn)
    return serve_vectors(conn, encoder)


def test_documents_of_its_own_are_prepared_encoded_and_compared(
    connect: Connect, encoder: Encoder, run_id: int, minilm: Model
) -> None:
    """As the column's texts were: markup is none. Two queries find theirs first, the third behind another."""
    found = evaluate(connect, APPLICATIONS, OWN, lambda model: encoder)
    assert (found.column, found.run_id, found.model_name, found.how) == (
        *(str(APPLICATIONS), run_id, minilm.name, "exact"),
    )
    assert (found.query_set, found.query_set_digest, found.documents) == ("own", OWN.digest, 3)
    assert found.scores.query_ids == ("q1", "q2", "q3")
    assert found.scores.values["mrr@10"].tolist() == [1.0, 1.0, 0.5]
    assert found.metrics["mrr@10"].mean == pytest.approx(2.5 / 3)
    assert found.metrics["recall@10"].mean == 1.0
    assert list(found.breakdowns["language"]) == ["Latin script"]
    assert found.notices == ("Made by hand.",)
    assert json.loads(json.dumps(found.as_json()))["metrics"]["mrr@10"]["queries"] == 3


def test_documents_of_its_own_are_in_no_index(connect: Connect, encoder: Encoder, run_id: int) -> None:
    """So only exact search of them can be evaluated."""
    for how in ("index", "hybrid"):
        with pytest.raises(BadQuerySet, match="own brings documents of its own, which are in no index"):
            evaluate(connect, APPLICATIONS, OWN, lambda model: encoder, how)


def test_a_row_that_is_not_there_is_an_error_unless_ignored(connect: Connect, encoder: Encoder, run_id: int) -> None:
    """With the column's name; without it the other judgements are scored."""
    with pytest.raises(BadQuerySet, match=r"rows in applications\.description_embedding: 1 documents .* there: '77'"):
        evaluate(connect, APPLICATIONS, ROWS, lambda model: encoder)
    found = evaluate(connect, APPLICATIONS, ROWS, lambda model: encoder, ignore_unknown=True)
    assert (found.scores.query_ids, found.documents) == (("a", "b"), None)
    assert found.metrics["recall@10"].mean == 1.0
    assert "1 documents are not there, and their judgements were left out: '77'." in found.notices[0]
    only_unknown = replace(ROWS, qrels={**ROWS.qrels, "b": {"78": 1}})
    found = evaluate(connect, APPLICATIONS, only_unknown, lambda model: encoder, ignore_unknown=True)
    assert (found.scores.query_ids, found.notices[-1]) == (
        ("a",),
        "1 queries have no relevant row, and were left out.",
    )


def test_a_row_without_a_vector_is_missed_and_told(
    conn: connection, connect: Connect, encoder: Encoder, run_id: int
) -> None:
    """A column that is half done is scored as it is."""
    execute(conn, "UPDATE applications SET description_embedding = NULL, embedding_run_id = NULL WHERE appid = 40")
    found = evaluate(connect, APPLICATIONS, ROWS, lambda model: encoder, ignore_unknown=True)
    assert found.scores.values["recall@100"].tolist() == [1.0, 0.0]
    assert f"1 judged rows have no vector of run {run_id}, so that searches miss them." in found.notices


def test_a_column_that_serves_nothing_is_not_evaluated(connect: Connect, encoder: Encoder) -> None:
    """The message says what to run first."""
    with pytest.raises(SteamAssetsError, match="serves no run yet"):
        evaluate(connect, APPLICATIONS, OWN, lambda model: encoder)


def test_what_an_index_costs_is_measured_on_the_rows(
    conn: connection, connect: Connect, encoder: Encoder, run_id: int
) -> None:
    """Exact search of the same queries beside it; over forty rows it finds all that there is."""
    execute(conn, "INSERT INTO applications (appid, name) SELECT n, 'Game ' || n FROM generate_series(101, 134) AS n")
    serve_vectors(conn, encoder)
    build_measured_index(connect, APPLICATIONS, Wanted(recall=0.5), lambda line: None)
    exact, index = evaluate_all(connect, APPLICATIONS, lambda model: encoder, ["index"])
    assert (exact.query_set, exact.how, index.how) == ("known-items-in-column", "exact", "index")
    assert exact.query_set_digest == index.query_set_digest
    assert index.scores.values["recall@100"].tolist() == [1.0] * 6
    assert index.notices == ()
    assert differences(exact, index)["mrr@10"].difference == 0


def test_known_items_are_documents_for_exact_search_and_rows_for_any_other(connect: Connect, run_id: int) -> None:
    """Each set is made once."""
    plan = query_sets(connect, APPLICATIONS, ["hybrid", "exact", "index"], None, Sampling(queries=2), False)
    assert [(query_set.name, query_set.corpus is None, how) for query_set, how in plan] == [
        ("known-items", False, "exact"),
        ("known-items-in-column", True, "exact"),
        ("known-items-in-column", True, "hybrid"),
        ("known-items-in-column", True, "index"),
    ]
    assert all(len(query_set.queries) == 2 for query_set, _ in plan)


def test_a_set_of_one_s_own_is_read_by_path(connect: Connect, home: Path, run_id: int) -> None:
    """All of it, or a sample."""
    folder = folder_of(home)
    ((whole, how),) = query_sets(connect, APPLICATIONS, ["exact"], folder, Sampling(), False)
    assert (whole.name, len(whole.queries), how) == ("farms", 2, "exact")
    ((part, _),) = query_sets(connect, APPLICATIONS, ["exact"], folder, Sampling(queries=1), False)
    assert len(part.queries) == 1
    with pytest.raises(BadQuerySet, match="farms brings documents of its own, which are in no index"):
        plan_evaluations(connect, APPLICATIONS, ["exact", "hybrid"], folder, Sampling(), False)


def test_ways_to_search_rows_are_judged_beside_exact_search(connect: Connect, home: Path, run_id: int) -> None:
    """Whether it is asked for or not, and once."""
    folder = folder_of(home, corpus=None)
    ways: list[list[How]] = [["index", "hybrid"], ["index", "exact", "hybrid"]]
    for asked in ways:
        plan = query_sets(connect, APPLICATIONS, asked, folder, Sampling(), False)
        assert [how for _, how in plan] == ["exact", "index", "hybrid"]
    assert [how for _, how in query_sets(connect, APPLICATIONS, ["exact"], folder, Sampling(), False)] == ["exact"]


def test_a_model_finds_known_pages_by_what_they_mean(
    conn: connection, connect: Connect, minilm_encoder: Encoder
) -> None:
    """MiniLM knows that chickens and cows, dragons and winged beasts belong together; hashes do not."""
    add_known_pages(conn)
    serve_vectors(conn, minilm_encoder)
    (real,) = evaluate_all(connect, APPLICATIONS, lambda model: minilm_encoder, ["exact"])
    (hashed,) = evaluate_all(connect, APPLICATIONS, lambda model: hash_encoder(model), ["exact"])
    assert real.query_set == "known-items"
    assert real.metrics["mrr@10"].mean >= 0.9
    assert hashed.metrics["mrr@10"].mean <= 0.7

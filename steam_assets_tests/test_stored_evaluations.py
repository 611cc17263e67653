"""Evaluations are stored with the run they are of, and only those of the same queries and documents compare."""

from dataclasses import replace

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.encoder.models import Model
from steam_assets.evaluation.score import Evaluation, evaluate
from steam_assets.evaluation.stored import comparable_history, interval_of, record
from steam_assets.store.evaluations import newest_evaluations
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.known_pages import add_known_pages, serve_vectors
from steam_assets_tests.rows import Connect, fetch
from steam_assets_tests.test_score import OWN


@pytest.fixture
def evaluation(conn: connection, connect: Connect, minilm: Model) -> Evaluation:
    """An evaluation of six known pages."""
    add_known_pages(conn)
    encoder = hash_encoder(minilm)
    serve_vectors(conn, encoder)
    return evaluate(connect, APPLICATIONS, OWN, lambda model: encoder)


def test_what_is_stored_is_what_was_measured(conn: connection, evaluation: Evaluation) -> None:
    """Means with their intervals, groups, and the scores of each query for paired comparisons."""
    evaluation_id = record(conn, APPLICATIONS, evaluation, "a-run")
    (found,) = newest_evaluations(conn, APPLICATIONS)
    assert (found.evaluation_id, found.run_id, found.query_set, found.queries, found.dagster_run_id) == (
        *(evaluation_id, evaluation.run_id, "own", 3, "a-run"),
    )
    for name, expected in evaluation.metrics.items():
        assert interval_of(found.metrics, name) == expected
    assert found.metrics["documents"] == 3
    ((scores,),) = fetch(conn, "SELECT scores FROM embedding_evaluations")
    assert scores == {
        "query_ids": ["q1", "q2", "q3"],
        **{name: [pytest.approx(value, abs=1e-6) for value in one] for name, one in evaluation.scores.values.items()},
    }


def test_history_is_of_the_same_queries_documents_and_way_to_search(conn: connection, evaluation: Evaluation) -> None:
    """A set that was changed begins another history, under the same name."""
    first = record(conn, APPLICATIONS, evaluation)
    for other in (
        replace(evaluation, query_set_digest="another"),
        replace(evaluation, how="index"),
        replace(evaluation, query_set="other"),
    ):
        record(conn, APPLICATIONS, other)
    second = record(conn, APPLICATIONS, evaluation)
    assert [one.evaluation_id for one in comparable_history(conn, APPLICATIONS, evaluation)] == [second, first]


def test_a_connection_that_is_rolled_back_stores_nothing(conn: connection, evaluation: Evaluation) -> None:
    """The caller owns the transaction."""
    record(conn, APPLICATIONS, evaluation)
    conn.rollback()
    assert newest_evaluations(conn, APPLICATIONS) == []

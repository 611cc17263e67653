"""Evaluations in Dagster: numbers that plot over time, a picture, a stored record, and a check if asked for."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.definitions import build_definitions
from steam_assets.defs.assets import vector_key
from steam_assets.defs.evaluations import evaluation_key, known_item_result
from steam_assets.encoder.models import Model
from steam_assets.evaluation.stored import interval_of
from steam_assets.store.evaluations import newest_evaluations
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.known_pages import add_known_pages, serve_vectors
from steam_assets_tests.query_sets import folder_of
from steam_assets_tests.requested_runs import HashGpu
from steam_assets_tests.scored import FIRST, stored

STEP = "applications__description_evaluation"


@pytest.fixture
def pages(conn: connection, named_database: str, minilm: Model) -> connection:
    """Six known pages with vectors by hash, in the database that resources find."""
    add_known_pages(conn)
    serve_vectors(conn, hash_encoder(minilm))
    return conn


def run_evaluation(instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    """Materialize the evaluation of the applications, with its checks, as the web UI does."""
    definitions = build_definitions((APPLICATIONS,), HashGpu())
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[evaluation_key(APPLICATIONS)],
        run_config={"ops": {STEP: {"config": config}}},
        raise_on_error=False,
    )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    """What the materialization says."""
    (event,) = result.asset_materializations_for_node(STEP)
    return {name: value.value for name, value in event.metadata.items()}


def test_store_pages_have_an_evaluation_below_their_vectors() -> None:
    """Reviews have none: nothing of them can be known items."""
    graph = build_definitions().resolve_asset_graph()
    assert evaluation_key(APPLICATIONS) == dg.AssetKey(["applications", "description_evaluation"])
    node = graph.get(evaluation_key(APPLICATIONS))
    assert (node.parent_keys, node.partitions_def, node.pools) == ({vector_key(APPLICATIONS)}, None, {"gpu"})
    assert evaluation_key(REVIEWS) not in graph.get_all_asset_keys()
    challenger = replace(APPLICATIONS, vector="description_b", run="description_b_run_id")
    graph = build_definitions((*COLUMNS, challenger)).resolve_asset_graph()
    assert graph.get(evaluation_key(challenger)).parent_keys == {vector_key(challenger)}


def test_a_materialization_tells_scores_and_shows_them(pages: connection, instance: dg.DagsterInstance) -> None:
    """Floats by metric, what they are of, a table, a picture; and a record of the same run."""
    result = run_evaluation(instance, sample=5)
    assert result.success
    told = metadata_of(result)
    (found,) = newest_evaluations(pages, APPLICATIONS)
    assert (found.query_set, found.how, found.queries, found.dagster_run_id) == (
        *("known-items", "exact", 5, result.run_id),
    )
    assert isinstance(told["mrr_at_10"], float)
    assert told["mrr_at_10"] == interval_of(found.metrics, "mrr@10").mean
    assert {"ndcg_at_10", "recall_at_1", "recall_at_10", "recall_at_100"} <= set(told)
    assert (told["queries"], told["documents"], told["run_id"]) == (5, 6, found.run_id)
    assert str(told["evaluations"]).count("\n") == 2
    assert str(told["plot"]).startswith("![scores of applications.description_embedding](data:image/png;base64,")


def test_a_set_of_one_s_own_is_evaluated_by_path(pages: connection, instance: dg.DagsterInstance, home: Path) -> None:
    """A wrong one fails the step with what is wrong."""
    assert run_evaluation(instance, queries=str(folder_of(home))).success
    assert newest_evaluations(pages, APPLICATIONS)[0].query_set == "farms"
    failed = run_evaluation(instance, queries=str(home / "nothing"))
    assert not failed.success
    (failure,) = [event for event in failed.all_events if event.is_step_failure]
    assert "is not there; expected a folder or a zip" in str(failure.step_failure_data.error)


def test_another_way_to_search_is_evaluated_beside_exact_search(
    pages: connection, instance: dg.DagsterInstance
) -> None:
    """Of the column's rows; the numbers are those of exact search, the table has both."""
    told = metadata_of(run_evaluation(instance, how="hybrid"))
    assert [(one.query_set, one.how) for one in newest_evaluations(pages, APPLICATIONS)] == [
        ("known-items-in-column", "hybrid"),
        ("known-items-in-column", "exact"),
    ]
    assert "| known-items-in-column | hybrid | 6 |" in str(told["evaluations"])
    assert "documents" not in told
    hybrid, exact = (interval_of(one.metrics, "mrr@10").mean for one in newest_evaluations(pages, APPLICATIONS))
    assert told["mrr_at_10"] == exact
    assert told["mrr_at_10_hybrid_minus_exact"] == hybrid - exact


def test_a_check_compares_with_the_least_that_is_asked_for(
    pages: connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there only where the environment asks for it, and reads back what was stored."""
    assert run_evaluation(instance).get_asset_check_evaluations() == []
    for least, passed in (("0", True), ("1", False)):
        monkeypatch.setenv("STEAM_ASSETS_KNOWN_ITEM_MRR", least)
        (check,) = run_evaluation(instance).get_asset_check_evaluations()
        assert (check.check_name, check.asset_key, check.passed) == (
            *("known_item_mrr", evaluation_key(APPLICATIONS), passed),
        )
        assert str(check.description).endswith("of 6 queries among 6 documents.")


def test_a_run_that_was_never_evaluated_is_red() -> None:
    """No news is not good news; a mean that reaches the least is green."""
    assert not known_item_result(None, 0.0).passed
    mean = FIRST.metrics["mrr@10"].mean
    assert known_item_result(stored(FIRST, 1), mean).passed
    assert not known_item_result(stored(FIRST, 1), mean + 0.001).passed

"""Indexes as assets: a run builds one and tells its figures, a check holds it to its recall, bulk work returns it."""

from collections.abc import Callable
from functools import partial

import dagster as dg
import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.defs.assets import vector_key
from steam_assets.defs.indexes import IndexOutcome, index_job_name, index_key, lost_and_possible, run_index
from steam_assets.indexes.build import Wanted, build_measured_index
from steam_assets.indexes.listing import list_indexes
from steam_assets.store.hnsw import serving_index
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets_tests.dagster_home import Ended
from steam_assets_tests.indexed_rows import REVIEWS_INDEX, fill_reviews
from steam_assets_tests.rows import Connect, execute, fetch, target_of
from steam_assets_tests.servers import stranger


def build(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    column: TextColumn = REVIEWS,
    wanted: Wanted | None = None,
) -> IndexOutcome:
    """A run of the column's index job."""
    return run_index(instance, definitions.resolve_job_def(index_job_name(column)), column, wanted or Wanted())


def test_the_assets_are_named_for_what_they_index() -> None:
    """description_embedding -> description_hnsw; a vector of another name keeps all of it."""
    assert index_key(APPLICATIONS) == dg.AssetKey(["applications", "description_hnsw"])
    assert index_key(REVIEWS) == dg.AssetKey(["reviews", "review_hnsw"])
    other = TextColumn(table="notes", id="id", text="body", vector="bge vector")
    assert index_key(other) == dg.AssetKey(["notes", "bge_vector_hnsw"])


def test_the_index_comes_after_the_vectors_and_in_no_run_of_ranges(definitions: dg.Definitions) -> None:
    """It is of all partitions, and rebuilt once, not for each of them."""
    graph = definitions.resolve_asset_graph()
    for column in COLUMNS:
        node = graph.get(index_key(column))
        assert node.parent_keys == {vector_key(column)}
        assert not node.is_partitioned
        job = definitions.resolve_job_def(f"embed_{'_'.join(vector_key(column).path)}")
        assert index_key(column) not in job.asset_layer.selected_asset_keys


def test_a_run_builds_the_index_and_tells_what_an_operator_asks(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """Variant, recall, size, seconds, latency, ef_search, run and a plot; the check is green."""
    fill_reviews(tables)
    assert build(instance, definitions) == IndexOutcome((), is_red=False)
    event = instance.get_latest_materialization_event(index_key(REVIEWS))
    assert event is not None
    assert event.asset_materialization is not None
    told = event.asset_materialization.metadata
    assert {name: told[name].value for name in ("variant", "rows", "index", "embedding_run_id", "workers")} == {
        "variant": "halfvec",
        "rows": 24,
        "index": REVIEWS_INDEX,
        "embedding_run_id": target_of(tables, REVIEWS),
        "workers": 0,
    }
    for number in ("recall@10", "p50_ms", "p95_ms", "size_bytes", "build_seconds", "ef_search", "memory_bytes"):
        assert told[number].value > 0  # type: ignore[operator]
    assert isinstance(told["plot"], dg.MarkdownMetadataValue)
    assert told["plot"].md_str is not None
    assert "data:image/png;base64," in told["plot"].md_str
    assert fetch(tables, "SELECT dagster_run_id FROM embedding_indexes") == [(event.run_id,)]


def test_the_check_is_red_below_the_recall_asked_for(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What searches find is measured, and not good enough: the run has built it all the same."""
    fill_reviews(tables)
    monkeypatch.setattr("steam_assets.indexes.neighbours.EQUAL_COSINE", -1.0)  # nothing is near enough
    assert build(instance, definitions) == IndexOutcome((), is_red=True)
    check = dg.AssetCheckKey(index_key(REVIEWS), "recall")
    (record,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
    assert record.event is not None
    evaluation = record.event.dagster_event
    assert evaluation is not None
    assert "recall@10 is 0.0000 at ef_search 20, below 0.99" in str(evaluation.asset_check_evaluation_data.description)


def test_embed_builds_an_index_again_that_bulk_work_dropped(
    tables: connection, connect: Connect, steam_assets: Callable[..., Ended]
) -> None:
    """Once the column is complete: one half done has to wait."""
    fill_reviews(tables)
    build_measured_index(connect, REVIEWS, Wanted(), lambda _: None)
    drop_for_bulk(tables, REVIEWS, "bulk")
    execute(tables, "UPDATE reviews SET review_text = review_text || '!' WHERE recommendationid IN ('3', '20')")
    ended = steam_assets("embed", "reviews", "--limit", "1")
    assert ended.code == 0
    assert "reviews.review_embedding gets no index yet: complete is red. 1 row pending" in ended.err
    ended = steam_assets("embed", "reviews")
    assert ended.code == 0, ended
    assert "reviews.review_embedding: its halfvec index is built again." in ended.err
    assert serving_index(tables, REVIEWS, target_of(tables, REVIEWS)) is not None
    assert all(one.is_used for one in list_indexes(tables, REVIEWS))


def test_a_column_that_had_no_index_or_has_it_still_is_left_alone(tables: connection, connect: Connect) -> None:
    """Who wants an index asks for the first one."""
    fill_reviews(tables)
    said: list[str] = []
    assert lost_and_possible(REVIEWS, connect, said.append) == []
    build_measured_index(connect, REVIEWS, Wanted(), lambda _: None)
    assert lost_and_possible(REVIEWS, connect, said.append) == []
    assert said == []


def test_an_index_that_this_user_may_not_build_is_left_to_its_owner(
    tables: connection, connect: Connect, database_url: str
) -> None:
    """The writer of infra/sql/roles.sql fills columns and owns no table; that is said, and fails no run."""
    fill_reviews(tables)
    build_measured_index(connect, REVIEWS, Wanted(), lambda _: None)
    drop_for_bulk(tables, REVIEWS, "bulk")
    said: list[str] = []
    with stranger(tables) as name:
        execute(tables, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        as_stranger = partial(psycopg2.connect, database_url, options=f"-c role={name}")
        assert lost_and_possible(REVIEWS, as_stranger, said.append) == []
    assert len(said) == 1
    assert "may not index reviews.review_embedding: only postgres may" in said[0]
    assert lost_and_possible(REVIEWS, connect, said.append) == ["halfvec"]

"""The asset measures on demand, and shows a table, a picture, JSON and what to build."""

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS
from steam_assets.definitions import build_definitions, defs
from steam_assets.defs.assets import vector_key
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.measured_variants import VariantsConfig, variants_job_name, variants_key
from steam_assets.defs.runs import QUIET
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.indexes import timing
from steam_assets.indexes.recommend import HEADER
from steam_assets.store.variant_records import latest_measurement
from steam_assets.targets import choose_first_model
from steam_assets_tests.dagster_home import fill_tables
from steam_assets_tests.made_up_vectors import clustered, give_vectors

MEASURED = dg.AssetKey(["applications", "description_variants"])


def test_each_column_has_an_asset_of_its_measured_variants_that_nothing_materializes_by_itself() -> None:
    """It depends on the vectors; no sensor and no other job has it."""
    graph = defs.resolve_asset_graph()
    assert [variants_key(column) for column in COLUMNS] == [MEASURED, dg.AssetKey(["reviews", "review_variants"])]
    for column in COLUMNS:
        assert graph.get(variants_key(column)).parent_keys == {vector_key(column)}
        assert not graph.get(variants_key(column)).is_partitioned
        of_every_range = graph.get_partition_mapping(variants_key(column), vector_key(column))
        assert isinstance(of_every_range, dg.AllPartitionMapping)
    job = defs.resolve_job_def(column_job_name(APPLICATIONS))
    assert MEASURED not in job.asset_layer.executable_asset_keys


def test_a_sample_below_nothing_is_refused() -> None:
    """The web UI takes any number."""
    assert VariantsConfig(sample=0).options().sample is None
    with pytest.raises(SteamAssetsError, match="A sample of -1 rows was asked for; expected 1 or more"):
        VariantsConfig(sample=-1).options()


def test_a_materialization_shows_what_was_measured_and_what_to_build(
    conn: connection, instance: dg.DagsterInstance, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are in the database too, with the run that measured them."""
    monkeypatch.setattr(timing, "CLIENTS_S", 0.05)
    fill_tables(conn, applications=120)
    with conn:
        serving = choose_first_model(conn, APPLICATIONS, minilm)
    give_vectors(conn, APPLICATIONS, serving.run_id, clustered(120, numbers=384))
    job = build_definitions().resolve_job_def(variants_job_name(APPLICATIONS))
    config = {"ops": {"__".join(MEASURED.path): {"config": {"sample": 0, "recall": 0.5}}}}
    done = job.execute_in_process(instance=instance, run_config={**QUIET, **config})

    event = instance.get_latest_materialization_event(MEASURED)
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    table = shown["variants"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["variant"] for record in table.records] == [
        *("exact", "vector", "halfvec", "bit", "pca", "truncated")
    ]
    assert tuple(column.name for column in table.schema.columns) == HEADER
    assert set(table.records[0].data) == set(HEADER)
    assert str(shown["build"].value).startswith("steam-assets index build applications.description_embedding --variant")
    assert "data:image/png;base64," in str(shown["plot"].value)
    kept = latest_measurement(conn, APPLICATIONS, serving.run_id)
    assert kept is not None
    figures = shown["figures"].value
    assert isinstance(figures, list)
    assert [row["variant"] for row in figures] == [row.variant for row in kept.figures]
    assert kept.figures[0].rows == shown["rows"].value == 108
    with conn.cursor() as cursor:
        cursor.execute("SELECT DISTINCT dagster_run_id FROM embedding_variants")
        assert cursor.fetchall() == [(done.run_id,)]

"""The map is an asset below the vector columns: a picture in the UI, a page in the home."""

import re
from pathlib import Path

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs.assets import vector_key
from steam_assets.defs.pictures import build_maps, map_key
from steam_assets.defs.resources import DatabaseResource
from steam_assets_tests.maps import fill_applications
from steam_assets_tests.rows import execute

CHALLENGER = TextColumn(
    table="applications", id="appid", text="combined_text", vector="challenger", run="challenger_run_id"
)


@pytest.fixture
def filled(tables: connection) -> connection:
    """Applications with vectors of their run, and genres."""
    fill_applications(tables)
    return tables


def draw(instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    """Materialize the map as the web UI would."""
    return dg.materialize(
        build_maps(COLUMNS),
        instance=instance,
        resources={"database": DatabaseResource()},
        run_config={"ops": {"applications__embedding_map": {"config": config}}},
        raise_on_error=False,
    )


def test_the_map_is_below_the_vector_columns_of_its_table() -> None:
    """A challenger's too: after a promotion the map shows what searches read then. Reviews have none by default."""
    graph = build_definitions([*COLUMNS, CHALLENGER]).resolve_asset_graph()
    assert graph.get(map_key(APPLICATIONS)).parent_keys == {vector_key(APPLICATIONS), vector_key(CHALLENGER)}
    assert graph.get(map_key(APPLICATIONS)).partitions_def is None
    assert build_maps([REVIEWS]) == []


def test_materializing_the_map_shows_a_picture_and_writes_the_page(
    filled: connection, instance: dg.DagsterInstance, home: Path
) -> None:
    """With what an operator asks for: the model, the rows on it and those left out, and where the page is."""
    execute(filled, "UPDATE applications SET embedding_run_id = NULL, description_embedding = NULL WHERE appid = 50")
    assert draw(instance, method="pca").success
    event = instance.get_latest_materialization_event(map_key(APPLICATIONS))
    assert event is not None
    assert event.asset_materialization is not None
    said = {name: value.value for name, value in event.asset_materialization.metadata.items()}

    assert re.match(r"!\[map of applications\.description_embedding\]\(data:image/png;base64,iVBOR", str(said["map"]))
    assert said["page"] == str(home / "maps" / "applications.description_embedding.html")
    assert "<title>applications.description_embedding: 23 rows</title>" in Path(str(said["page"])).read_text()
    assert (said["rows"], said["rows_left_out"], said["rows_not_sampled"]) == (23, 1, 0)
    assert (said["method"], said["model"]) == ("PCA", "sentence-transformers/all-MiniLM-L6-v2")
    assert str(said["clusters"]).startswith("1. ")


def test_a_launchpad_s_mistake_is_a_failed_run_that_says_so(filled: connection, instance: dg.DagsterInstance) -> None:
    """Nothing is drawn of what was not meant; a method that there is not begins no run."""
    ended = draw(instance, sample=2)
    assert not ended.success
    said = str(ended.failure_data_for_node("applications__embedding_map"))
    assert "at least 3 rows; a sample of 2 was asked for" in said
    with pytest.raises(dg.DagsterInvalidConfigError, match="method not in enum type"):
        draw(instance, method="tsne")

"""Tables and vector columns are assets whose names and dependencies follow from the registry."""

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs.assets import RANGES_PER_RUN, table_key, vector_key
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.runs import embed_column
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.initialise import initialise
from steam_assets.store.database import connect, find_database
from steam_assets.store.status import column_status
from steam_assets_tests.rows import execute, fetch

PLAYER_NOTES = TextColumn(
    table="Player Notes", id="Note Id", text="Body", vector="Body Vector", schema="community-1", run="Body Run"
)
NAMES = TextColumn(table="applications", id="appid", text="name", vector="name_embedding", run="name_embedding_run_id")


def test_vector_columns_depend_on_their_tables() -> None:
    """The graph shows a table, and each of its vector columns below it."""
    graph = build_definitions().resolve_asset_graph()
    assert graph.get_all_asset_keys() == {
        dg.AssetKey("applications"),
        dg.AssetKey("reviews"),
        dg.AssetKey(["applications", "description_embedding"]),
        dg.AssetKey(["reviews", "review_embedding"]),
        *(dg.AssetKey(["applications", f"description_{name}"]) for name in ("hnsw", "variants", "evaluation")),
        *(dg.AssetKey(["reviews", f"review_{name}"]) for name in ("hnsw", "variants")),
        dg.AssetKey(["applications", "embedding_map"]),
    }
    for column in COLUMNS:
        assert graph.get(vector_key(column)).parent_keys == {table_key(column)}
        assert not graph.get(table_key(column)).is_materializable


def test_a_backfill_puts_several_ranges_into_one_run_on_the_gpu_s_pool() -> None:
    """The model is loaded once for many ranges, and two runs do not share the GPU."""
    graph = build_definitions().resolve_asset_graph()
    for column in COLUMNS:
        node = graph.get(vector_key(column))
        assert node.backfill_policy == dg.BackfillPolicy.multi_run(RANGES_PER_RUN)
        assert node.pools == {"gpu"}


def test_how_many_ranges_a_run_has_is_the_environment_s_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast GPU is better used by more; a whole number of them is expected."""
    monkeypatch.setenv("STEAM_ASSETS_RANGES_PER_RUN", "3")
    node = build_definitions().resolve_asset_graph().get(vector_key(APPLICATIONS))
    assert node.backfill_policy == dg.BackfillPolicy.multi_run(3)
    monkeypatch.setenv("STEAM_ASSETS_RANGES_PER_RUN", "few")
    with pytest.raises(SteamAssetsError, match="STEAM_ASSETS_RANGES_PER_RUN is 'few'"):
        build_definitions()


def test_names_of_a_database_that_dagster_does_not_take_are_replaced() -> None:
    """Spaces and dashes of a table's name do not keep it from being an asset, with a job and checks."""
    assert table_key(PLAYER_NOTES) == dg.AssetKey(["community_1", "Player_Notes"])
    assert vector_key(PLAYER_NOTES) == dg.AssetKey(["community_1", "Player_Notes", "Body_Vector"])
    dg.Definitions.validate_loadable(build_definitions((PLAYER_NOTES,)))


def test_two_columns_of_one_table_are_two_assets_below_one() -> None:
    """A second vector column is one entry more in the registry."""
    definitions = build_definitions((APPLICATIONS, NAMES))
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    assert graph.get(table_key(APPLICATIONS)).child_keys == {vector_key(APPLICATIONS), vector_key(NAMES)}


@pytest.mark.usefixtures("few_ranges")
def test_one_entry_embeds_a_table_that_is_not_steam_s_and_one_a_second_column(
    tables: connection, named_database: str, instance: dg.DagsterInstance, minilm: Model
) -> None:
    """A schema-qualified table with an integer key and mixed-case names, and names of games beside their pages."""
    columns = (APPLICATIONS, NAMES, PLAYER_NOTES)
    execute(
        tables,
        """
        CREATE SCHEMA "community-1";
        CREATE TABLE "community-1"."Player Notes" ("Note Id" integer PRIMARY KEY, "Body" text);
        INSERT INTO "community-1"."Player Notes" VALUES (-5, 'dig a well'), (7, 'feed the cat'), (40000, ' ')
        """,
    )
    initialise(tables, columns, minilm.name)
    tables.commit()
    definitions = build_definitions(columns)
    for column in (NAMES, PLAYER_NOTES):
        job = definitions.resolve_job_def(column_job_name(column))
        outcomes = list(embed_column(instance, job, column, lambda: connect(find_database())))
        assert [outcome.errors for outcome in outcomes] == [()]

    states = {str(column): column_status(tables, column) for column in columns}
    found = {name: (status.state.embedded, status.state.blank) for name, status in states.items() if status}
    assert found == {
        "applications.description_embedding": (0, 1),
        "applications.name_embedding": (24, 1),
        "community-1.Player Notes.Body Vector": (2, 1),
    }
    vectors = fetch(tables, 'SELECT vector_dims("Body Vector") FROM "community-1"."Player Notes" ORDER BY "Note Id"')
    assert vectors == [(384,), (384,), (None,)]

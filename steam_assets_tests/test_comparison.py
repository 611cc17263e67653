"""Two columns of one text are filled side by side in Dagster, compared there, and one is promoted."""

import json
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.definitions import build_definitions
from steam_assets.defs.comparison import build_comparison_assets, comparison_key, searched_first
from steam_assets.defs.jobs import checks_job_name, column_job_name
from steam_assets.defs.partitions import partitions_name, register_ranges
from steam_assets.defs.resources import DatabaseResource
from steam_assets.defs.runs import embed_column, run_checks
from steam_assets.defs.ticks import changed_texts, new_rows
from steam_assets.initialise import initialise
from steam_assets.promotion import promote
from steam_assets.store.promotions import serving_columns
from steam_assets.store.status import column_status
from steam_assets_tests.dagster_home import materialize
from steam_assets_tests.requested_runs import HashGpu, asked_for, carry_out
from steam_assets_tests.rivals import CHALLENGER
from steam_assets_tests.rows import Connect, execute, fetch

BOTH = (APPLICATIONS, CHALLENGER)
GPU = HashGpu(device="cpu")


@pytest.fixture
def challenged(tables: connection, instance: dg.DagsterInstance, few_ranges: None) -> dg.Definitions:
    """24 applications with markup, the second column made by one more entry; nothing is embedded yet."""
    execute(tables, "UPDATE applications SET short_description = '<b>' || short_description || '</b>'")
    with tables:
        initialise(tables, BOTH)
    register_ranges(instance, tables, APPLICATIONS)
    tables.rollback()
    return build_definitions(BOTH, GPU)


def fill(instance: dg.DagsterInstance, definitions: dg.Definitions, connect: Connect) -> None:
    """Every pending range of both columns, each through its own job."""
    for column in BOTH:
        job = definitions.resolve_job_def(column_job_name(column))
        assert [outcome.errors for outcome in embed_column(instance, job, column, connect)] == [()]


def embedded(conn: connection) -> list[int]:
    """How many rows of each column have a vector of its run."""
    found = [status.state.embedded for column in BOTH if (status := column_status(conn, column))]
    conn.rollback()
    return found


def test_both_columns_are_filled_side_by_side_from_the_same_ranges(
    challenged: dg.Definitions, instance: dg.DagsterInstance, tables: connection, connect: Connect
) -> None:
    """Each with its own preparation and run; checks are of each column, and searches read the first all the while."""
    assert partitions_name(APPLICATIONS) == partitions_name(CHALLENGER)
    materialize(instance, challenged, CHALLENGER)
    assert embedded(tables) == [0, 12]
    fill(instance, challenged, connect)
    assert embedded(tables) == [24, 24]
    same = "SELECT count(*) FROM applications WHERE description_embedding = description_embedding_b"
    assert fetch(tables, same) == [(0,)]
    runs = "SELECT count(DISTINCT embedding_run_id), count(DISTINCT description_embedding_b_run_id) FROM applications"
    assert fetch(tables, runs) == [(1, 1)]
    assert serving_columns(tables, BOTH) == [APPLICATIONS]
    for column in BOTH:
        assert run_checks(instance, challenged.resolve_job_def(checks_job_name(column))) == []


@pytest.mark.slow
def test_new_rows_and_changed_texts_reach_both_columns(
    challenged: dg.Definitions, instance: dg.DagsterInstance, tables: connection, connect: Connect
) -> None:
    """Each column's sensors ask for its own ranges."""
    fill(instance, challenged, connect)
    execute(tables, "UPDATE applications SET short_description = 'anew' WHERE appid = 10")
    execute(tables, "INSERT INTO applications (appid, name) VALUES (15, 'New')")
    tables.autocommit = True
    for column in BOTH:
        first = new_rows(instance, tables, column, None, time.time())
        second = new_rows(instance, tables, column, first.cursor, time.time())
        assert len(asked_for(second, register_ranges(instance, tables, column))) == 1
        assert carry_out(instance, challenged, column, second) == [dg.DagsterRunStatus.SUCCESS]
        execute(tables, "UPDATE applications SET short_description = 'anew again' WHERE appid = 240")
        cursor = changed_texts(instance, tables, column, None, time.time()).cursor
        asked = changed_texts(instance, tables, column, cursor, time.time())
        assert carry_out(instance, challenged, column, asked) == [dg.DagsterRunStatus.SUCCESS]
    tables.autocommit = False
    assert embedded(tables) == [25, 25]


@pytest.mark.slow
def test_one_asset_compares_the_columns_of_a_text(
    challenged: dg.Definitions, instance: dg.DagsterInstance, tables: connection, connect: Connect, home: Path
) -> None:
    """Numbers, a verdict, a table and a picture; the column that is searched comes first, whatever the entries say."""
    fill(instance, challenged, connect)
    write_query_set(home / "pages", tables)
    metadata = compared(instance, home / "pages")
    difference = metadata["ndcg_at_10_difference"].value
    assert isinstance(difference, float)
    assert difference < -0.5
    assert "applications.description_embedding is better" in str(metadata["verdict"].value)
    assert str(metadata["plot"].value).startswith("![scores of both columns")
    told = json.loads(json.dumps(metadata["comparison"].value))
    assert told["first"]["costs"]["rows_encoded"] == told["second"]["costs"]["rows_encoded"] == 24
    assert told["second"]["costs"]["embed_seconds"] > 0

    with tables:
        promote(tables, CHALLENGER, BOTH)
    assert searched_first(DatabaseResource(), BOTH) == [CHALLENGER, APPLICATIONS]
    turned = compared(instance, home / "pages")["ndcg_at_10_difference"].value
    assert turned == pytest.approx(-difference)


def compared(instance: dg.DagsterInstance, queries: Path) -> dict[str, dg.MetadataValue]:
    """What the asset says of the columns on a query set."""
    (asset,) = build_comparison_assets(BOTH)
    key = comparison_key(APPLICATIONS)
    done = dg.materialize(
        [asset],
        instance=instance,
        resources={"database": DatabaseResource(), "gpu": GPU},
        run_config={"ops": {"__".join(key.path): {"config": {"queries": str(queries)}}}},
    )
    (materialization,) = done.asset_materializations_for_node("__".join(key.path))
    assert materialization.asset_key == key
    return dict(materialization.metadata)


def write_query_set(folder: Path, conn: connection) -> None:
    """Each page's text without its markup, to be found again."""
    pages = fetch(conn, "SELECT appid, name || ' ' || short_description FROM applications WHERE name <> ' '")
    (folder / "qrels").mkdir(parents=True)
    lines = [
        json.dumps({"_id": str(appid), "text": str(text).replace("<b>", "").replace("</b>", "")})
        for appid, text in pages
    ]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    judged = "\n".join(f"{appid}\t{appid}\t1" for appid, _ in pages)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}\n")


def test_a_registry_without_challengers_has_nothing_to_compare() -> None:
    """One asset for each text with more than one vector column, however many those are."""
    assert build_comparison_assets(COLUMNS) == []
    third = replace(CHALLENGER, vector="third", run="third_run")
    names = replace(APPLICATIONS, text="name", vector="name_embedding", run="name_run")
    columns: tuple[TextColumn, ...] = (APPLICATIONS, REVIEWS, CHALLENGER, names, third)
    (asset,) = build_comparison_assets(columns)
    assert asset.key == dg.AssetKey(["applications", "description_comparison"])
    assert {key.path[-1] for key in asset.dependency_keys} == {
        "description_embedding",
        "description_embedding_b",
        "third",
    }
    dg.Definitions.validate_loadable(build_definitions(columns))

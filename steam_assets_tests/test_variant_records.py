"""Measurements are kept by run, and the newest one of a run is what is read, whole."""

from dataclasses import replace

from psycopg2.extensions import connection

from steam_assets.store.variant_records import latest_measurement, record_measurement
from steam_assets_tests.figures import EXACT, HALFVEC
from steam_assets_tests.made_up_vectors import BY_NAME, BY_NUMBER, clustered, make_vectors
from steam_assets_tests.rows import change_recipe


def test_the_newest_measurement_of_a_run_is_read_whole_and_as_it_was_written(conn: connection) -> None:
    """An earlier one stays, and is not mixed in."""
    run = make_vectors(conn, BY_NUMBER, clustered(3))
    for recall in (0.9, 0.95):
        with conn:
            record_measurement(
                conn, BY_NUMBER, run.run_id, [EXACT, replace(HALFVEC, recall_10=recall)], "a run of Dagster's"
            )
    found = latest_measurement(conn, BY_NUMBER, run.run_id)
    assert found is not None
    assert found.figures == (EXACT, replace(HALFVEC, recall_10=0.95))
    assert found.run_id == run.run_id


def test_measurements_of_other_runs_and_columns_are_others(conn: connection) -> None:
    """Another model's vectors are another matter; that there are some can be asked."""
    run = make_vectors(conn, BY_NUMBER, clustered(3))
    other = change_recipe(conn, BY_NUMBER, "second")
    with conn:
        record_measurement(conn, BY_NUMBER, run.run_id, [EXACT])
    assert latest_measurement(conn, BY_NUMBER, other) is None
    assert latest_measurement(conn, BY_NAME, run.run_id) is None
    of_any = latest_measurement(conn, BY_NUMBER, None)
    assert of_any is not None
    assert of_any.run_id == run.run_id

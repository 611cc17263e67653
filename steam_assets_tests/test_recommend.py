"""The recommendation is the smallest quick index that reaches the recall, with the command; it never guesses."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.indexes.recommend import HEADER, choose, figure_cells, recommend
from steam_assets.store.variant_records import Measurement, VariantFigures, record_measurement
from steam_assets_tests.figures import BIT, BIT_EARLY, EXACT, HALFVEC, SLOW_EXACT, TRUNCATED, VECTOR
from steam_assets_tests.made_up_vectors import BY_NUMBER, clustered, make_vectors
from steam_assets_tests.rows import change_recipe


def measured(*figures: VariantFigures) -> Measurement:
    """These figures, of run 7."""
    return Measurement(7, datetime(2026, 11, 23, tzinfo=UTC), figures)


def test_the_smallest_that_is_quick_and_finds_enough_is_recommended() -> None:
    """At the smallest ef_search that does; truncated vectors never are, however good they look here."""
    found = choose(BY_NUMBER, measured(SLOW_EXACT, VECTOR, HALFVEC, BIT_EARLY, BIT, TRUNCATED), 0.99)
    assert found.figures == BIT
    assert found.command == "steam-assets index build by_number.body_embedding --variant bit --recall 0.99"
    assert "smallest of 3 that answer within 10 ms" in found.reason
    assert choose(BY_NUMBER, measured(SLOW_EXACT, VECTOR, HALFVEC, BIT_EARLY, BIT), 0.95).figures == BIT_EARLY
    assert choose(BY_NUMBER, measured(SLOW_EXACT, VECTOR, HALFVEC, BIT), 0.995).figures == HALFVEC


def test_a_slow_small_index_gives_way_to_a_quick_one_and_among_slow_ones_the_quickest_is_chosen() -> None:
    """Ten milliseconds at p95 are what a search may take."""
    slow = replace(BIT, ms_p95=30.0)
    assert choose(BY_NUMBER, measured(SLOW_EXACT, HALFVEC, slow), 0.99).figures == HALFVEC
    slower = replace(HALFVEC, ms_p95=40.0)
    assert choose(BY_NUMBER, measured(SLOW_EXACT, slower, slow), 0.99).figures == slow


def test_where_none_finds_enough_no_command_is_given() -> None:
    """The best is named with what it finds."""
    found = choose(BY_NUMBER, measured(SLOW_EXACT, HALFVEC, TRUNCATED), 0.998)
    assert found.command is None
    assert "no variant reached recall@10 0.998; the best is halfvec, 0.9950 at ef_search 40" in found.reason


def test_few_rows_and_many_more_rows_than_were_measured_are_told() -> None:
    """Comparing every row may do, or the sample may say too little."""
    (few,) = choose(BY_NUMBER, measured(EXACT, HALFVEC), 0.99, rows=900).notices
    assert "took 5.0 ms at p95" in few
    (more,) = choose(BY_NUMBER, measured(SLOW_EXACT, HALFVEC), 0.99, rows=5_000).notices
    assert "Measured on 900 rows, and there are 5,000" in more


def test_a_run_that_was_not_measured_is_refused_with_the_next_command(conn: connection) -> None:
    """Figures of another model's vectors would be a guess, and are mentioned only."""
    run = make_vectors(conn, BY_NUMBER, clustered(3))
    measure = r"Next: `steam-assets index measure by_number\.body_embedding`"
    with pytest.raises(SteamAssetsError, match=rf"No variant of an index was measured on run {run.run_id} .+{measure}"):
        recommend(conn, BY_NUMBER, run.run_id, 0.99)
    with conn:
        record_measurement(conn, BY_NUMBER, run.run_id, [SLOW_EXACT, HALFVEC])
    assert recommend(conn, BY_NUMBER, run.run_id, 0.99).figures == HALFVEC
    other = change_recipe(conn, BY_NUMBER, "second")
    with pytest.raises(SteamAssetsError, match=rf"There are measurements of run {run.run_id}, whose vectors differ"):
        recommend(conn, BY_NUMBER, other, 0.99)


def test_cells_and_json_say_what_was_measured() -> None:
    """Sizes beside that of whole vectors; nothing where an exact search has nothing."""
    exact, vector, halfvec = figure_cells([SLOW_EXACT, VECTOR, HALFVEC])
    assert dict(zip(HEADER, halfvec, strict=True))["of vector"] == "0.50"
    assert dict(zip(HEADER, vector, strict=True))["of vector"] == "1.00"
    assert dict(zip(HEADER, exact, strict=True)) | {"MB": "", "build s": "", "ef_search": ""} == dict(
        zip(HEADER, exact, strict=True)
    )
    found = json.loads(json.dumps(choose(BY_NUMBER, measured(SLOW_EXACT, HALFVEC), 0.99).as_dict()))
    assert (found["figures"]["variant"], found["run_id"], found["recall"]) == ("halfvec", 7, 0.99)

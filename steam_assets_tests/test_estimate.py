"""What embedding would take, told before it is done."""

from contextlib import closing

import numpy as np
import psycopg2
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.estimate import estimate, token_histogram
from steam_assets.id_range import EVERYTHING
from steam_assets.store.write import WriteCounts, write_batches
from steam_assets.stream import open_stream
from steam_assets.targets import choose_first_model, target_run
from steam_assets_tests.rows import execute, fetch


def test_the_estimate_counts_exactly_the_rows_and_tokens_that_embed_then_takes(
    conn: connection, database_url: str, minilm: Model, minilm_encoder: Encoder
) -> None:
    """Blank rows and rows that are done are left out, long texts are counted as they are cut; nothing is written."""
    execute(conn, "INSERT INTO applications (appid, name) VALUES (1, 'Lantern Valley')")
    execute(
        conn,
        "INSERT INTO reviews (recommendationid, appid, review_text) "
        "SELECT n, 1, CASE WHEN n % 20 > 0 THEN repeat('farm ', n * n % 400) || n END FROM generate_series(0, 39) AS n",
    )
    with conn:
        choose_first_model(conn, REVIEWS, minilm)
    found = estimate(lambda: psycopg2.connect(database_url), REVIEWS, lambda model: minilm_encoder)
    assert fetch(conn, "SELECT count(review_embedding) FROM reviews") == [(0,)]

    counts = write_all(conn, database_url, minilm_encoder)
    assert (found.rows, found.tokens, found.truncated) == (counts.written, counts.tokens, counts.truncated)
    assert (found.rows, sum(found.histogram.values()), found.truncated > 0) == (38, 38, True)
    assert 0 < found.seconds_low <= found.seconds_high
    assert found.disk_bytes > found.rows * 384 * 4

    nothing = estimate(lambda: psycopg2.connect(database_url), REVIEWS, lambda model: minilm_encoder)
    assert (nothing.rows, nothing.tokens, nothing.histogram, nothing.seconds_high, nothing.disk_bytes) == (
        0,
        0,
        {},
        0,
        0,
    )


def write_all(conn: connection, database_url: str, encoder: Encoder) -> WriteCounts:
    """Embed all reviews."""
    stream = open_stream(REVIEWS, [EVERYTHING], lambda model: encoder, lambda: psycopg2.connect(database_url))
    with closing(stream.batches(EVERYTHING)) as batches:
        return write_batches(conn, REVIEWS, target_run(conn, REVIEWS).run_id, EVERYTHING, batches)


def test_the_histogram_counts_texts_up_to_each_power_of_two() -> None:
    """The example of its docstring."""
    assert token_histogram(np.array([3, 4, 5, 20])) == {4: 2, 8: 1, 32: 1}


@given(st.lists(st.integers(min_value=0, max_value=100_000), max_size=50))
def test_every_text_is_in_the_histogram_once_and_in_the_right_place(tokens: list[int]) -> None:
    """At most so many tokens, and more than half as many."""
    expected: dict[int, int] = {}
    for count in tokens:
        bucket = next(2**power for power in range(20) if max(1, count) <= 2**power)
        expected[bucket] = expected.get(bucket, 0) + 1
    assert token_histogram(np.array(tokens, dtype=np.int64)) == expected

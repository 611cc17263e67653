"""What peers get wrong, through the whole platform on the Steam tables: repeats, edits, a kill half-way, odd texts.

That the command line writes nothing the second time, and that a killed command's run is buried, is in test_embed.py.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS, TextColumn
from steam_assets.defs.resources import GpuResource
from steam_assets.embed import EmbedOutcome, embed_columns
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.id_range import EVERYTHING
from steam_assets.store.read import count_pending
from steam_assets.targets import choose_first_model
from steam_assets_tests.benchmarks.torture_client import Order
from steam_assets_tests.benchmarks.torture_process import Client
from steam_assets_tests.dagster_home import contents, fill_tables
from steam_assets_tests.databases import wait_until
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import Connect, add_reviews, execute, fetch, target_of

Embed = Callable[[], EmbedOutcome]

EDITED = (20, 50, 110, 170, 230)
HUGE_TEXT_BYTES = 5_000_000
ROWS = 400


class HashingGpu(GpuResource):
    """Hands out an encoder of hashes for every model."""

    def encoder(self, model: Model) -> Encoder:
        """The same each time, so that its work is counted."""
        return hashing(model)


hashing = cache(hash_encoder)


@pytest.fixture
def hashed(minilm: Model) -> Encoder:
    """The encoder of hashes that passes for the packaged model."""
    return hashing(minilm)


@pytest.fixture
def embed(dagster_url: str, few_ranges: None, connect: Connect) -> Embed:
    """Embeds both tables in this process, as `steam-assets embed` does, with the encoder of hashes."""
    return lambda: embed_columns(COLUMNS, connect, HashingGpu(device="cpu"), None, print)


def all_contents(conn: connection) -> list[list[tuple[object, ...]]]:
    """Every row of both tables with its version."""
    return [contents(conn, column) for column in COLUMNS]


def embedding_runs(instance: dg.DagsterInstance) -> set[str]:
    """Dagster's runs that may write vectors."""
    return {run.run_id for run in instance.get_runs() if run.job_name.startswith("embed_")}


def assert_vectors_are_of_the_texts(conn: connection, column: TextColumn, encoder: Encoder, rows: int) -> None:
    """So many rows have a vector, bit for bit that of their present text; every other row has no text."""
    text, vector, table = map(sql.Identifier, (column.text, column.vector, column.table))
    found = fetch(conn, sql.SQL("SELECT {}, {}::real[] FROM {}").format(text, vector, table))
    prepare = find_preparation(column.preparation).prepare
    embedded = [(prepare(str(source)), numbers) for source, numbers in found if numbers is not None]
    assert len(embedded) == rows
    stored = np.array([numbers for _, numbers in embedded], dtype=np.float32)
    assert np.array_equal(stored, encoder.encode([prepared for prepared, _ in embedded]))
    assert all(not str(source or "").strip() for source, numbers in found if numbers is None)


def test_embedding_again_encodes_no_row_and_starts_no_run_that_writes(
    embed: Embed, instance: dg.DagsterInstance, tables: connection, hashed: Encoder
) -> None:
    """The second time only the checks of whole columns run, and nothing is given to the encoder."""
    first = embed()
    assert (first.rows, first.errors, first.red_checks) == (48, (), ())
    before, work, runs = all_contents(tables), hashed.work, embedding_runs(instance)
    assert len(runs) == len(COLUMNS)

    second = embed()
    assert (second.rows, second.errors, second.red_checks) == (0, (), ())
    assert (hashed.work, embedding_runs(instance)) == (work, runs)
    assert all_contents(tables) == before


def test_of_ten_edited_rows_exactly_ten_are_encoded_again(embed: Embed, tables: connection, hashed: Encoder) -> None:
    """The others keep their row version; the ten have the vectors of their new texts."""
    embed()
    before, work = all_contents(tables), hashed.work
    reviews = [str(appid // 10) for appid in EDITED]
    execute(
        tables,
        "UPDATE applications SET short_description = 'Sails ' || appid WHERE appid = ANY(%(ids)s)",
        ids=list(EDITED),
    )
    execute(
        tables,
        "UPDATE reviews SET review_text = 'Now about sails ' || recommendationid WHERE recommendationid = ANY(%(ids)s)",
        ids=reviews,
    )

    again = embed()
    assert (again.rows, again.errors, again.red_checks) == (10, (), ())
    assert hashed.work.since(work).tokens == 10, "of which every text has one"
    written = [
        {now[0] for now, earlier in zip(after, then, strict=True) if now != earlier}
        for after, then in zip(all_contents(tables), before, strict=True)
    ]
    assert written == [set(EDITED), set(reviews)]
    for column in COLUMNS:
        assert_vectors_are_of_the_texts(tables, column, hashed, 24)


@pytest.mark.slow
def test_after_a_kill_half_way_exactly_the_rest_is_encoded(
    embed: Embed, dagster_url: str, named_database: str, conn: connection, minilm: Model, home: Path
) -> None:
    """A real process, killed by SIGKILL: what it committed is neither lost nor encoded again."""
    fill_tables(conn, ROWS, ROWS)
    with conn:
        for column in COLUMNS:
            choose_first_model(conn, column, minilm)
    ranges = [(column, EVERYTHING.key, target_of(conn, column)) for column in COLUMNS]
    order = Order("killed", named_database, ranges, minilm, rows_per_s=1_000, chunk_rows=20, page_rows=20)
    client = Client(replace(order, dagster_url=dagster_url, home=home))
    client.listen(lambda: client.told >= ROWS)
    os.kill(client.pid, signal.SIGKILL)
    assert client.finish() == -signal.SIGKILL
    wait_until(lambda: sessions(conn) == 0, "the killed client's sessions have ended")

    left = sum(count_pending(conn, column, run_id)[0] for column, _, run_id in ranges)
    conn.rollback()
    assert client.told <= 2 * ROWS - left < 2 * ROWS
    finished = embed()
    assert (finished.rows, finished.errors, finished.red_checks) == (left, (), ())
    for column in COLUMNS:
        assert_vectors_are_of_the_texts(conn, column, hashing(minilm), ROWS)


def sessions(conn: connection) -> int:
    """Other sessions in the test's database."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ((found,),) = fetch(conn, others)
    assert isinstance(found, int)
    return found


def test_texts_that_are_null_empty_blank_or_huge_disturb_no_other_row(
    dagster_url: str, few_ranges: None, tables: connection, connect: Connect, minilm_encoder: Encoder
) -> None:
    """With MiniLM itself: three rows are blank, the huge text is embedded and counted as truncated, the others done."""
    huge = "a farm with a dragon " * (HUGE_TEXT_BYTES // 21)
    add_reviews(tables, {"null": None, "empty": "", "blank": " \n\t ", "huge": huge})
    outcome = embed_columns(COLUMNS, connect, GpuResource(device="cpu"), None, print)

    assert (outcome.rows, outcome.errors, outcome.red_checks) == (25 + 25, (), ())
    with_vector = "SELECT recommendationid FROM reviews WHERE review_embedding IS NOT NULL"
    without = fetch(tables, "SELECT recommendationid FROM reviews WHERE review_embedding IS NULL ORDER BY 1")
    assert without == [("blank",), ("empty",), ("null",), ("~blank",)]
    assert len(fetch(tables, with_vector)) == 25
    assert fetch(tables, "SELECT sum(truncated) FROM embedding_run_ranges WHERE table_name = 'reviews'") == [(1,)]
    ((stored,),) = fetch(tables, "SELECT review_embedding::real[] FROM reviews WHERE recommendationid = 'huge'")
    expected = minilm_encoder.encode([huge[:100_000]])
    assert float(np.dot(np.array(stored, dtype=np.float32), expected[0])) >= 0.99999
    assert fetch(tables, "SELECT FROM embedding_failures") == []

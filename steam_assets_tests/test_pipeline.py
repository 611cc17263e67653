"""The pipeline from a table through the model and back, and its record of every attempt."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets import gate, stages
from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.encoder import preparation
from steam_assets.encoder.backend import Pack, Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import build_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.encoder.precision import PrecisionRefused
from steam_assets.encoder.preparation import Preparation
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.pipeline import EmbeddingStream, RangeReport, fill_range, open_stream
from steam_assets.progress import Progress, watching
from steam_assets.store import write
from steam_assets.store.runs import mark_lost, run_lock
from steam_assets.store.states import range_state
from steam_assets_tests.databases import wait_until
from steam_assets_tests.models import CPU
from steam_assets_tests.rows import PAGE_OF_REVIEWS, Connect, add_reviews, execute, fetch


def fill(conn: connection, stream: EmbeddingStream, id_range: IdRange = EVERYTHING, **options: int) -> RangeReport:
    """Fill one range of a stream under a monitor."""
    with SystemMonitor("cpu", log=lambda line: None) as monitor:
        return fill_range(conn, stream, id_range, monitor, "dagster-run", lambda line: None, **options)


def last_record(conn: connection, *fields: str) -> tuple[object, ...]:
    """Fields of the newest attempt's record."""
    (record,) = fetch(
        conn,
        sql.SQL("SELECT {} FROM embedding_run_ranges ORDER BY range_id DESC LIMIT 1").format(
            sql.SQL(", ").join(map(sql.Identifier, fields))
        ),
    )
    return record


def embedded(conn: connection) -> int:
    """Reviews with a vector."""
    ((rows,),) = fetch(conn, "SELECT count(review_embedding) FROM reviews")
    assert isinstance(rows, int)
    return rows


def test_a_range_is_filled_and_recorded_with_what_it_took(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """The record and the report hold the same numbers; the database says that all is done."""
    add_reviews(conn, {"too long": "farm " * 1000, "blank": " "})
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    watched: list[Progress] = []
    with watching(watched.append):
        report = fill(conn, stream)

    assert (report.counts.written, report.counts.truncated, sum(progress.rows for progress in watched)) == (49, 1, 49)
    fields = ("status", "error", "rows_written", "tokens", "truncated", "seconds", "range_key", "dagster_run_id")
    assert last_record(conn, *fields) == (
        *("done", None, 49, report.counts.tokens, 1, pytest.approx(report.seconds, abs=0.5), "~:~", "dagster-run"),
    )
    numbers = ("rows_per_s", "tokens_per_s", "peak_memory_bytes", "batch_tokens")
    assert all(isinstance(number, int | float) and number > 0 for number in last_record(conn, *numbers))
    assert last_record(conn, "device", "dtype") == (minilm_encoder.backend.device_name, "fp32")
    ((details,),) = fetch(conn, "SELECT details FROM embedding_run_ranges ORDER BY range_id DESC LIMIT 1")
    assert details == {
        "backend": "torch",
        "padded": False,
        "forwards": report.work.forwards,
        "padded_tokens": report.counts.tokens,
        "memory_events": [],
        "precision": None,
    }
    state = range_state(conn, reviews, stream.run.run_id, stream.run.dimension)
    assert (state.embedded, state.blank, state.coverage) == (49, 1, 1.0)
    assert all(found.rows == 0 for found in state.offences.values())


def test_memory_errors_reach_the_monitor_the_report_and_the_record(
    conn: connection, connect: Connect, minilm: Model, reviews: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their numbers: what failed, and what the budget became."""
    encoder = build_encoder(minilm, replace(CPU, batch_tokens=100))
    start = encoder.backend.start

    def small(pack: Pack) -> Callable[[], Vectors]:
        if len(pack.ids) > 20:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return start(pack)

    monkeypatch.setattr(encoder.backend, "start", small)
    stream = open_stream(reviews, [EVERYTHING], lambda model: encoder, connect)
    lines: list[str] = []
    report = fill_range(conn, stream, EVERYTHING, SystemMonitor("cpu", lines.append), "dagster-run", lines.append)

    assert report.counts.written == 48
    (event, *_) = report.memory_events
    assert event.failed > 20
    assert event.budget == int(0.6 * event.failed)
    assert any(line.startswith(f"EVENT - out of memory with {event.failed} tokens in") for line in lines)
    assert last_record(conn, "memory_errors", "batch_tokens") == (len(report.memory_events), encoder.budget.tokens)
    ((kept,),) = fetch(conn, "SELECT details -> 'memory_events' FROM embedding_run_ranges")
    assert kept == [asdict(event) for event in report.memory_events]


def test_vectors_too_far_from_fp32_are_never_written(
    conn: connection,
    connect: Connect,
    minilm: Model,
    reviews: TextColumn,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The gate stands before the first row; what it found is told with the next command."""
    monkeypatch.setenv("STEAM_ASSETS_HOME", str(tmp_path))
    encoder = build_encoder(minilm, replace(CPU, dtype="bf16"))
    start = encoder.backend.start
    monkeypatch.setattr(gate, "CPU_TOKENS", 3000)
    spoil = np.random.default_rng(0).normal(0, 0.05, 384).astype(np.float32)
    monkeypatch.setattr(encoder.backend, "start", lambda pack: lambda: start(pack)() + spoil)
    with pytest.raises(PrecisionRefused, match=r"bf16 .+ is not near enough to fp32.+--dtype fp32"):
        open_stream(reviews, [EVERYTHING], lambda model: encoder, connect)
    assert embedded(conn) == 0


def test_what_is_written_is_what_the_model_gives_for_each_text(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """No vector lands on a neighbour's row, whatever the order of batches."""
    fill(conn, open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect))
    rows = fetch(conn, "SELECT review_text, review_embedding::real[] FROM reviews")
    stored = np.array([vector for _, vector in rows], dtype=np.float32)
    expected = minilm_encoder.encode([str(text) for text, _ in rows])
    assert np.sum(stored * expected, axis=1).min() > 0.99999


def test_a_second_fill_encodes_nothing(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """Doing it again changes nothing; the attempt is recorded with zero rows."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    fill(conn, stream)
    assert fill(conn, stream).counts.handled == 0
    assert last_record(conn, "status", "rows_written") == ("done", 0)


def test_a_limit_ends_a_range_early_and_the_rest_stays_pending(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """The next run takes up there."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    assert fill(conn, stream, limit=10).counts.written == 10 == embedded(conn)
    assert fill(conn, stream).counts.written == 38


@pytest.mark.parametrize(
    ("error", "status"), [(ZeroDivisionError("in a text"), "failed"), (KeyboardInterrupt(), "aborted")]
)
def test_an_error_half_way_keeps_what_was_committed_and_is_recorded(
    conn: connection,
    connect: Connect,
    reviews: TextColumn,
    minilm_encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
) -> None:
    """The error itself rises; the next attempt finishes the range; no thread is left behind."""
    monkeypatch.setattr(write, "CHUNK_ROWS", PAGE_OF_REVIEWS)
    monkeypatch.setattr(stages, "WINDOW_ROWS", 1)  # a window for each page, whatever waits
    before = threading.active_count()

    def prepare(text: str) -> str:
        if text.endswith("day 30") and broken:
            raise error
        return text

    broken = True
    monkeypatch.setitem(preparation.PREPARATIONS, "plain", Preparation("plain", 1, prepare))
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    with pytest.raises(type(error)) as raised:
        fill(conn, stream)
    assert raised.value is error
    assert last_record(conn, "status", "rows_written", "error") == (status, 28, f"{type(error).__name__}: {error}")
    assert embedded(conn) == 28
    assert threading.active_count() == before

    broken = False
    assert fill(conn, stream).counts.written == 20


def test_a_reader_that_loses_its_connection_fails_the_range_with_that_error(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """Not as an early end: rows that were not read are not done."""
    pids: list[int] = []

    def noted() -> connection:
        opened = connect()
        pids.append(opened.info.backend_pid)
        return opened

    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, noted)

    def kill(progress: Progress) -> None:
        execute_in(connect, f"SELECT pg_terminate_backend({pids[-1]})")

    with watching(kill), pytest.raises(psycopg2.OperationalError, match="terminat"):
        write_slowly(conn, stream)
    assert last_record(conn, "status") == ("failed",)
    assert 0 < embedded(conn) < 48


def write_slowly(conn: connection, stream: EmbeddingStream) -> None:
    """Fill the range with a commit for each batch, every stage only a step ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "CHUNK_ROWS", 1)
        for bound in ("PAGE_BYTES_AHEAD", "WINDOW_TOKENS_AHEAD", "BATCH_BYTES_AHEAD", "WINDOW_ROWS"):
            patch.setattr(stages, bound, 1)
        fill(conn, stream)


def execute_in(connect: Connect, statement: str) -> None:
    """Run a statement in a session of its own."""
    with closing(connect()) as other:
        execute(other, statement)


def test_a_writer_that_is_killed_leaves_a_range_that_is_found_lost(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """Nobody can record its end; its lock is free, and whoever looks next says so. The next run finishes."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    writer = connect()
    run_lock(writer, "dagster-run")
    writer.commit()
    alive: list[list[str]] = []

    def kill(progress: Progress) -> None:
        with conn:
            alive.append(mark_lost(conn))
        execute_in(connect, f"SELECT pg_terminate_backend({writer.info.backend_pid})")

    with watching(kill), pytest.raises(psycopg2.Error, match="terminat"):
        write_slowly(writer, stream)
    assert alive == [[]], "a range whose writer lives is not lost"
    assert last_record(conn, "status") == ("running",)
    done = embedded(conn)
    assert 0 < done < 48

    wait_until(lambda: lost(conn) == ["dagster-run"], "the dead session's lock is free")
    assert last_record(conn, "status", "rows_written") == ("lost", None)
    assert fill(conn, stream).counts.written == 48 - done


def lost(conn: connection) -> list[str]:
    """Runs found lost, and marked so."""
    with conn:
        return mark_lost(conn)


def test_a_column_without_a_model_is_refused_with_the_next_command(connect: Connect, minilm_encoder: Encoder) -> None:
    """Nothing is guessed from the environment."""
    with pytest.raises(SteamAssetsError, match=r"has no model yet\. Run `steam-assets init`"):
        open_stream(REVIEWS, [EVERYTHING], lambda model: minilm_encoder, connect)

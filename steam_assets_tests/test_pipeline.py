"""The pipeline from a table through the model and back, and its record of every attempt."""

import threading
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets import stages
from steam_assets.attempt import RangeReport
from steam_assets.columns import TextColumn
from steam_assets.encoder import preparation
from steam_assets.encoder.backend import Pack, Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import build_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.encoder.preparation import Preparation
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.pipeline import fill_range
from steam_assets.progress import Progress, watching
from steam_assets.store import write
from steam_assets.store.locks import mark_lost
from steam_assets.store.runs import start_range
from steam_assets.store.session import RangeTaken, RunSession
from steam_assets.store.states import range_state
from steam_assets.store.write import TargetChanged
from steam_assets.stream import EmbeddingStream, open_stream
from steam_assets_tests.databases import wait_until
from steam_assets_tests.models import CPU
from steam_assets_tests.rows import PAGE_OF_REVIEWS, Connect, add_reviews, change_recipe, execute, fetch


def fill(stream: EmbeddingStream, id_range: IdRange = EVERYTHING, limit: int | None = None) -> RangeReport:
    """Fill one range of a stream under a monitor."""
    with RunSession(stream.connect, "dagster-run") as session:
        return fill_range(session, stream, id_range, SystemMonitor("cpu", ignore), ignore, limit)


def ignore(line: str) -> None:
    """Nobody reads these lines."""


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
        report = fill(stream)

    assert (report.counts.written, report.counts.truncated, sum(progress.rows for progress in watched)) == (49, 1, 49)
    fields = ("status", "error", "rows_written", "tokens", "truncated", "seconds", "range_key", "dagster_run_id")
    assert last_record(conn, *fields) == (
        *("done", None, 49, report.counts.tokens, 1, pytest.approx(report.seconds, abs=0.5), "~:~", "dagster-run"),
    )
    numbers = ("rows_per_s", "tokens_per_s", "peak_memory_bytes", "batch_tokens")
    assert all(isinstance(number, int | float) and number > 0 for number in last_record(conn, *numbers))
    assert last_record(conn, "device", "dtype") == (minilm_encoder.backend.device_name, "fp32")
    ((details,),) = fetch(conn, "SELECT details FROM embedding_run_ranges ORDER BY range_id DESC LIMIT 1")
    assert isinstance(details, dict)
    stages = details.pop("stage_seconds")
    assert stages == {name: pytest.approx(seconds, abs=0.001) for name, seconds in asdict(report.stages).items()}
    assert all(0 < stages[stage] <= report.seconds for stage in ("read", "tokenize", "forward", "write", "idle"))
    assert details == {
        "backend": "torch",
        "padded": False,
        "forwards": report.work.forwards,
        "padded_tokens": report.counts.tokens,
        "memory_events": [],
        "gpu_energy_wh": None,
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
    with RunSession(connect, "dagster-run") as session:
        report = fill_range(session, stream, EVERYTHING, SystemMonitor("cpu", lines.append), lines.append)

    assert report.counts.written == 48
    (event, *_) = report.memory_events
    assert event.failed > 20
    assert event.budget == int(0.6 * event.failed)
    assert any(line.startswith(f"EVENT - out of memory with {event.failed} tokens in") for line in lines)
    assert last_record(conn, "memory_errors", "batch_tokens") == (len(report.memory_events), encoder.budget.tokens)
    ((kept,),) = fetch(conn, "SELECT details -> 'memory_events' FROM embedding_run_ranges")
    assert kept == [asdict(event) for event in report.memory_events]


def test_what_is_written_is_what_the_model_gives_for_each_text(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """No vector lands on a neighbour's row, whatever the order of batches."""
    fill(open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect))
    rows = fetch(conn, "SELECT review_text, review_embedding::real[] FROM reviews")
    stored = np.array([vector for _, vector in rows], dtype=np.float32)
    expected = minilm_encoder.encode([str(text) for text, _ in rows])
    assert np.sum(stored * expected, axis=1).min() > 0.99999


def test_a_second_fill_encodes_nothing(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """Doing it again changes nothing; the attempt is recorded with zero rows."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    fill(stream)
    assert fill(stream).counts.handled == 0
    assert last_record(conn, "status", "rows_written") == ("done", 0)


def test_a_limit_ends_a_range_early_and_the_rest_stays_pending(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """The next run takes up there."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    assert fill(stream, limit=10).counts.written == 10 == embedded(conn)
    assert fill(stream).counts.written == 38


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
        fill(stream)
    assert raised.value is error
    assert last_record(conn, "status", "rows_written", "error") == (status, 28, f"{type(error).__name__}: {error}")
    assert embedded(conn) == 28
    assert threading.active_count() == before

    broken = False
    assert fill(stream).counts.written == 20


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The server processes of a fill's connections in the order of their opening: the session's is the first."""
    return []


@pytest.mark.parametrize("whose", ["the reader's", "the session's"])
def test_a_fill_goes_on_from_its_last_commit_when_a_connection_is_lost(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder, backends: list[int], whose: str
) -> None:
    """Every row is written once, the attempt ends as done, and its run is alive again in the database's eyes."""
    victims: list[int] = []

    def kill(progress: Progress) -> None:
        if not victims:
            victims.append(backends[0 if whose == "the session's" else -1])
            kill_backend(conn, victims[0])

    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, noting(connect, backends))
    backends.clear()
    with watching(kill):
        report = write_slowly(stream)
    assert len(victims) == 1
    assert len(backends) > 2, "nothing was opened anew"
    assert (report.counts.written, embedded(conn)) == (48, 48)
    assert fetch(conn, "SELECT status, rows_written FROM embedding_run_ranges") == [("done", 48)]


def test_a_connection_that_is_lost_again_and_again_without_a_commit_ends_the_range(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder, backends: list[int]
) -> None:
    """The error says what happened, the record too, and what was committed stays."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, noting(connect, backends))
    done: list[int] = []

    def kill(progress: Progress) -> None:
        done.append(progress.rows)
        if sum(done) >= 10:
            for backend in backends[1:]:
                kill_backend(conn, backend)

    with watching(kill), pytest.raises(psycopg2.OperationalError, match="terminat"):
        write_slowly(replace(stream, connect=doomed_after(stream.connect, conn, done)))
    assert last_record(conn, "status") == ("failed",)
    assert 0 < embedded(conn) < 48


def test_a_second_run_leaves_a_range_alone_that_is_being_filled(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """It says so and writes nothing, no record either; when the first one is done there is nothing left to do."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    refusals: list[str] = []

    def fill_too(progress: Progress) -> None:
        if not refusals:
            with pytest.raises(RangeTaken) as refused:
                fill(stream)
            refusals.append(str(refused.value))

    with watching(fill_too):
        write_slowly(stream)
    assert "is being filled by another run" in refusals[0]
    assert "steam-assets embed reviews.review_embedding" in refusals[0]
    assert fetch(conn, "SELECT status, rows_written FROM embedding_run_ranges") == [("done", 48)]
    assert fill(stream).counts.handled == 0, "the lock is given back"


def test_another_model_chosen_meanwhile_stops_the_older_one(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """From then on it writes nothing: a vector of the new run is not replaced by one of the old."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)

    def choose(progress: Progress) -> None:
        change_recipe(conn, reviews, "newer")

    with watching(choose), pytest.raises(TargetChanged, match=r"filled with run \d+ now.+these vectors are of run"):
        write_slowly(stream)
    written = embedded(conn)
    assert 0 < written < 48
    assert last_record(conn, "status", "rows_written") == ("failed", written)


def test_a_killed_process_leaves_a_range_that_is_found_lost(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """Nobody can record its end; its lock is free, and whoever looks next says so. The next run finishes."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: minilm_encoder, connect)
    process = RunSession(connect, "dagster-run")
    with process.conn:
        start_range(process.conn, reviews, stream.run.run_id, EVERYTHING.key, "dagster-run", "cpu", "fp32")
    assert lost(conn) == [], "a range whose writer lives is not lost"
    kill_backend(conn, process.conn.info.backend_pid)

    wait_until(lambda: lost(conn) == ["dagster-run"], "the dead session's lock is free")
    assert last_record(conn, "status", "rows_written") == ("lost", None)
    assert fill(stream).counts.written == 48


def noting(connect: Connect, backends: list[int]) -> Connect:
    """``connect`` that notes the server process of each connection."""

    def noted() -> connection:
        opened = connect()
        backends.append(opened.info.backend_pid)
        return opened

    return noted


def doomed_after(connect: Connect, conn: connection, done: list[int]) -> Connect:
    """``connect`` whose connections are ended at once after ten rows, before they can do anything."""

    def doomed() -> connection:
        opened = connect()
        if sum(done) >= 10 and opened.info.backend_pid is not None:
            locked = fetch(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
            if locked != [(0,)]:  # a session holds its locks: this is the reader's
                kill_backend(conn, opened.info.backend_pid)
        return opened

    return doomed


def write_slowly(stream: EmbeddingStream) -> RangeReport:
    """Fill the range with a commit for each batch, every stage only a step ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "CHUNK_ROWS", 1)
        for bound in ("PAGE_BYTES_AHEAD", "WINDOW_TOKENS_AHEAD", "BATCH_BYTES_AHEAD", "WINDOW_ROWS"):
            patch.setattr(stages, bound, 1)
        return fill(stream)


def kill_backend(conn: connection, pid: int) -> None:
    """End a server process, and wait until it is gone."""
    execute(conn, f"SELECT pg_terminate_backend({pid}, 10000)")


def lost(conn: connection) -> list[str]:
    """Runs found lost, and marked so."""
    with conn:
        return mark_lost(conn)

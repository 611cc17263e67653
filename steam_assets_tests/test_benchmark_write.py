"""The benchmark of writing: every way stores the same vectors, and what is counted is what was spent."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.store.database import connect, find_database
from steam_assets_tests.benchmarks import plots, write
from steam_assets_tests.benchmarks.corpus import CHECKOUT
from steam_assets_tests.benchmarks.scratch import Connect
from steam_assets_tests.benchmarks.tables import LONG_TEXT_BYTES, SHAPES, Shape, make_table, read_texts
from steam_assets_tests.benchmarks.tool_patterns import create_store
from steam_assets_tests.benchmarks.write_patterns import ours, ours_without_guard, through_psycopg2
from steam_assets_tests.benchmarks.write_race import (
    OURS,
    PREDECESSOR,
    VARIANTS,
    WITH_TRIGGER,
    Variant,
    WriteRace,
    WriteRow,
    check_stored,
)
from steam_assets_tests.benchmarks.write_turn import Turn, peak_bytes, timed, unit_vectors
from steam_assets_tests.rows import execute, fetch

DIMENSION = 16
ROWS = 30
TEXTS = ["a farm by the river", "leeks, mostly", "строить и сажать"]
OF_PSYCOPG = {"psycopg COPY write_row", "pgai", "CocoIndex"}
MEGABYTE = 1 << 20
MOST_PLOT_BYTES = 60_000
LOAD = """
import sys
from steam_assets_tests.benchmarks import pagination, write
from steam_assets_tests.benchmarks.machine import describe_machine, machine_lines

assert "cores" in machine_lines(describe_machine(None))
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


@pytest.fixture
def opened(empty_database_url: str) -> Connect:
    """Connections to an empty database."""
    return lambda: connect(find_database(empty_database_url))


@pytest.fixture
def watched(opened: Connect) -> Iterator[connection]:
    """One of them."""
    with closing(opened()) as conn:
        yield conn


@pytest.fixture
def turn(watched: connection) -> Turn:
    """Reviews that wait for a vector."""
    return make_table(watched, SHAPES["reviews"], ROWS, DIMENSION, TEXTS).take(unit_vectors(ROWS, DIMENSION, seed=1))


@pytest.mark.parametrize("library", ["psycopg2", "psycopg"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_way_of_writing_stores_the_same_vectors(
    opened: Connect, watched: connection, shape: Shape, library: str
) -> None:
    """Bit for bit in all rows of its turn and in no other; where the row is ours, its run is there too."""
    pytest.importorskip(library)
    table = make_table(watched, shape, ROWS * len(VARIANTS), DIMENSION, TEXTS)
    for variant in VARIANTS:
        if (variant.name in OF_PSYCOPG) == (library == "psycopg"):
            turn = table.take(unit_vectors(ROWS, DIMENSION, seed=1))
            if variant.store is not None:
                create_store(watched, variant.store, turn)
            with closing(variant.start(opened)) as session:
                session.write(turn)
            assert vectors_by_id(watched, variant, turn) == {
                str(id_): vector.tobytes() for id_, vector in zip(turn.source.ids, turn.vectors, strict=True)
            }
            check_stored(watched, variant, turn)
            execute(
                watched, sql.SQL("UPDATE {} SET {} = NULL").format(*map(sql.Identifier, (shape.name, shape.column.run)))
            )


def vectors_by_id(conn: connection, variant: Variant, turn: Turn) -> dict[str, bytes]:
    """All vectors of the tool's own table, or of the rows that have a run."""
    column, store = turn.column, variant.store
    names = (column.id, column.vector, column.table, column.run)
    if store is not None:
        names = (store.id, "embedding", store.table, "embedding")
    query = sql.SQL("SELECT {}::text, {}::real[] FROM {} WHERE {} IS NOT NULL").format(*map(sql.Identifier, names))
    with conn, conn.cursor() as cursor:
        cursor.execute(query)
        return {id_: np.array(vector, dtype=np.float32).tobytes() for id_, vector in cursor}


def test_a_vector_that_is_not_the_one_given_stops_the_benchmark(watched: connection, turn: Turn) -> None:
    """One bit of one number, or a row without a vector: no figure of such a way is worth anything."""
    with pytest.raises(RuntimeError, match=r"ours: 30 of 30 rows of reviews.review_embedding do not have the vector"):
        check_stored(watched, VARIANTS[1], turn)
    ours(watched, turn)
    check_stored(watched, VARIANTS[1], turn)
    turn.vectors[7, 3] = np.nextafter(turn.vectors[7, 3], np.float32(1))
    with pytest.raises(RuntimeError, match="ours: 1 of 30 rows"):
        check_stored(watched, VARIANTS[1], turn)


def test_without_the_guard_a_text_that_changed_meanwhile_gets_the_old_vector(watched: connection) -> None:
    """That is what the guard is for, and that the variant is without it; afterwards the product has it again."""
    table = make_table(watched, SHAPES["reviews"], 2 * ROWS, DIMENSION, TEXTS)
    for write_turn, written in ((ours_without_guard, ROWS), (ours, ROWS - 1)):
        turn = table.take(unit_vectors(ROWS, DIMENSION, seed=1))
        execute(
            watched, "UPDATE reviews SET review_text = 'another' WHERE recommendationid = %(id)s", id=turn.source.ids[0]
        )
        write_turn(watched, turn)
        ids = list(turn.source.ids)
        query = "SELECT count(review_embedding) FROM reviews WHERE recommendationid = ANY(%(ids)s)"
        assert fetch(watched, query, ids=ids) == [(written,)]


def test_store_pages_are_long_and_kept_out_of_line(tmp_path: Path, watched: connection) -> None:
    """6 KB a text, whatever the rows at hand are; reviews stay as they are."""
    pages = read_texts(SHAPES["applications"], tmp_path)
    assert {LONG_TEXT_BYTES - len(text.encode()) for text in pages.stored} <= {0, 1, 2, 3}
    assert np.mean([len(text) for text in read_texts(SHAPES["reviews"], tmp_path).stored]) < 1_000
    make_table(watched, SHAPES["applications"], ROWS, DIMENSION, pages.stored)
    query = "SELECT count(*) FROM applications WHERE pg_column_toast_chunk_id(combined_text) IS NOT NULL"
    assert fetch(watched, query) == [(ROWS + 1,)]


def test_processor_time_is_that_of_whoever_worked(opened: Connect, watched: connection, turn: Turn) -> None:
    """The backend's own, found by its pid, and this process's own; nobody else's."""

    def sort_on_the_server(conn: connection, _turn: Turn) -> None:
        fetch(conn, "SELECT max(md5(n::text)) FROM generate_series(1, 400000) AS n")

    def sort_here(_conn: connection, _turn: Turn) -> None:
        sum(n * n for n in range(3_000_000))

    with closing(through_psycopg2(sort_on_the_server)(opened)) as session:
        there = timed(session, turn, watched)
    with closing(through_psycopg2(sort_here)(opened)) as session:
        here = timed(session, turn, watched)
    assert there.backend_s > 0.05 > there.client_s
    assert here.client_s > 0.05 > here.backend_s
    assert there.seconds >= there.backend_s - 0.02


def test_the_log_of_the_server_is_counted(opened: Connect, watched: connection, turn: Turn) -> None:
    """A turn of ours writes more to it than its vectors have bytes."""
    with closing(through_psycopg2(ours)(opened)) as session:
        assert turn.vectors.nbytes < timed(session, turn, watched).wal_bytes < 100 * turn.vectors.nbytes


def test_peak_memory_is_what_was_held_at_once(opened: Connect, turn: Turn) -> None:
    """Two megabytes one after the other are one."""

    def allocate(_conn: connection, _turn: Turn) -> None:
        for _ in range(2):
            np.ones(MEGABYTE, dtype=np.uint8)

    with closing(through_psycopg2(allocate)(opened)) as session:
        assert MEGABYTE <= peak_bytes(session, turn) < 1.1 * MEGABYTE


def test_a_way_whose_library_is_absent_is_skipped_with_the_reason(
    opened: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg is not a dependency; the others are measured all the same."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    race = WriteRace(SHAPES["reviews"], rows=5, rounds=1, say=lambda line: None)
    race.run(opened, TEXTS, DIMENSION)
    rows = {row.name: row for row in race.found()}
    assert {name for name, row in rows.items() if row.skipped} == OF_PSYCOPG
    assert rows["pgai"].skipped == "psycopg is not installed"
    assert rows["pgai"].rows_per_s is None
    assert rows[PREDECESSOR].ratio_to_predecessor == rows[PREDECESSOR].cpu_ratio == rows[PREDECESSOR].memory_ratio == 1


def test_every_turn_has_rows_of_its_own_and_the_trigger_only_where_it_is_said(
    opened: Connect, watched: connection
) -> None:
    """Two rounds, the first to warm up; of 5 rows, or of 1 in ways that send text; nothing is written twice."""
    race = WriteRace(SHAPES["reviews"], rows=5, rounds=1, say=lambda line: None)
    race.run(opened, TEXTS, DIMENSION)
    in_place = [variant for variant in VARIANTS if variant.store is None and variant.name not in race.skipped]
    turns = [(variant.rows(5), variant.has_trigger) for variant in in_place] * 2
    query = """
        SELECT count(embedding_run_id), count(*) FILTER (WHERE updated_at > created_at), count(*)
        FROM reviews
    """
    ((written, touched, rows),) = fetch(watched, query)
    assert written == sum(rows for rows, _ in turns)
    assert touched == sum(rows for rows, has_trigger in turns if has_trigger) == 2 * (1 + 5)
    assert rows == 1 + 2 * sum(variant.rows(5) for variant in VARIANTS if variant.store is None)


def test_targets_of_writing_are_met_missed_or_not_measured() -> None:
    """For each shape, at exactly the bound; the trigger's row promises nothing."""
    measured = [
        WriteRow(PREDECESSOR, "reviews", 1.0, 1_000.0),
        WriteRow(OURS, "reviews", 10.0, 10_000.0, cpu_ratio=7.99),
        WriteRow(PREDECESSOR + WITH_TRIGGER, "reviews", 0.5, 500.0),
        WriteRow(OURS + WITH_TRIGGER, "reviews", 2.0, 2_000.0),
    ]
    assert [(target.corpus, target.what, target.found, target.verdict) for target in write.targets(measured)] == [
        ("reviews", "rows/s, the guard on >= 10x", "10.00", "met"),
        ("reviews", "client and backend CPU per row, times less >= 8x", "7.99", "missed"),
        ("reviews", "payload memory per row, times less >= 5x", "", "not measured"),
        ("reviews", "rows/s, both under the updated_at trigger", "4.00", "not applicable here"),
    ]


@pytest.mark.slow
def test_the_benchmark_of_writing_prints_its_tables_and_writes_json_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both shapes on the sample's rows, on the server of this home; the plot is a small PNG."""
    pytest.importorskip("matplotlib")
    json_path, plot = tmp_path / "write.json", tmp_path / "plots" / "write.png"
    sizes = ("--rows", "20", "--rounds", "2", "--dimension", str(DIMENSION))
    write.main([*sizes, "--data", str(tmp_path), "--json", str(json_path), "--plot", str(plot)])
    found = json.loads(json_path.read_text())
    printed = capsys.readouterr().out
    assert [(row["shape"], row["name"]) for row in found["rows"]] == [(s, v.name) for s in SHAPES for v in VARIANTS]
    for row in found["rows"]:
        if row["skipped"] is None:
            assert row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
            assert row["rows_per_s"] == pytest.approx(row["rows"] / row["seconds_median"])
            assert row["rows"] == (4 if next(v for v in VARIANTS if v.name == row["name"]).slow else 20)
            assert row["rounds"] == 2
            assert f"| {row['name']} " in printed
    assert (found["server"]["fsync"], found["server"]["synchronous_commit"]) == ("on", "on")
    assert found["texts"]["applications"]["bytes_mean"] == pytest.approx(LONG_TEXT_BYTES, abs=3)
    assert found["command"].startswith("python -m steam_assets_tests.benchmarks.write --rows 20")
    assert printed.count("rows/s, the guard on >= 10x") == 2
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert plot.stat().st_size < MOST_PLOT_BYTES


def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that installs what is missing."""
    monkeypatch.setattr(plots, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit, match=r"pip install 'steam-assets\[benchmarks\]'"):
        write.main(["--plot", str(tmp_path / "write.png")])
    assert list(tmp_path.iterdir()) == []


def test_the_benchmarks_of_the_store_do_without_torch() -> None:
    """With its objects each full garbage collection takes 0.2 s, which would be counted as the store's."""
    ended = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert ended.stdout == "[]\n"

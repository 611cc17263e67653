"""A scrape tells what is in the database, soon, and also when that is away; the dashboard asks for nothing else."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.metrics import metrics_server
from steam_assets.store.database import connect as connect_to
from steam_assets.store.database import find_database
from steam_assets.store.runs import start_range
from steam_assets_tests.dagster_home import Ended
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import Connect, add_rows, embed, fetch, target_of
from steam_assets_tests.servers import free_port
from steam_assets_tests.test_monitor import Nvml
from steam_assets_tests.test_telemetry import attempt

DASHBOARD = Path(__file__).parent.parent / "infra" / "grafana" / "steam_assets.json"
STEAM_ASSETS = Path(sys.executable).parent / "steam-assets"


def families(url: str) -> Mapping[str, Metric]:
    """A scrape, parsed as Prometheus does."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        assert answer.status == 200
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def values(found: Mapping[str, Metric]) -> dict[str, float]:
    """Every sample by its name and the values of its labels but the column's: {"rows stale": 3.0, ...}."""
    return {
        " ".join(
            [
                sample.name.removeprefix("steam_assets_"),
                *(value for name, value in sorted(sample.labels.items()) if name != "column"),
            ]
        ): sample.value
        for family in found.values()
        for sample in family.samples
    }


def scrape(connect: Connect, *columns: TextColumn) -> dict[str, float]:
    """One scrape of a server of its own."""
    with metrics_server(connect, columns, port=0) as url:
        return values(families(url))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine this is."""
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> Iterator[Nvml]:
    """NVIDIA's library for three GPUs; nobody keeps it open."""
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield stand_in
    assert stand_in.users == 0


def test_a_scrape_tells_what_is_in_the_database(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Rows by state, what attempts came to, and the model; the same again, and more when more was done."""
    add_rows(conn, numbered, {1: "one", 2: "two", 3: " "})
    embed(conn, numbered)
    add_rows(conn, numbered, {4: "new"})
    attempt(conn, numbered, "~:5", 100, {"read": 1.0, "forward": 1.5})
    found = scrape(connect, numbered)

    assert {name: value for name, value in found.items() if name.startswith("rows ")} == {
        "rows blank": 1,
        "rows failed": 0,
        "rows embedded": 2,
        "rows stale": 0,
        "rows missing": 1,
    }
    assert (found["up"], found["pending_rows"]) == (1, 1)
    assert found["coverage_ratio"] == pytest.approx(2 / 3)
    assert 0 <= found["row_counts_age_seconds"] < 30
    assert (found["attempts_total done"], found["attempts_running"], found["quarantined_rows"]) == (1, 0, 0)
    assert (found["rows_written_total"], found["rows_failed_total"], found["tokens_total"]) == (100, 1, 1000)
    assert (found["memory_errors_total"], found["attempt_seconds_total"]) == (3, 2.0)
    assert (found["stage_seconds_total read"], found["stage_seconds_total forward"]) == (1.0, 1.5)
    assert found["attempt_energy_joules_total"] == 1800
    assert time.time() - found["last_attempt_timestamp_seconds done"] < 60
    run_id = target_of(conn, numbered)
    assert found[f"column_info 8 made-up {run_id} {run_id}"] == 1

    attempt(conn, numbered, "5:9", 11, {"read": 0.5})
    with conn:
        start_range(conn, numbered, run_id, "9:~", "dagster-run", "cpu", "fp32")
    again = scrape(connect, numbered)
    assert (again["rows_written_total"], again["stage_seconds_total read"]) == (111, 1.5)
    assert (again["attempts_total done"], again["attempts_running"]) == (2, 1)
    assert "attempts_total running" not in again


def test_names_follow_prometheus_s_conventions(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """One prefix, base units, counters named _total, and a help text for each that says what it is."""
    attempt(conn, numbered, "~:5", 100, {"read": 1.0})
    with metrics_server(connect, [numbered], port=0) as url:
        found = families(url)
    for name, family in found.items():
        assert re.fullmatch(r"steam_assets(_[a-z]+)+", name), name
        assert not re.search(r"_(ms|minutes|hours|percent|mb|gib|wh)(_|$)", name), name
        assert family.documentation.endswith("."), name
        if family.type == "counter":
            assert all(sample.name == f"{name}_total" for sample in family.samples)
    assert found["steam_assets_tokens"].type == "counter"


def test_a_database_that_is_away_is_told_and_is_no_error(database_url: str, conn: connection) -> None:
    """The scrape succeeds: Prometheus sees up at 0, and an alert can tell it from an endpoint that is gone."""
    away = database_url.replace("/test_", "/no_such_test_")
    assert scrape(lambda: connect_to(find_database(away))) == {"up": 0}


def test_a_database_without_a_schema_has_no_columns_yet(empty_database_url: str, numbered: TextColumn) -> None:
    """Before `init` there is nothing to tell but that it answers."""
    assert scrape(lambda: psycopg2.connect(empty_database_url), numbered) == {"up": 1}


def waiting(conn: connection) -> int:
    """Statements that wait for a lock."""
    ((found,),) = fetch(
        conn,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    assert isinstance(found, int)
    return found


def test_a_scrape_does_not_wait_for_a_long_count_and_never_starts_a_second(
    conn: connection,
    other_conn: connection,
    connect: Connect,
    numbered: TextColumn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody locks the table: scrapes answer without its rows; when it is free, the one count under way ends."""
    monkeypatch.setattr("steam_assets.metrics.WAIT_FOR_COUNTS_S", 0.2)
    add_rows(conn, numbered, {1: "one"})
    with metrics_server(connect, [numbered], port=0) as url:
        with conn, conn.cursor() as cursor:
            cursor.execute("LOCK TABLE numbered IN ACCESS EXCLUSIVE MODE")
            for _ in range(3):
                found = values(families(url))
                assert (found["up"], "rows missing" in found, found["attempts_running"]) == (1, False, 0)
                assert waiting(other_conn) == 1
        wait_until(lambda: "rows missing" in values(families(url)), "the count has ended", 30)


def test_the_dashboard_asks_for_nothing_that_is_not_exported(
    conn: connection, connect: Connect, numbered: TextColumn, nvml: Nvml
) -> None:
    """Every metric in its expressions is in a scrape, by its very name."""
    add_rows(conn, numbered, {1: "one"})
    attempt(conn, numbered, "~:5", 100, {"read": 1.0})
    with metrics_server(connect, [numbered], port=0) as url:
        exported = {sample.name for family in families(url).values() for sample in family.samples}
    text = DASHBOARD.read_text()
    asked = set(re.findall(r"steam_assets_[a-z_]+", " ".join(expressions(json.loads(text)))))
    assert len(asked) >= 12
    assert asked <= exported


def expressions(found: object) -> Iterator[str]:
    """The PromQL of a dashboard's panels and variables."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name in ("expr", "query", "definition") and isinstance(value, str):
                yield value
            yield from expressions(value)
    elif isinstance(found, list):
        for value in found:
            yield from expressions(value)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Its data source is asked for at import, no panel names another, and none lies over its neighbour."""
    dashboard = json.loads(DASHBOARD.read_text())
    (wanted,) = dashboard["__inputs"]
    assert (wanted["type"], wanted["pluginId"]) == ("datasource", "prometheus")
    panels = dashboard["panels"]
    charts = [panel for panel in panels if panel["type"] != "row"]
    for panel in charts:
        assert panel["datasource"]["uid"] == "${" + wanted["name"] + "}", panel["title"]
        assert all(target["expr"] and target["refId"] for target in panel["targets"]), panel["title"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)


def test_a_busy_port_is_named_with_another(steam_assets: Callable[..., Ended]) -> None:
    """Exit 2, and the option that chooses another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = steam_assets("metrics", "--port", str(port))
    assert ended.code == 2
    assert f"Port {port} on 127.0.0.1 cannot be used: another program listens there, perhaps another" in ended.err
    assert f"--port {port + 1}" in ended.err


def test_the_verb_answers_until_ctrl_c(named_database: str) -> None:
    """A process of its own, which needs no model and no Dagster."""
    port = free_port()
    command = [str(STEAM_ASSETS), "metrics", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said == f"Metrics are at http://127.0.0.1:{port}/metrics - Ctrl-C stops it.\n"
            assert values(families(f"http://127.0.0.1:{port}/metrics"))["up"] == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()


def test_nothing_of_the_endpoint_outlives_it(conn: connection, connect: Connect, numbered: TextColumn) -> None:
    """Its port is free again, and no thread of it is left."""
    with metrics_server(connect, [numbered], port=0) as url:
        families(url)
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)  # noqa: S310
    with metrics_server(connect, [numbered], port=port):
        pass
    wait_until(
        lambda: (
            not any("serve_forever" in thread.name or "row-counts" in thread.name for thread in threading.enumerate())
        ),
        "its threads have ended",
    )


@pytest.mark.slow
def test_up_answers_prometheus_as_well(dagster_url: str, tables: connection) -> None:
    """With --metrics-port, beside the web UI; both end on Ctrl-C."""
    port, metrics_port = free_port(), free_port()
    command = [str(STEAM_ASSETS), "up", "--port", str(port), "--metrics-port", str(metrics_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = [process.stdout.readline(), process.stdout.readline()]
            assert said[0].startswith(f"The web UI is at http://127.0.0.1:{port} ")
            assert said[1] == f"Metrics are at http://127.0.0.1:{metrics_port}/metrics.\n"
            assert values(families(f"http://127.0.0.1:{metrics_port}/metrics"))["up"] == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()


@pytest.mark.slow
def test_up_names_a_busy_metrics_port(steam_assets: Callable[..., Ended], tables: connection) -> None:
    """Exit 2, and nothing of it goes on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ended = steam_assets("up", "--port", str(free_port()), "--metrics-port", str(taken))
    assert ended.code == 2
    assert f"--metrics-port {taken + 1}" in ended.err

"""Log lines are few, and a program can read them where that is asked for; log files do not grow for ever."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.partitions import registered_ranges
from steam_assets.errors import SteamAssetsError
from steam_assets.logs import JsonLines, Pace, PrintedLines, about, log_file, old_logs, print_json_lines, rotate
from steam_assets_tests.dagster_home import Ended, materialize
from steam_assets_tests.rows import fetch

DATABASE_LINE = "Database: database steam on a host\n"


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    """What a logger of its own was told."""
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        """Keeps what it is told."""

        def emit(self, record: logging.LogRecord) -> None:
            """Keep it."""
            records.append(record)

    logger = logging.getLogger("steam_assets.of_this_test")
    logger.setLevel(logging.INFO)
    handler = Keeping()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_printed_afterwards() -> Iterator[None]:
    """A process prints JSON lines once it has begun to; the next test's should not."""
    yield
    logger = logging.getLogger("steam_assets")
    for handler in [handler for handler in logger.handlers if isinstance(handler, PrintedLines)]:
        logger.removeHandler(handler)


def test_a_json_line_says_when_who_what_and_about_which_range(said: list[logging.LogRecord]) -> None:
    """One object on one line, whatever the message holds; what is not known is left out."""
    logger = logging.getLogger("steam_assets.of_this_test")
    about(logger, run="abc", column="reviews.review_embedding", range="~:7").info('two\nlines and "quotes" 素晴らしい')
    logger.warning("plain %d", 7)
    try:
        raise ZeroDivisionError("mine")
    except ZeroDivisionError:
        logger.exception("failed")
    lines = [JsonLines().format(record) for record in said]
    assert not any("\n" in line for line in lines)
    first, second, third = map(json.loads, lines)
    assert datetime.fromisoformat(first.pop("time")).astimezone(UTC).timestamp() == pytest.approx(
        said[0].created, abs=1
    )
    assert first == {
        "level": "INFO",
        "logger": "steam_assets.of_this_test",
        "message": 'two\nlines and "quotes" 素晴らしい',
        "run": "abc",
        "column": "reviews.review_embedding",
        "range": "~:7",
    }
    assert set(second) == {"time", "level", "logger", "message"}
    assert (second["level"], second["message"]) == ("WARNING", "plain 7")
    assert third["error"].endswith("ZeroDivisionError: mine")


@pytest.mark.parametrize("format_", ["json", "JSON", "text", ""])
def test_a_command_s_log_file_is_text_unless_json_is_asked_for(
    format_: str, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Each line alone is an object, or begins with time and level; a second command adds nothing to it."""
    monkeypatch.setenv("STEAM_ASSETS_LOG_FORMAT", format_)
    with log_file("embed") as log:
        logging.getLogger("steam_assets.pipeline").info("素晴らしい")
    logging.getLogger("steam_assets.pipeline").info("too late")
    (line,) = log.read_text(encoding="utf-8").splitlines()
    assert log.parent == home / "logs"
    if format_.lower() == "json":
        assert json.loads(line)["message"] == "素晴らしい"
    else:
        assert line.endswith("] [INFO] - 素晴らしい")


def test_a_format_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The message names the variable, what it is and what it may be; no file is left behind."""
    monkeypatch.setenv("STEAM_ASSETS_LOG_FORMAT", "xml")
    with (
        pytest.raises(SteamAssetsError, match="STEAM_ASSETS_LOG_FORMAT is 'xml'; expected text or json"),
        log_file("x"),
    ):
        raise AssertionError("not reached")
    assert not (home / "logs").exists() or not any((home / "logs").iterdir())


def test_lines_that_come_by_themselves_are_few_but_every_event_is_told() -> None:
    """One pace for all ranges of a run, whoever speaks."""
    lines: list[str] = []
    pace = Pace(every_s=3600)
    first, second = pace.of(lines.append), pace.of(lines.append)
    for say in (first, second, first):
        say("STATS - CPU: 1.0%")
        say("EVENT - out of memory")
    assert lines == ["STATS - CPU: 1.0%", *["EVENT - out of memory"] * 3]
    quick: list[str] = []
    say = Pace(every_s=0).of(quick.append)
    for _ in range(3):
        say("STATS")
    assert len(quick) == 3


def test_a_log_that_is_being_written_is_rotated_and_keeps_saying_which_database(tmp_path: Path) -> None:
    """A server has it open: what it writes next is in the new file, and nothing of the old one is lost."""
    log = tmp_path / "up.log"
    log.write_text(DATABASE_LINE)
    with log.open("ab", buffering=0) as server:
        for number in range(5):
            server.write(b"x" * 90 + f" {number}\n".encode())
            rotate(log, largest_bytes=100)
            server.write(f"after {number}\n".encode())
    assert log.read_text().splitlines() == [DATABASE_LINE.strip(), "after 4"]
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["up.log", "up.log.1", "up.log.2", "up.log.3"]
    for number, name in ((4, "up.log.1"), (3, "up.log.2"), (2, "up.log.3")):
        content = (tmp_path / name).read_text()
        assert content.startswith(DATABASE_LINE)
        assert f"x {number}\n" in content


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    """It is looked at every few seconds, and rotated when it is large."""
    log = tmp_path / "up.log"
    log.write_text("a line\n")
    rotate(log, largest_bytes=100)
    assert [path.name for path in tmp_path.iterdir()] == ["up.log"]


def test_old_logs_are_those_of_this_home_that_nobody_writes_any_more(home: Path) -> None:
    """Without a directory of logs there are none. A server that nobody has asked for long has its log open."""
    assert old_logs(1) == []
    logs = home / "logs"
    logs.mkdir()
    old = ("embed-1.log", "error-1.log", "serve-8000.log.1", "up.log.2")
    kept = ("up.log", "serve-8000.log", "somebody's.txt")
    for name in (*old, *kept, "embed-2.log"):
        (logs / name).touch()
    for name in (*old, *kept):
        os.utime(logs / name, (0, 0))
    assert [path.name for path in old_logs(1)] == list(old)


def test_embed_writes_json_lines_that_name_run_column_and_range(
    steam_assets: Callable[..., Ended], tables: connection, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first says which database; those of ranges say which range."""
    monkeypatch.setenv("STEAM_ASSETS_LOG_FORMAT", "json")
    ended = steam_assets("embed", "applications")
    assert ended.code == 0
    (log,) = (home / "logs").glob("embed-*.log")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert lines[0]["message"].startswith("Database: ")
    about_ranges = [line for line in lines if "range" in line]
    assert about_ranges
    known = {
        (str(run), str(key)) for run, key in fetch(tables, "SELECT dagster_run_id, range_key FROM embedding_run_ranges")
    }
    assert {(line["run"], line["range"]) for line in about_ranges} <= known
    assert {line["column"] for line in about_ranges} == {str(APPLICATIONS)}
    printed = [line for line in ended.err.splitlines() if line.startswith("{")]
    assert [json.loads(line)["message"] for line in printed] == [line["message"] for line in lines]


IN_A_PROCESS = """
import sys
import dagster as dg
from steam_assets.definitions import build_definitions

job = build_definitions().resolve_job_def(sys.argv[1])
with dg.DagsterInstance.get() as instance:
    assert job.execute_in_process(instance=instance, partition_key=sys.argv[2]).success
"""


def test_a_process_prints_nothing_more_where_text_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Dagster prints our lines in its own way; with JSON they come once, however often definitions are built."""
    for format_, lines in (("text", 0), ("json", 1)):
        monkeypatch.setenv("STEAM_ASSETS_LOG_FORMAT", format_)
        print_json_lines()
        print_json_lines()
        logging.getLogger("steam_assets.pipeline").warning("a line")
        assert capfd.readouterr().err.count("a line") == lines


@pytest.mark.slow
def test_a_run_s_process_prints_our_lines_as_json_where_that_is_asked_for(
    instance: dg.DagsterInstance, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, an object with its run, column and range; Dagster's own lines stay as they are."""
    monkeypatch.setenv("STEAM_ASSETS_LOG_FORMAT", "json")
    key = registered_ranges(instance, APPLICATIONS)[0].key
    command = [sys.executable, "-W", "ignore", "-c", IN_A_PROCESS, column_job_name(APPLICATIONS), key]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    (run,) = instance.get_runs()
    (stats,) = [line for line in lines if line["message"].startswith("STATS - ")]
    assert (stats["run"], stats["column"], stats["range"], stats["level"]) == (
        run.run_id,
        str(APPLICATIONS),
        key,
        "INFO",
    )


def test_a_run_of_eight_ranges_writes_few_lines_and_few_events(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tables: connection
) -> None:
    """The monitor has something to say at the start of each range; the run's log has one line for all of them."""
    run_id = materialize(instance, definitions, APPLICATIONS, ranges=8).run_id
    entries = instance.all_logs(run_id)
    lines = [entry.user_message for entry in entries if not entry.is_dagster_event]
    assert sum(line.startswith("STATS") or " rows/s | " in line for line in lines) <= 2
    assert len(lines) <= 4
    of_a_range = 2 + 6  # planned and materialized, and an answer of each check
    assert len(entries) <= 40 + 8 * of_a_range

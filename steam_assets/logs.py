"""Log files of this home, and how lines look: as text or JSON, not too many of them. What they say comes from others.

``STEAM_ASSETS_LOG_FORMAT=json`` makes each line one JSON object: time, level, logger, message, and where they are known
the run, column and range it is about.
"""

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from steam_assets.errors import SteamAssetsError
from steam_assets.settings import home, make_home, setting

TEXT_FORMAT = "[%(asctime)s] [%(levelname)s] - %(message)s"
SUBJECTS = ("run", "column", "range")
LINE_EVERY_S = 10.0
"""Dagster keeps every line in its database, at 0.3 kB and 10 to 20 ms each (research/dagster.md 3)."""
LARGEST_BYTES = 10_000_000
ROTATED_KEPT = 3
OLD_LOGS = ("embed-*.log", "error-*.log", "serve-*.log.*", "up.log.*")

logger = logging.getLogger("steam_assets")


class JsonLines(logging.Formatter):
    """A record as one line of JSON; times are UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        found = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in SUBJECTS if hasattr(record, name)},
        }
        if record.exc_info:
            found["error"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False, default=str)


def logs_are_json() -> bool:
    """Whether logs are asked for as JSON; raises SteamAssetsError for a format that there is not."""
    wanted = (setting("STEAM_ASSETS_LOG_FORMAT") or "text").lower()
    if wanted not in ("text", "json"):
        raise SteamAssetsError(f"STEAM_ASSETS_LOG_FORMAT is {wanted!r}; expected text or json.")
    return wanted == "json"


def formatter() -> logging.Formatter:
    """How a line of our logs looks."""
    return JsonLines() if logs_are_json() else logging.Formatter(TEXT_FORMAT)


@contextmanager
def log_file(verb: str) -> Iterator[Path]:
    """A log file of its own for a command: what the package's loggers say until the block ends."""
    path = make_home("logs") / f"{verb}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    lines = formatter()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(lines)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        handler.close()


class PrintedLines(logging.Handler):
    """Lines on whatever is the process's error output by then; Dagster keeps that of a step with its run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        sys.stderr.write(f"{self.format(record)}\n")
        sys.stderr.flush()


def print_json_lines() -> None:
    """Have this process print what the package's loggers say, where JSON is asked for and nobody looks at a terminal.

    Runs are started by Dagster, whose own lines stay text: a setting for its console is read from a run's config only.
    """
    if logs_are_json() and not sys.stderr.isatty() and not any(isinstance(h, PrintedLines) for h in logger.handlers):
        handler = PrintedLines()
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)


def about(of: logging.Logger, **subjects: str) -> "logging.LoggerAdapter[logging.Logger]":
    """A logger whose lines tell which run, column and range they are about."""
    return logging.LoggerAdapter(of, subjects)


class Pace:
    """Lines that come by themselves, of a run's monitor and of its progress: one every so often, and every EVENT."""

    def __init__(self, every_s: float = LINE_EVERY_S) -> None:
        self._every_s = every_s
        self._due = 0.0
        self._lock = threading.Lock()

    def of(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """``say``, when it is time again; all that are made here share one pace."""

        def say_in_turn(line: str) -> None:
            if line.startswith("EVENT") or self._is_time():
                say(line)

        return say_in_turn

    def _is_time(self) -> bool:
        with self._lock:
            if (now := time.monotonic()) < self._due:
                return False
            self._due = now + self._every_s
            return True


def rotate(log: Path, largest_bytes: int = LARGEST_BYTES) -> None:
    """Move a log that has become large to ``log.1``, and so on; whoever has it open to append goes on in the empty one.

    Its first line, which says the database, stays. A line written at this very moment may be lost.
    """
    if log.stat().st_size <= largest_bytes:
        return
    for number in range(ROTATED_KEPT - 1, 0, -1):
        older = _rotated(log, number)
        if older.exists():
            older.replace(_rotated(log, number + 1))
    shutil.copyfile(log, _rotated(log, 1))
    with log.open("rb") as lines:
        first = lines.readline(1_000)
    os.truncate(log, 0)
    with log.open("ab") as emptied:
        emptied.write(first)


def _rotated(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def old_logs(older_than_days: float) -> list[Path]:
    """Log files of this home to which nothing was written for so many days.

    Not those that a server may have open, which are rotated: `up.log`, and `serve-PORT.log`, in which the next one on
    that port goes on.
    """
    before = time.time() - older_than_days * 86_400
    directory = home() / "logs"
    return sorted(path for pattern in OLD_LOGS for path in directory.glob(pattern) if path.stat().st_mtime < before)

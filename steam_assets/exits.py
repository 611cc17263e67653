"""How a command ends: one message, and the exit code of errors.py, for errors, Ctrl-C and SIGTERM."""

import contextlib
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import click

from steam_assets.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_UNEXPECTED,
    EXIT_USAGE,
    SteamAssetsError,
)
from steam_assets.settings import make_home, read_dotenv

DISK_FULL = "53100"


def run_and_exit(command: Callable[[], object]) -> NoReturn:
    """Run a command and end the process with its exit code."""
    with _noting_signals() as signals:
        sys.exit(_exit_code(command, signals))


def _exit_code(command: Callable[[], object], signals: socket.socket) -> int:
    """Run a command, tell what went wrong, and return the exit code."""
    try:
        read_dotenv()
        command()
    except SteamAssetsError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  (the last place an error can be told)
        interrupted = not isinstance(error, Exception) or isinstance(error, click.Abort)
        if interrupted:
            terminated = signal.SIGTERM in _received(signals)
            click.echo("Terminated." if terminated else "Interrupted.", err=True)
            return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
        if (known := _database_error(error)) is not None:
            click.echo(f"Error: {known}", err=True)
            return EXIT_USAGE
        said = " ".join(str(error).split())
        click.echo(f"Unexpected error: {type(error).__name__}: {said}. {_write_traceback()}", err=True)
        return EXIT_UNEXPECTED
    return EXIT_DONE


def _database_error(error: BaseException) -> str | None:
    """What a person can mend of an error of the database; None for any other."""
    if "psycopg2" not in sys.modules:  # --help does not load it
        return None
    from steam_assets.store.server_errors import explain

    driver_error = _dagster_s(error)
    if driver_error is None:
        return explain(error)
    known = explain(driver_error)
    purge = " `steam-assets purge` removes old events." if getattr(driver_error, "pgcode", None) == DISK_FULL else ""
    return None if known is None else f"Dagster's database: {known}{purge}"


def _dagster_s(error: BaseException | None) -> BaseException | None:
    """What the driver said to SQLAlchemy, through which only Dagster reaches its database."""
    while error is not None and getattr(error, "orig", None) is None:
        error = error.__cause__
    return getattr(error, "orig", None)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


_noted: socket.socket | None = None
"""Where the running command's signals are noted."""


@contextlib.contextmanager
def _noting_signals() -> Iterator[socket.socket]:
    """Take SIGTERM for Ctrl-C, and have Python note each signal's number in the socket that this yields.

    Noted whoever handles it: Dagster replaces the handlers while it runs steps.
    """
    global _noted
    receiver, sender = socket.socketpair()
    with receiver, sender:
        for end in (receiver, sender):
            end.setblocking(False)
        handler = signal.signal(signal.SIGTERM, _interrupt)
        noted_by = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        _noted = receiver
        try:
            yield receiver
        finally:
            _noted = None
            signal.set_wakeup_fd(noted_by)
            signal.signal(signal.SIGTERM, handler)


def _received(signals: socket.socket) -> bytes:
    """The numbers of all signals so far; they stay there for whoever asks next."""
    try:
        return signals.recv(1024, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt where one was asked for and nobody has: Dagster drops it at the very end of a run."""
    if _noted is not None and {signal.SIGINT, signal.SIGTERM} & set(_received(_noted)):
        raise KeyboardInterrupt


def _write_traceback() -> str:
    with contextlib.suppress(SteamAssetsError, OSError):
        path = make_home("logs") / f"error-{time.strftime('%Y%m%d-%H%M%S')}.log"
        path.write_text(traceback.format_exc())
        return f"The traceback is in {path}."
    traceback.print_exc()
    return "Its traceback is above."

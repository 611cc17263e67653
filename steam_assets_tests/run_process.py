"""A process of its own for a run, forked from here, that stops at a chosen place until it is told how to go on."""

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dagster as dg

from steam_assets.progress import watching

STOPS_OR_ENDS_WITHIN_S = 60.0
SHOWN = 4_000
"""Characters of what a process said last, for the message of a test that fails."""

Kind = Literal["commit", "event"]


@dataclass(frozen=True)
class Place:
    """Before a run's ``number``-th event of Dagster's is stored, or after its ``number``-th chunk of rows; from 0."""

    kind: Kind
    number: int


class Stop:
    """Where the process that this is stops, once; in the process that forks it stops nowhere."""

    def __init__(self) -> None:
        self._left: tuple[Kind, int] | None = None
        self._tell = self._hear = -1

    def at(self, place: Place | None, tell: int, hear: int) -> None:
        """Stop at this place: say so on one pipe, and wait for a byte from the other."""
        self._left = None if place is None else (place.kind, place.number)
        self._tell, self._hear = tell, hear

    def pass_by(self, kind: Kind) -> None:
        """One such place is reached."""
        if self._left is None or self._left[0] != kind:
            return
        _, left = self._left
        self._left = None if left == 0 else (kind, left - 1)
        if left == 0:
            os.write(self._tell, b"s")
            os.read(self._hear, 1)


stop = Stop()


class RunProcess:
    """A forked process: ``work``, which is ``run_ids``, with an instance of its own, until it is stopped or killed."""

    def __init__(
        self, work: Callable[[dg.DagsterInstance], None], place: Place | None, log: Path, run_ids: Sequence[str]
    ) -> None:
        self.log, self.run_ids = log, run_ids
        self.is_stopped = False
        self._status: int | None = None
        self._heard, told = os.pipe()
        heard, self._told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _be_a_process(work, place, told, heard, log)
        os.close(told)
        os.close(heard)
        self._wait()

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self._status is not None

    @property
    def was_killed(self) -> bool:
        """Whether it ended by a signal that it could not hear."""
        return self._status is not None and os.WIFSIGNALED(self._status)

    def go_on(self) -> None:
        """Let it go on to its end."""
        if self.is_stopped:
            with suppress(BrokenPipeError):  # it may have heard a signal first
                os.write(self._told, b"g")
            self._wait()

    def interrupt(self) -> None:
        """Do what Terminate does at its end: a signal; and let it go on."""
        os.kill(self.pid, signal.SIGINT)
        self.go_on()

    def kill(self) -> None:
        """Kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def end(self) -> None:
        """Leave nothing behind."""
        if not self.has_ended:
            self.kill()

    def check(self) -> None:
        """Fail the test when the process itself broke down."""
        if self._status is not None and not self.was_killed and os.waitstatus_to_exitcode(self._status):
            raise AssertionError(f"a run's process broke down:\n{self.said()}")

    def said(self) -> str:
        """The last that it wrote to its terminal."""
        return self.log.read_text(errors="replace")[-SHOWN:]

    def _wait(self) -> None:
        """Wait until it stops at its place, or ends."""
        ready, _, _ = select.select([self._heard], [], [], STOPS_OR_ENDS_WITHIN_S)
        if not ready:
            said = self.said()
            self.kill()
            raise AssertionError(f"a run's process did not come to its end in {STOPS_OR_ENDS_WITHIN_S} s:\n{said}")
        self.is_stopped = bool(os.read(self._heard, 1))
        if not self.is_stopped:
            self._reap()

    def _reap(self) -> None:
        _, self._status = os.waitpid(self.pid, 0)
        self.is_stopped = False
        for pipe in (self._heard, self._told):
            with suppress(OSError):
                os.close(pipe)


def _be_a_process(
    work: Callable[[dg.DagsterInstance], None], place: Place | None, tell: int, hear: int, log: Path
) -> None:
    """All that the forked process does; it uses no connection of the other one's, and never returns."""
    code = 1
    try:
        written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(written, 1)
        os.dup2(written, 2)
        sys.stdout = sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with dg.DagsterInstance.get() as instance:
            stop.at(place, tell, hear)
            stop_at_events()
            with watching(lambda _: stop.pass_by("commit")):
                work(instance)
        code = 0
    except BaseException:  # noqa: BLE001  (whatever it is, this process must not go on as the one that forked it)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def stop_at_events() -> None:
    """Make each event of a run that this process stores a place to stop at."""
    store = dg.DagsterInstance.handle_new_event

    def stop_and_store(*arguments: object, **named: object) -> object:
        stop.pass_by("event")
        return store(*arguments, **named)  # type: ignore[arg-type]

    dg.DagsterInstance.handle_new_event = stop_and_store  # type: ignore[method-assign, assignment]

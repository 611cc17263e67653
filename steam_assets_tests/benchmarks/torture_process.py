"""The hold that torture has on a client: its process, what it tells, and how it ended."""

import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from steam_assets_tests.benchmarks.torture_client import STARTED, Order, run_client
from steam_assets_tests.benchmarks.torture_server import LIMIT_S, Hangs

# Forked from a process that has imported everything: an interpreter of its own took 0.9 s of a round's 2 (2026-11).
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [f"steam_assets_tests.benchmarks.{name}" for name in ("torture_client", "torture_dagster")]
)
STACKS_WITHIN_S = 2.0


class Client:
    """A process that works on an order; ``told`` are the rows of commits that it has told of."""

    def __init__(self, order: Order) -> None:
        self.name = order.name
        self.told = 0
        self.has_started = False
        self._log = order.home / f"{order.name}.log"
        self._receiver, sender = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=run_client, args=(order, sender), name=order.name, daemon=True)
        self._process.start()
        sender.close()
        self._has_ended = False

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process.pid is not None
        return self._process.pid

    def listen(self, condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Note what the client tells until ``condition`` holds or it tells no more; raises Hangs."""
        deadline = time.monotonic() + limit_s
        while not (condition() or self._has_ended):
            if time.monotonic() > deadline:
                raise Hangs(f"{self.name} has told nothing of its end for {limit_s:.0f} s: {self._stacks()}")
            if self._receiver.poll(0.05):
                self._hear()

    def finish(self, limit_s: float = LIMIT_S) -> int:
        """Wait for its end; return the exit code, or minus the signal that killed it."""
        try:
            self.listen(lambda: False, limit_s)
            self._process.join(limit_s)
        finally:
            self._process.kill()
            self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def said(self) -> str:
        """The last line of its log."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return lines[-1] if lines else "nothing"

    def _hear(self) -> None:
        try:
            word = self._receiver.recv_bytes()
        except (EOFError, OSError):  # killed, perhaps in the middle of a word
            self._has_ended = True
        else:
            if word == STARTED:
                self.has_started = True
            else:
                self.told += int(word)

    def _stacks(self) -> str:
        """Where its threads are."""
        os.kill(self.pid, signal.SIGUSR1)
        time.sleep(STACKS_WITHIN_S)
        return self._log.read_text(errors="replace")[-4000:]


def make_dagster_tables(dagster_url: str, home: Path) -> None:
    """Dagster's tables in an empty database, made by a process of its own: they need Dagster's environment."""
    maker = PROCESSES.Process(target=make_instance, args=(dagster_url, home))
    maker.start()
    maker.join()
    if maker.exitcode != 0:
        raise RuntimeError(f"Dagster's tables could not be made: exit {maker.exitcode}")


def make_instance(dagster_url: str, home: Path) -> None:
    """Open an instance once."""
    os.environ["STEAM_ASSETS_HOME"] = str(home)
    os.environ["STEAM_ASSETS_DAGSTER_URL"] = dagster_url
    from steam_assets.defs.instance import open_instance

    with open_instance():
        pass

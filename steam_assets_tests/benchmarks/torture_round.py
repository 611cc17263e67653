"""One round of torture: a client at work, a fault, a clean run after it, and what both have left in the tables."""

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.errors import EXIT_DONE, EXIT_INCOMPLETE
from steam_assets.store.locks import mark_lost
from steam_assets_tests.benchmarks.torture_client import fill
from steam_assets_tests.benchmarks.torture_editor import Editor
from steam_assets_tests.benchmarks.torture_faults import backends
from steam_assets_tests.benchmarks.torture_process import Client
from steam_assets_tests.benchmarks.torture_scene import Plan, Scene
from steam_assets_tests.benchmarks.torture_server import TorturedServer, scratch_database, wait_for
from steam_assets_tests.benchmarks.torture_tables import copy_texts

MOST_JITTER_S = 0.05
PATIENCE_S = {False: 60.0, True: 180.0}
EDIT_EVERY_S = {False: 0.01, True: 0.1}
"""With MiniLM a client takes longer, loading it first, and has fewer rows."""

NEWEST_RECORD = "SELECT coalesce(max(range_id), 0) FROM public.embedding_run_ranges"
ENCODED_SINCE = """
    SELECT coalesce(sum(rows_written + rows_changed + rows_gone + rows_failed), 0)
    FROM public.embedding_run_ranges
    WHERE range_id > %s
      AND table_name NOT LIKE 'undisturbed%%'
"""


@dataclass(frozen=True)
class Result:
    """What a round came to; ``findings`` is empty where all is as it should be.

    The fault came when the client had told of ``instant`` rows, and a moment later. Of the ``pending`` rows it told of
    ``told`` in the end, and so many more than before were in the tables then, ``committed``: edits take some away.
    ``encoded_again`` are those of the clean run.
    """

    seed: int
    fault: str
    encoder: str
    through_dagster: bool
    rows: int = 0
    edits: int = 0
    instant: int = 0
    client_ends: tuple[int, ...] = ()
    pending: int = 0
    told: int = 0
    committed: int = 0
    encoded_again: int = 0
    seconds: float = 0.0
    findings: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Nothing was found."""
        return not self.findings


def run_round(server: TorturedServer, plan: Plan) -> Result:
    """Play one round in a database of its own."""
    started = time.monotonic()
    with scratch_database(server, f"round_{plan.seed}") as _connect:
        played = Round(Scene(server, plan, f"round_{plan.seed}"))
        played.play()
        return played.result(time.monotonic() - started)


class Round:
    """A round under way."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.server, self.database, self.dice = scene.server, scene.database, scene.dice
        self.fault = scene.plan.fault
        self.findings: list[str] = []
        self.processes: list[Client] = []
        self.ends: tuple[int, ...] = ()
        self.edits = self.instant = self.committed = self.encoded_again = 0
        self.done_before = scene.finished()
        self.pending = scene.pending()

    @property
    def clients(self) -> Sequence[str]:
        """The names of the clients' sessions."""
        return [client.name for client in self.processes]

    @property
    def client_pid(self) -> int:
        """The first client's process."""
        return self.processes[0].pid

    def play(self) -> None:
        """A disturbed run, a clean one, and one on undisturbed tables with the same texts."""
        self._look("before the fault")
        self._disturbed_run()
        self._clean_run()
        self.server.ask(copy_texts, self.database)
        fill(self.scene.whole("undisturbed", twins=True))
        self.findings += self.server.ask(self.scene.judge.at_the_end, self.database)

    def _disturbed_run(self) -> None:
        fault, dice = self.fault, self.dice
        self.server.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}").format(
                sql.Identifier(self.database), sql.Literal(fault.isolation)
            )
        )
        orders = [self.scene.client_order(f"client {number}") for number in range(1, fault.clients + 1)]
        editor = None
        if fault.edits or (fault.edits is None and dice.random() < 0.5):
            pause_s = EDIT_EVERY_S[self.scene.plan.minilm]
            seed = dice.randrange(10**9)
            editor = Editor(self.scene.connect, self.scene.tables, seed, pause_s, fault.poison_share)
        with editor or nullcontext():
            self.processes = [Client(order) for order in orders]
            self._strike()
            self.server.start()
            self._look("after the fault")
            self.ends = tuple(client.finish(PATIENCE_S[self.scene.plan.minilm]) for client in self.processes)
        self.server.empty_disk()
        # A session of a killed client goes on with its statement, and may commit it.
        wait_for(lambda: not backends(self), "the sessions of the clients have ended")
        self._look("after the client's end")
        self.edits = editor.edits if editor else 0
        self.committed = self.scene.finished() - self.done_before
        self._judge_ends()

    def _strike(self) -> None:
        client = self.processes[0]
        self.instant = self.dice.randrange(max(1, self.pending))
        client.listen(lambda: client.told >= self.instant, PATIENCE_S[self.scene.plan.minilm])
        time.sleep(self.dice.uniform(0, MOST_JITTER_S))
        self.fault.strike(self)

    def _judge_ends(self) -> None:
        right = self.fault.ends | ({EXIT_INCOMPLETE} if self.scene.plan.dagster_url else frozenset())
        self.findings += [
            f"{client.name} ended with {end}, saying: {client.said()}"
            for client, end in zip(self.processes, self.ends, strict=True)
            if end not in right
        ]
        told = sum(client.told for client in self.processes)
        if not (self.edits or self.fault.crashes_server) and self.fault.clients == 1 and self.committed < told:
            self.findings.append(f"the client told of {told} rows, and {self.committed} are there: commits were lost")
        self.findings += self.server.ask(self.scene.pending_in_done_ranges, self.database)

    def _clean_run(self) -> None:
        """What the next command does: bury the dead, then do what is left."""
        with closing(self.scene.connect()) as conn:
            with conn:
                mark_lost(conn)
            (newest,) = fetch_one(conn, NEWEST_RECORD)
            order = self.scene.whole("clean run")
            if self.scene.plan.dagster_url is None:
                fill(order)
            else:
                client = Client(order)
                end = client.finish()
                right = {EXIT_DONE, EXIT_INCOMPLETE} if self.fault.poison_share else {EXIT_DONE}
                if end not in right:
                    self.findings.append(f"the clean run ended with {end}, saying: {client.said()}")
            (encoded,) = fetch_one(conn, ENCODED_SINCE, newest)
        self.encoded_again = int(str(encoded))
        if not self.edits and self.encoded_again > self.pending - self.committed:
            self.findings.append(
                f"the clean run encoded {self.encoded_again} rows, and {self.pending - self.committed} were left to do"
            )

    def _look(self, when: str) -> None:
        found = self.server.ask(self.scene.judge.at_any_time, self.database)
        self.findings += [f"{when}: {finding}" for finding in found]

    def result(self, seconds: float) -> Result:
        """What it came to."""
        plan = self.scene.plan
        return Result(
            seed=plan.seed,
            fault=self.fault.name,
            encoder="minilm" if plan.minilm else "deterministic",
            through_dagster=plan.dagster_url is not None,
            rows=2 * self.scene.rows,
            edits=self.edits,
            instant=self.instant,
            client_ends=self.ends,
            pending=self.pending,
            told=sum(client.told for client in self.processes),
            committed=self.committed,
            encoded_again=self.encoded_again,
            seconds=round(seconds, 2),
            findings=tuple(self.findings),
        )


def fetch_one(conn: connection, statement: str, *values: object) -> tuple[object, ...]:
    """The one row of a query."""
    with conn, conn.cursor() as cursor:
        cursor.execute(statement, values)
        found = cursor.fetchone()
    assert found is not None
    return found

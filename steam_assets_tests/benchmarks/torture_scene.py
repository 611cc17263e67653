"""A round's scene before anything happens to it: tables that are partly filled, orders for clients, and a judge."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from psycopg2 import sql
from psycopg2.extensions import connection, make_dsn

from steam_assets.columns import TextColumn
from steam_assets.encoder.models import DEMO_MODEL, Model, find_model
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.ranges import cut_ranges
from steam_assets.store.read import count_pending, read_pending
from steam_assets.store.runs import set_target
from steam_assets_tests.benchmarks.torture_checks import Judge
from steam_assets_tests.benchmarks.torture_client import HASHED, Order, fill, plain_encoder
from steam_assets_tests.benchmarks.torture_editor import Desk
from steam_assets_tests.benchmarks.torture_faults import Fault
from steam_assets_tests.benchmarks.torture_server import TorturedServer
from steam_assets_tests.benchmarks.torture_tables import COLUMNS, make_tables, new_text, undisturbed

ROWS = (250, 600)
FEW_ROWS = (150, 300)
MINILM_ROWS = (60, 100)
OLDER = "older: "

COUNT_DONE = sql.SQL("SELECT count(*) FROM {table} WHERE {run} = %s")
COUNT_RECORDS = "SELECT count(*) FROM public.embedding_failures WHERE run_id = ANY(%s)"

# The limited run that filled some rows beforehand was done with its limit.
DONE_RANGES = """
    SELECT DISTINCT range_key
    FROM public.embedding_run_ranges
    WHERE status = 'done'
      AND table_name = %s
      AND run_id = %s
      AND dagster_run_id <> 'prefill'
"""


@dataclass(frozen=True)
class Plan:
    """What a round is; everything else follows from the seed. ``dagster_url`` None fills without Dagster."""

    seed: int
    fault: Fault
    minilm: bool
    home: Path
    dagster_url: str | None = None

    @property
    def model(self) -> Model:
        """Whose vectors the tables get; Dagster has to find it by its name, the hash does not."""
        return find_model(DEMO_MODEL) if self.minilm or self.dagster_url else HASHED

    @property
    def hashed_older(self) -> Model:
        """Whose vectors some rows have before."""
        return replace(HASHED, dimension=self.model.dimension)


class Scene:
    """A round's tables in a database of their own."""

    def __init__(self, server: TorturedServer, plan: Plan, database: str) -> None:
        self.server = server
        self.plan = plan
        self.database = database
        self.dice = Random(f"{plan.seed} {plan.fault.name}")  # noqa: S311  (no secret)
        few = FEW_ROWS if plan.dagster_url else ROWS  # Dagster's own work takes most of such a round already
        self.rows = self.dice.randint(*(MINILM_ROWS if plan.minilm else few))
        with closing(self.connect()) as conn:
            self.tables = make_tables(conn, self.dice, self.rows, plan.model, small_disk=plan.fault.small_disk)
            self._prefill(conn)
        self.judge = self._judge()

    def connect(self) -> connection:
        """A connection to the round's database."""
        return self.server.connect(self.database)

    def client_order(self, name: str) -> Order:
        """All of both tables in ranges, with the fault's troubles, in steps and at a speed that the dice choose."""
        dice, plan = self.dice, self.plan
        ranges = []
        with closing(self.connect()) as conn:
            for column in dice.sample(COLUMNS, len(COLUMNS)):
                cut = cut_ranges(conn, column, dice.randint(1, 3))
                # Without the range ahead, and open: rows that are inserted meanwhile belong to somebody.
                keep = cut[: -1 if column.id_type == "bigint" else None]
                keys = [*(part.key for part in keep[:-1]), IdRange(keep[-1].start, None).key]
                ranges += [(column, key, self.tables.runs[column]) for key in keys]
        return replace(
            self.order(name, ranges),
            rows_per_s=dice.choice([None, 500.0, 1_000.0, 3_000.0]),
            trouble=plan.fault.trouble(dice),
            chunk_rows=dice.choice([20, 60, 200]),
            page_rows=dice.choice([16, 64, 256]),
            seed=dice.randrange(10**9),
        )

    def order(self, name: str, ranges: Sequence[tuple[TextColumn, str, int]]) -> Order:
        """An order that nothing stands in the way of."""
        plan = self.plan
        dsn = make_dsn(self.server.dsn(self.database), application_name=name)
        model = None if plan.minilm else plan.model
        return Order(name, dsn, ranges, model, dagster_url=plan.dagster_url, home=plan.home)

    def whole(self, name: str, *, twins: bool = False) -> Order:
        """An order for all of the tables, or for their undisturbed twins."""
        runs = self.tables.runs
        whole = [(undisturbed(column) if twins else column, EVERYTHING.key, runs[column]) for column in COLUMNS]
        return self.order(name, whole)

    def finished(self) -> int:
        """Rows with a vector of the present run, and rows on record as without one."""

        def count(conn: connection) -> int:
            with conn, conn.cursor() as cursor:
                cursor.execute(COUNT_RECORDS, (list(self.tables.runs.values()),))
                (found,) = cursor.fetchone() or (0,)
                for column in COLUMNS:
                    statement = COUNT_DONE.format(table=sql.Identifier(column.table), run=sql.Identifier(column.run))
                    cursor.execute(statement, (self.tables.runs[column],))
                    (done,) = cursor.fetchone() or (0,)
                    found += done
            return int(found)

        return self.server.ask(count, self.database)

    def pending(self) -> int:
        """Rows that a client has to encode now."""
        with closing(self.connect()) as conn, conn:
            return sum(count_pending(conn, column, run)[0] for column, run in self.tables.runs.items())

    def pending_in_done_ranges(self, conn: connection) -> list[str]:
        """Ranges on record as done that are not, though nobody has edited those rows meanwhile."""
        found = []
        for column, run in self.tables.runs.items():
            with conn, conn.cursor() as cursor:
                cursor.execute(DONE_RANGES, (column.qualified_table, run))
                keys = [key for (key,) in cursor.fetchall()]
            for key in keys:
                with conn:
                    pages = list(read_pending(conn, column, run, IdRange.from_key(key, column.id_type)))
                left = {id_ for page in pages for id_ in page.ids} - self.tables.histories[column].edited
                if left:
                    found.append(f"{column} {key} is on record as done, and {len(left)} rows of it are pending")
        return found

    def _prefill(self, conn: connection) -> None:
        """Give some rows vectors of an older run, some of those another text after it, and some the present run's."""
        tables, dice = self.tables, self.dice
        older, newer = dice.randrange(1, self.rows), dice.randrange(self.rows // 2)
        old = [(column, EVERYTHING.key, tables.old_runs[column]) for column in COLUMNS]
        order = replace(self.whole("prefill"), ranges=old, model=self.plan.hashed_older, prompt=OLDER, limit=older)
        fill(order)
        for column, history in tables.histories.items():
            desk = Desk(conn, column, history)
            for id_ in dice.sample(list(history.texts), self.rows // 10):
                desk.write(id_, new_text(dice))
            set_target(conn, column, tables.runs[column])
        conn.commit()
        if newer:
            fill(replace(self.whole("prefill"), limit=newer))
        for history in tables.histories.values():
            history.edited.clear()

    def _judge(self) -> Judge:
        tables, plan = self.tables, self.plan
        older, newer = plain_encoder(plan.hashed_older, OLDER), plain_encoder(self.order("", ()).model)
        return Judge(
            tables,
            plan.model.dimension,
            {column: {tables.old_runs[column]: older, tables.runs[column]: newer} for column in COLUMNS},
            exact_runs=frozenset(tables.old_runs.values()) | (frozenset() if plan.minilm else {*tables.runs.values()}),
        )

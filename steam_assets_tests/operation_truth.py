"""What somebody else wrote to a table in operation, and whether the rows, vectors, states and ranges are true to it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import md5
from itertools import pairwise
from typing import cast

import numpy as np
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.models import find_model
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.runs import set_target
from steam_assets.store.states import in_range, names, range_state
from steam_assets.targets import run_of_model
from steam_assets_tests.hash_recipes import POISON, RecipeGpu
from steam_assets_tests.rows import DIMENSION, add_rows, execute, fetch, set_text

Id = int | str

ROWS = sql.SQL("""
    SELECT t.{id}, t.{text}, t.{vector}::text, t.{run}, t.{digest}::text, t.xmin::text,
           EXISTS (
               SELECT
               FROM embedding_failures AS failure
               WHERE failure.id = t.{id}::text COLLATE "C"
                 AND failure.run_id = %(target)s
                 AND failure.source_md5 = md5(t.{text})::uuid
           )
    FROM {table} AS t
""")


class Truth:
    """The texts by id, and what was seen of each row the last time."""

    def __init__(self, conn: connection, column: TextColumn) -> None:
        self.conn, self.column = conn, column
        self.texts: dict[Id, str | None] = {}
        self.states: dict[Id, str] = {}
        self._written: dict[str, str] = {}
        self._settled: dict[Id, str] = {}
        self._digests: dict[Id, str | None] = {}
        self._expected: dict[tuple[str, str], bytes] = {}
        self._names: dict[int, str] = {}
        self._target = 0

    def forget(self) -> None:
        """An empty table that nobody has ever filled."""
        execute(
            self.conn,
            sql.SQL("TRUNCATE {table}, embedding_run_ranges, embedding_failures").format(**names(self.column)),
        )

    # What somebody does.

    def add(self, texts: Mapping[Id, str | None]) -> None:
        """Insert rows that are not there yet."""
        new = {id_: text for id_, text in texts.items() if id_ not in self.texts}
        if new:
            add_rows(self.conn, self.column, new)  # type: ignore[arg-type]
        for id_, text in new.items():
            self._has_text(id_, text)

    def change(self, id_: Id, text: str | None) -> None:
        """Give a row another text, or the same."""
        set_text(self.conn, self.column, id_, text)
        self._has_text(id_, text)

    def _has_text(self, id_: Id, text: str | None) -> None:
        self.texts[id_] = text
        self._settled.pop(id_, None)
        if text is not None:
            self._written[md5_of(text)] = text

    def delete(self, ids: Iterable[Id]) -> None:
        """Delete rows."""
        for id_ in list(ids):
            statement = sql.SQL("DELETE FROM {table} WHERE {id} = %(id)s").format(**names(self.column))
            execute(self.conn, statement, id=id_)
            del self.texts[id_]
            self._settled.pop(id_, None)
            self._digests.pop(id_, None)

    def fill_with(self, model: str) -> None:
        """Choose the model that fills the column from now on."""
        with self.conn:
            run_id = run_of_model(self.conn, self.column, find_model(model))
            set_target(self.conn, self.column, run_id)
        self._names[run_id] = model
        if run_id != self._target:
            self._settled.clear()
        self._target = run_id

    # What must be true.

    def check_rows(self) -> None:
        """Nothing but what somebody wrote, each vector that of its text and run, and none renewed without a reason."""
        with self.conn, self.conn.cursor() as cursor:
            # One moment: a process that is stopped has ended its transactions, one that is being killed perhaps not.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(ROWS.format(**names(self.column)), {"target": self._target})
            found = cursor.fetchall()
            counted = range_state(self.conn, self.column, self._target, DIMENSION, EVERYTHING)
        assert {id_: text for id_, text, *_ in found} == self.texts, "rows are as somebody left them"
        self.states = {}
        for id_, text, vector, run_id, digest, version, has_failed in found:
            if vector is not None:
                made_from = self._written[str(digest).replace("-", "")]
                bits = np.array(str(vector).strip("[]").split(","), dtype=np.float32).tobytes()
                assert bits == self._vector(self._names[run_id], made_from), f"the vector of {id_!r} is of its text"
                is_new = self._digests.get(id_) != digest
                assert not is_new or made_from == text, f"{id_!r} got the vector of a text that it has no more"
            else:
                assert (run_id, digest) == (None, None), f"{id_!r} has no vector, but a run or a digest"
            is_current = vector is not None and run_id == self._target and text == made_from
            self._digests[id_] = digest
            self.states[id_] = state(text, vector is not None, is_current, has_failed)
            if self.states[id_] == "failed":
                assert POISON in text, f"{id_!r} failed, and there is nothing wrong with it"
            if id_ in self._settled:
                assert self._settled[id_] == version, f"{id_!r} was embedded, and written once more"
            if self.states[id_] == "embedded":
                self._settled[id_] = version
        expected = Counter(self.states.values())
        said = {name: getattr(counted, name) for name in ("blank", "failed", "embedded", "stale", "missing")}
        assert said == {name: expected[name] for name in said}, "the states are counted right"
        assert counted.total == len(self.texts)

    def _vector(self, model: str, text: str) -> bytes:
        if (model, text) not in self._expected:
            vectors = RecipeGpu(device="cpu").encoder(find_model(model)).encode([text])
            self._expected[model, text] = vectors.astype(np.float32).tobytes()
        return self._expected[model, text]

    def check_ranges(self, ranges: Sequence[IdRange]) -> None:
        """No range twice, no hole, and every id below the end of the last in exactly one."""
        assert not ranges or ranges[0].start is None, f"ids below {ranges[0]} are in no range"
        assert all(a.stop is not None and a.stop == b.start for a, b in pairwise(ranges)), f"a hole in {ranges}"
        assert len({id_range.key for id_range in ranges}) == len(ranges), "each key once"
        held = Counter(id_ for members in self.members(ranges) for id_ in members)
        assert set(held.values()) <= {1}, "no id in two ranges"
        beyond = set(self.texts) - set(held)
        if ranges and beyond:
            behind = IdRange(ranges[-1].stop, None)
            assert behind != EVERYTHING, f"ids in no range: {beyond}"
            assert beyond <= self.members([behind])[0], f"ids in no range: {beyond}"

    def members(self, ranges: Sequence[IdRange]) -> list[set[Id]]:
        """The ids in each range."""
        statement = sql.SQL("SELECT t.{id} FROM {table} AS t WHERE {in_range}")
        return [
            {
                cast(Id, id_)
                for (id_,) in fetch(
                    self.conn,
                    statement.format(**names(self.column), in_range=in_range(self.column, id_range)),
                )
            }
            for id_range in ranges
        ]


def state(text: str | None, has_vector: bool, is_current: bool, has_failed: bool) -> str:
    """A row's state as DESIGN says it: the first that fits."""
    is_blank = text is None or not text.strip()
    if is_blank and not has_vector:
        return "blank"
    if has_failed:
        return "failed"
    if not has_vector:
        return "missing"
    return "embedded" if is_current and not is_blank else "stale"


def md5_of(text: str) -> str:
    """As the server has it, without dashes."""
    return md5(text.encode(), usedforsecurity=False).hexdigest()

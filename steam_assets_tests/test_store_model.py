"""The store against a model of it in a few dictionaries: whatever is edited, deleted or late, both say the same."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import EncodedBatch, SourceTexts, UnembeddableRow
from steam_assets.id_range import EVERYTHING
from steam_assets.store.write import TargetChanged, write_batches
from steam_assets_tests.rows import (
    add_rows,
    change_recipe,
    encode,
    execute,
    read_all,
    set_text,
    state_of,
    table_digest,
    target_of,
)

IDS = st.sampled_from(["", "a", "B", "10", "9", "ü%"])
TEXTS = st.sampled_from(["one", "two", "three", None, "", " \n\t"])


@dataclass
class Table:
    """What the table should hold: texts by id, what each vector was made from, and the failures on record."""

    texts: dict[str, str | None] = field(default_factory=dict)
    vectors: dict[str, tuple[int, str]] = field(default_factory=dict)
    failures: dict[tuple[str, int], str] = field(default_factory=dict)

    def state(self, id_: str, run_id: int) -> str:
        """A row's state as DESIGN says it: the first that fits."""
        text, vector = self.texts[id_], self.vectors.get(id_)
        blank = text is None or not text.strip()
        if blank and vector is None:
            return "blank"
        if text is not None and self.failures.get((id_, run_id)) == text:
            return "failed"
        if vector is None:
            return "missing"
        return "embedded" if vector == (run_id, text) and not blank else "stale"


class Store(RuleBasedStateMachine):
    """Edits by somebody else, and runs that read now and write later."""

    conn: connection
    column: TextColumn

    def __init__(self) -> None:
        super().__init__()
        execute(self.conn, "TRUNCATE notes")
        execute(self.conn, "TRUNCATE public.embedding_failures")
        self.table = Table()
        self.run_id = change_recipe(self.conn, self.column, "first")
        self.in_flight: list[tuple[int, list[SourceTexts]]] = []

    @rule(id_=IDS, text=TEXTS)
    def somebody_writes_a_row(self, id_: str, text: str | None) -> None:
        if id_ in self.table.texts:
            set_text(self.conn, self.column, id_, text)
        else:
            add_rows(self.conn, self.column, {id_: text})
        self.table.texts[id_] = text

    @rule(id_=IDS)
    def somebody_deletes_a_row(self, id_: str) -> None:
        execute(self.conn, "DELETE FROM notes WHERE id = %(id)s", id=id_)
        self.table.texts.pop(id_, None)
        self.table.vectors.pop(id_, None)

    @rule()
    def somebody_touches_every_row(self) -> None:
        execute(self.conn, "UPDATE notes SET likes = likes + 1")

    @rule(revision=st.sampled_from(["first", "second"]))
    def the_recipe_changes(self, revision: str) -> None:
        self.run_id = change_recipe(self.conn, self.column, revision)

    @rule()
    def a_run_reads(self) -> None:
        pages = read_all(self.conn, self.column)
        read = [id_ for page in pages for id_ in page.ids]
        expected = [
            id_
            for id_, text in self.table.texts.items()
            if self.table.state(id_, self.run_id) in ("missing", "stale") and text is not None and text.strip()
        ]
        assert Counter(read) == Counter(expected), "every row to encode, once"
        self.in_flight.append((self.run_id, pages))

    @rule(data=st.data())
    def a_run_writes_what_it_read(self, data: st.DataObject) -> None:
        if not self.in_flight:
            return
        run_id, pages = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        failing = data.draw(st.sets(IDS, max_size=1))
        batches = [batch for page in pages for batch in split(page, failing)]
        if run_id != self.run_id:
            with pytest.raises(TargetChanged):
                write_batches(self.conn, self.column, run_id, EVERYTHING, batches)
            return
        write_batches(self.conn, self.column, run_id, EVERYTHING, batches)
        for page in pages:
            for id_, text in zip(map(str, page.ids), page.texts, strict=True):
                if id_ in failing:
                    self.table.failures[id_, run_id] = text
                elif self.table.texts.get(id_) == text:
                    self.table.vectors[id_] = (run_id, text)
        self.end_of_run()

    @rule()
    def a_run_goes_all_the_way_and_again_changes_nothing(self) -> None:
        for page in read_all(self.conn, self.column):
            for id_, text in zip(map(str, page.ids), page.texts, strict=True):
                self.table.vectors[id_] = (self.run_id, text)
            write_batches(self.conn, self.column, self.run_id, EVERYTHING, [encode(page)])
        write_batches(self.conn, self.column, self.run_id, EVERYTHING, [])
        self.end_of_run()
        assert state_of(self.conn, self.column).pending == 0
        before = table_digest(self.conn, self.column)
        assert read_all(self.conn, self.column) == []
        assert table_digest(self.conn, self.column) == before

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        run_id = target_of(self.conn, self.column)
        found = state_of(self.conn, self.column)
        expected = Counter(self.table.state(id_, run_id) for id_ in self.table.texts)
        states = {name: getattr(found, name) for name in ("blank", "failed", "embedded", "stale", "missing")}
        assert states == {name: expected[name] for name in states}
        assert found.total == len(self.table.texts)

    def end_of_run(self) -> None:
        """Vectors go from rows whose text is blank by now, and failures of rows that have their vector, or are gone."""
        for id_, text in self.table.texts.items():
            if text is None or not text.strip():
                self.table.vectors.pop(id_, None)
        for id_, run_id in list(self.table.failures):
            settled = self.table.vectors.get(id_) == (run_id, self.table.texts.get(id_))
            if run_id == self.run_id and (settled or id_ not in self.table.texts):
                del self.table.failures[id_, run_id]


def split(page: SourceTexts, failing: set[str]) -> list[EncodedBatch]:
    """A page as batches: vectors for most rows, and the failing ones by name."""
    keep = [row for row, id_ in enumerate(page.ids) if str(id_) not in failing]
    kept = SourceTexts(
        [str(page.ids[row]) for row in keep],
        [page.texts[row] for row in keep],
        [page.row_versions[row] for row in keep],
        [page.source_md5[row] for row in keep],
    )
    failed = [
        UnembeddableRow(str(id_), digest, "as the test wants it")
        for id_, digest in zip(page.ids, page.source_md5, strict=True)
        if str(id_) in failing
    ]
    none = SourceTexts([], [], [], [])
    return [*([encode(kept)] if keep else []), EncodedBatch(encode(none).embeddings, failed)]


@pytest.mark.slow
def test_no_history_of_edits_and_runs_makes_the_store_say_something_false(conn: connection, notes: TextColumn) -> None:
    """Invariants 3, 4, 6 and 7 over hundreds of random histories, late and overlapping writers among them."""

    class OnThisTable(Store):
        pass

    OnThisTable.conn, OnThisTable.column = conn, notes
    run_state_machine_as_test(
        OnThisTable,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )

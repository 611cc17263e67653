"""What must be true of a tortured table: at any time of every row, and at the end of the whole table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.preparation import find_preparation
from steam_assets.store.states import range_state
from steam_assets_tests.benchmarks.torture_tables import COLUMNS, POISON, Tables, undisturbed

EQUAL_COSINE = 0.99999
SHOWN = 3

ROWS = sql.SQL("""
    SELECT {id}, {text}, {run}, {digest}::text, {vector}::real[]
    FROM {table}
    ORDER BY {id}
""")

QUARANTINED = sql.SQL("""
    SELECT t.{id}
    FROM {table} AS t
    JOIN public.embedding_failures AS known
        ON known.id = t.{id}::text COLLATE "C"
       AND known.source_md5 = md5(t.{text})::uuid
    WHERE known.table_name = %s
      AND known.vector_column = %s
      AND known.run_id = %s
      AND known.kind = 'failed'
      AND known.released_at IS NULL
""")


@dataclass(frozen=True)
class Row:
    """What a table holds of a row; the vector as the bits that are stored."""

    id: int | str
    text: str | None
    run: int | None
    digest: UUID | None
    vector: NDArray[np.float32] | None


@dataclass(frozen=True)
class Judge:
    """Knows the vector of every text: ``encoders`` by run; those of ``exact_runs`` give the same bits each time."""

    tables: Tables
    dimension: int
    encoders: Mapping[TextColumn, Mapping[int, Encoder]]
    exact_runs: frozenset[int]
    known: dict[tuple[int, str], NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def rows(self, conn: connection, column: TextColumn) -> list[Row]:
        """The table at one instant."""
        statement = ROWS.format(
            table=sql.Identifier(column.table),
            **{name: sql.Identifier(getattr(column, name)) for name in ("id", "text", "run", "digest", "vector")},
        )
        with conn, conn.cursor() as cursor:
            cursor.execute(statement)
            return [
                Row(id_, text, run, digest and UUID(digest), None if vector is None else np.array(vector, np.float32))
                for id_, text, run, digest, vector in cursor.fetchall()
            ]

    def at_any_time(self, conn: connection) -> list[str]:
        """Rows that are neither wholly old nor wholly new; none, if all is well."""
        return [
            f"{column}: {finding}"
            for column in COLUMNS
            for finding in shown(self._torn(column, self.rows(conn, column)))
        ]

    def _torn(self, column: TextColumn, rows: Sequence[Row]) -> Iterator[str]:
        """Vector, run and digest together or not at all, the digest of a text this row had, the vector of that text."""
        history = self.tables.histories[column].texts
        texts_of_run: dict[int, list[tuple[Row, str]]] = {}
        for row in rows:
            parts = (row.vector is not None, row.run is not None, row.digest is not None)
            if len(set(parts)) > 1:
                yield f"half-written {row.id!r}: vector, run, digest are {parts}"
            elif row.run is not None:
                known = {digest_of(text): text for text in history.get(row.id, ()) if text is not None}
                text = None if row.digest is None else known.get(row.digest)
                if text is None:
                    yield f"{row.id!r} has the digest {row.digest} of a text that it never had"
                elif row.run not in self.encoders[column]:
                    yield f"{row.id!r} has the run {row.run}, which is none of the column's"
                else:
                    texts_of_run.setdefault(row.run, []).append((row, text))
        prepare = find_preparation(column.preparation).prepare
        for run, found in texts_of_run.items():
            expected = self._encode(column, run, [prepare(text) for _, text in found])
            stored = np.stack([row.vector for row, _ in found if row.vector is not None])
            for place in np.flatnonzero(~self._equal(run, stored, expected)):
                yield f"{found[place][0].id!r} has the digest of {found[place][1][:40]!r} and not its vector"

    def _encode(self, column: TextColumn, run: int, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors that a run gives these texts; each is computed once."""
        new = [text for text in dict.fromkeys(texts) if (run, text) not in self.known]
        vectors = self.encoders[column][run].encode(new)
        self.known.update(zip(((run, text) for text in new), vectors, strict=True))
        return np.stack([self.known[run, text] for text in texts])

    def _equal(self, run: int, stored: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.bool_]:
        if run in self.exact_runs:
            equal = (stored.view(np.uint32) == expected.view(np.uint32)).all(axis=1)
        else:
            equal = np.einsum("ij,ij->i", stored.astype(np.float64), expected.astype(np.float64)) >= EQUAL_COSINE
        return np.asarray(equal, dtype=np.bool_)

    def at_the_end(self, conn: connection) -> list[str]:
        """What a clean run has left undone, or done otherwise than on undisturbed tables with the same texts."""
        return [
            *self.at_any_time(conn),
            *(f"{column}: {finding}" for column in COLUMNS for finding in shown(self._unfinished(conn, column))),
            *records_left(conn),
        ]

    def _unfinished(self, conn: connection, column: TextColumn) -> Iterator[str]:
        run = self.tables.runs[column]
        rows = {row.id: row for row in self.rows(conn, column)}
        twins = {row.id: row for row in self.rows(conn, undisturbed(column))}
        prepare = find_preparation(column.preparation).prepare
        blank = {id_ for id_, row in rows.items() if row.text is None or not prepare(row.text).strip()}
        poisoned = {id_ for id_, row in rows.items() if row.text is not None and POISON in row.text}
        for row in rows.values():
            if row.id in blank:
                if row.run is not None:
                    yield f"{row.id!r} has no text and a vector"
            elif row.id not in poisoned and (row.run, row.digest) != (run, digest_of(row.text or "")):
                yield f"{row.id!r} is skipped or stale: run {row.run}, digest {row.digest}, text {row.text!r:.40}"
        if rows.keys() != twins.keys():
            yield f"ids differ from the undisturbed: {list(rows.keys() ^ twins.keys())[:SHOWN]}"
        for id_ in rows.keys() & twins.keys() - poisoned:
            ours, theirs = ((row.text, row.run, row.digest) for row in (rows[id_], twins[id_]))
            if ours != theirs:
                yield f"{id_!r} is {ours!r:.200} and undisturbed {theirs!r:.200}"
        for table in (column, undisturbed(column)):
            with conn, conn.cursor() as cursor:
                cursor.execute(QUARANTINED.format(**identifiers(table)), (table.qualified_table, table.vector, run))
                quarantined = {id_ for (id_,) in cursor.fetchall()}
            if quarantined != poisoned:
                yield f"quarantined and poisoned are not the same in {table}: {list(quarantined ^ poisoned)[:SHOWN]}"
        with conn:
            state = range_state(conn, column, run, self.dimension)
        counts = (state.total, state.blank, state.failed, state.embedded, state.stale, state.missing)
        expected = (len(rows), len(blank), len(poisoned), len(rows) - len(blank) - len(poisoned), 0, 0)
        if counts != expected:
            yield f"the states are {counts}; expected {expected}"


def digest_of(text: str) -> UUID:
    """The server's md5 of a text."""
    return UUID(bytes=md5(text.encode(), usedforsecurity=False).digest())


def identifiers(column: TextColumn) -> dict[str, sql.Identifier]:
    """The table's and its columns' names, quoted."""
    return {name: sql.Identifier(getattr(column, name)) for name in ("table", "id", "text")}


def records_left(conn: connection) -> list[str]:
    """Attempts that nobody has ended."""
    with conn, conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM public.embedding_run_ranges WHERE status = 'running'")
        (running,) = cursor.fetchone() or (0,)
    return [f"{running} attempts at ranges run for ever"] if running else []


def shown(findings: Iterator[str]) -> list[str]:
    """The first findings of a kind, and how many there are."""
    found = list(findings)
    return [*found[:SHOWN], *([f"... and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])]

"""Somebody else at work on the tables meanwhile: edits, insertions and deletions, each noted before it is made."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from random import Random

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.database import DatabaseUnavailable
from steam_assets_tests.benchmarks.torture_tables import BLANK, History, Tables, new_text

AGAIN_S = 0.05

WRITE = sql.SQL("""
    INSERT INTO {table} ({id}, {text})
    VALUES (%s, %s)
    ON CONFLICT ({id}) DO UPDATE
    SET {text} = EXCLUDED.{text}
""")
READ = sql.SQL("SELECT {text} FROM {table} WHERE {id} = %s")
DELETE = sql.SQL("DELETE FROM {table} WHERE {id} = %s")
TOUCH = sql.SQL("UPDATE {table} SET likes = likes + 1 WHERE {id} = %s")


class Editor(threading.Thread):
    """Edits rows until it is told to stop, through restarts of the server too."""

    def __init__(
        self, connect: Callable[[], connection], tables: Tables, seed: int, pause_s: float, poison_share: float
    ) -> None:
        super().__init__(name="editor", daemon=True)
        self.edits = 0
        self.error: BaseException | None = None
        self._connect = connect
        self._tables = tables
        self._dice = Random(seed)  # noqa: S311  (no secret)
        self._pause_s = pause_s
        self._poison_share = poison_share
        self._stopped = threading.Event()
        self._ids = {column: list(history.texts) for column, history in tables.histories.items()}

    def __enter__(self) -> "Editor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Finish the edit at hand; raises what ended the work before."""
        self._stopped.set()
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """Edit, and come back when the connection is lost."""
        try:
            while not self._stopped.is_set():
                try:
                    with closing(self._connect()) as conn:
                        conn.autocommit = True
                        self._edit_all(conn)
                except (psycopg2.Error, DatabaseUnavailable):
                    self._stopped.wait(AGAIN_S)
        except BaseException as error:  # noqa: BLE001  (raised where stop is called)
            self.error = error

    def _edit_all(self, conn: connection) -> None:
        while not self._stopped.wait(self._dice.expovariate(1 / self._pause_s)):
            column = self._dice.choice(list(self._ids))
            self._edit(Desk(conn, column, self._tables.histories[column]), self._ids[column])
            self.edits += 1

    def _edit(self, desk: "Desk", ids: Sequence[int | str]) -> None:
        dice = self._dice
        id_, other = dice.choice(ids), dice.choice(ids)
        match dice.randrange(8):
            case 0 | 1:
                desk.write(id_, new_text(dice, self._poison_share))
            case 2:  # away and back: another row version with the text of before
                text = desk.read(id_)
                desk.write(id_, new_text(dice))
                desk.write(id_, text)
            case 3:
                desk.write(id_, dice.choice(BLANK))
            case 4:
                desk.touch(id_)
            case 5:
                desk.delete(id_)
            case 6:  # also one that was deleted, under its old id
                new = dice.randrange(-(10**6), 10**6) if isinstance(id_, int) else f"new {dice.randrange(10**6)}"
                desk.write(new if dice.random() < 0.5 else id_, new_text(dice, self._poison_share))
            case _:  # two rows change their texts: a vector on the wrong one would not be noticed by its digest alone
                first, second = desk.read(id_), desk.read(other)
                desk.write(id_, second)
                desk.write(other, first)


class Desk:
    """One table under somebody's hands."""

    def __init__(self, conn: connection, column: TextColumn, history: History) -> None:
        self._conn = conn
        self._history = history
        self._names = {name: sql.Identifier(getattr(column, name)) for name in ("table", "id", "text")}

    def write(self, id_: int | str, text: str | None) -> None:
        """Insert or change a row."""
        self._history.add(id_, text)
        self._execute(WRITE, id_, text)

    def delete(self, id_: int | str) -> None:
        """Delete a row."""
        self._execute(DELETE, id_)

    def touch(self, id_: int | str) -> None:
        """Change a row but not its text."""
        self._execute(TOUCH, id_)

    def read(self, id_: int | str) -> str | None:
        """A row's text; None where there is no such row."""
        with self._conn.cursor() as cursor:
            cursor.execute(READ.format(**self._names), (id_,))
            (text,) = cursor.fetchone() or (None,)
        return None if text is None else str(text)

    def _execute(self, statement: sql.SQL, *values: object) -> None:
        with self._conn.cursor() as cursor:
            cursor.execute(statement.format(**self._names), values)

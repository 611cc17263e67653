"""The tables that are filled under torture: their rows from a seed, and every text that a row has ever had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

from steam_assets.columns import TextColumn
from steam_assets.encoder.models import Model
from steam_assets.store.runs import set_serving, set_target
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.targets import run_of_model
from steam_assets_tests.benchmarks.torture_server import TABLESPACE

NUMBERED = TextColumn(
    table='numbered "rows"', id="Id", text="the text", vector="vector", id_type="bigint", preparation="steam_html"
)
NAMED = TextColumn(table="named", id="name", text="body", vector="body_vector", id_type="text")
COLUMNS = (NUMBERED, NAMED)
POISON = "poison"
BLANK = (None, "", " \n\t", " ")
EMPTY_WHEN_PREPARED = "<br><br/>"
WORDS = (
    *("farm", "dragon", "puzzle", "космос", "農場", "🎮", "<b>village</b>", "castle", "&", "starship", "turnip"),
    *("carrot", "railway"),
)
ODD_IDS = ("", " ", "a b", "it's", "50%", "\\N", "\\.", "\n", "{id}", "é", "日本語", "🎮", "x" * 300)

Ids = Sequence[int | str]


@dataclass
class History:
    """Every text that each row of a table has had or was about to get, and the rows that were ``edited`` of late."""

    texts: dict[int | str, set[str | None]] = field(default_factory=dict)
    edited: set[int | str] = field(default_factory=set)

    def add(self, id_: int | str, text: str | None) -> None:
        """To be called before the row is written: afterwards it may have been embedded already."""
        self.texts.setdefault(id_, set()).add(text)
        self.edited.add(id_)


@dataclass(frozen=True)
class Tables:
    """A round's tables: the disturbed columns, their runs before and now, and the histories of their rows."""

    old_runs: Mapping[TextColumn, int]
    runs: Mapping[TextColumn, int]
    histories: Mapping[TextColumn, History]


def undisturbed(column: TextColumn) -> TextColumn:
    """The column's table that nothing happens to."""
    return replace(column, table=f"undisturbed {column.table}")


def new_text(dice: Random, poison_share: float = 0.0) -> str | None:
    """A text: most are like no other, some are blank, long, met again and again, or poison."""
    throw = dice.random()
    if throw < poison_share:
        return f"{POISON} {dice.randrange(10**6)}"
    if throw < 0.05:
        return dice.choice(BLANK)
    if throw < 0.10:
        return f"often {dice.choice(WORDS)}"
    if throw < 0.12:
        return EMPTY_WHEN_PREPARED
    words = dice.choices(WORDS, k=2000 if throw > 0.995 else dice.randint(1, 30))
    return f"{' '.join(words)} {dice.randrange(10**9)}"


def new_ids(dice: Random, column: TextColumn, rows: int) -> list[int | str]:
    """Ids that are neither dense nor in order."""
    if column.id_type == "bigint":
        return list(dice.sample(range(-20 * rows, 20 * rows), rows))
    return [*ODD_IDS, *(f"{dice.choice(WORDS)}/{n}" for n in dice.sample(range(10**6), rows - len(ODD_IDS)))]


def make_tables(conn: connection, dice: Random, rows: int, model: Model, *, small_disk: bool) -> Tables:
    """Disturbed and undisturbed tables, rows in the first, and their runs before and now; committed."""
    histories = {}
    for column in COLUMNS:
        for twin in (column, undisturbed(column)):
            create(conn, twin, TABLESPACE if small_disk and twin is column else "pg_default")
        texts = {id_: new_text(dice) for id_ in new_ids(dice, column, rows)}
        insert = sql.SQL("INSERT INTO {} ({}, {}) VALUES %s").format(
            *map(sql.Identifier, (column.table, column.id, column.text))
        )
        with conn, conn.cursor() as cursor:
            execute_values(cursor, insert, list(texts.items()))
        histories[column] = History({id_: {text} for id_, text in texts.items()})
    apply_schema(conn, plan_schema(conn, [*COLUMNS, *map(undisturbed, COLUMNS)], model.dimension))
    older = replace(model, revision="older")
    with conn:
        old_runs = {column: run_of_model(conn, column, older) for column in COLUMNS}
        runs = {column: run_of_model(conn, column, model) for column in COLUMNS}
        for column in COLUMNS:
            set_serving(conn, column, old_runs[column])
            set_target(conn, column, old_runs[column])
            set_target(conn, undisturbed(column), runs[column])
    return Tables(old_runs, runs, histories)


def create(conn: connection, column: TextColumn, tablespace: str) -> None:
    """An empty table with an id and a text; committed."""
    statement = sql.SQL("CREATE TABLE {} ({} {} PRIMARY KEY, {} text, likes integer DEFAULT 0) TABLESPACE {}")
    with conn, conn.cursor() as cursor:
        cursor.execute(
            statement.format(
                *map(sql.Identifier, (column.table, column.id)),
                sql.SQL(column.id_type),
                *map(sql.Identifier, (column.text, tablespace)),
            )
        )


def copy_texts(conn: connection) -> None:
    """Give the undisturbed tables the texts that the disturbed ones have now; committed."""
    statement = sql.SQL("INSERT INTO {new} ({id}, {text}) SELECT {id}, {text} FROM {old}")
    with conn, conn.cursor() as cursor:
        for column in COLUMNS:
            cursor.execute(
                statement.format(
                    new=sql.Identifier(undisturbed(column).table),
                    old=sql.Identifier(column.table),
                    id=sql.Identifier(column.id),
                    text=sql.Identifier(column.text),
                )
            )

"""What a person sees of a row that was found: its text, its title, and the game it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.filters import Need, unreadable
from steam_assets.store.states import names

SHOWN_CHARACTERS = 20_000
"""Of a text, to choose the part that is shown from: Steam's longest page has 16,000."""


@dataclass(frozen=True)
class FoundRow:
    """A row's text, or its first part, and what is known of it besides."""

    text: str
    title: str | None
    group_name: str | None


@dataclass(frozen=True)
class Part:
    """Something to show of a row ``t`` or of its ``game``, and what that reads."""

    expression: sql.SQL
    needs: tuple[Need, ...]


NOTHING = Part(sql.SQL("NULL"), ())
TITLES = {("public", "applications"): Part(sql.SQL("t.name"), (("applications", "name"),))}
GROUPS = {("public", "reviews"): Part(sql.SQL("t.appid::text"), (("reviews", "appid"),))}
GROUP_NAMES = {
    ("public", "reviews"): Part(
        sql.SQL("(SELECT game.name FROM public.applications AS game WHERE game.appid = t.appid)"),
        (("reviews", "appid"), ("applications", "appid"), ("applications", "name")),
    )
}

ROWS = sql.SQL("""
    SELECT t.{id}::text, left(t.{text}, {characters}), {title}, {group_name}
    FROM {table} AS t
    WHERE t.{id} IN ({ids})
""")

GROUPS_OF_ROWS = sql.SQL("""
    SELECT t.{id}::text, {group}
    FROM {table} AS t
    WHERE t.{id} IN ({ids})
""")


def read_rows(conn: connection, column: TextColumn, ids: Sequence[str]) -> dict[str, FoundRow]:
    """The rows of these ids; what this user may not read, or this table does not have, is None."""
    if not ids:
        return {}
    parts = {
        name: _readable(conn, known.get((column.schema, column.table), NOTHING))
        for name, known in (("title", TITLES), ("group_name", GROUP_NAMES))
    }
    shown = sql.Literal(SHOWN_CHARACTERS)
    statement = ROWS.format(**names(column), **parts, characters=shown, ids=_literals(column, ids))
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return {id_: FoundRow(text or "", *rest) for id_, text, *rest in cursor.fetchall()}


def has_groups(conn: connection, column: TextColumn) -> bool:
    """Whether rows of this table belong to a game, which this user may read."""
    known = GROUPS.get((column.schema, column.table))
    return known is not None and not unreadable(conn, known.needs)


def groups_of(conn: connection, column: TextColumn, ids: Sequence[str]) -> dict[str, str]:
    """The game that each row belongs to, of a table that has groups."""
    if not ids:
        return {}
    group = GROUPS[column.schema, column.table].expression
    statement = GROUPS_OF_ROWS.format(**names(column), group=group, ids=_literals(column, ids))
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return dict(cursor.fetchall())


def _readable(conn: connection, part: Part) -> sql.SQL:
    return NOTHING.expression if part.needs and unreadable(conn, part.needs) else part.expression


def _literals(column: TextColumn, ids: Sequence[str]) -> sql.Composed:
    """Ids as the database wrote them, in the type they have there."""
    return sql.SQL(", ").join(sql.Literal(id_ if column.id_type == "text" else int(id_)) for id_ in ids)

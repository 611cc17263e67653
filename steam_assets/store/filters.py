"""What the fields of a filter mean in SQL for each table. The language they are written in is filter_language.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.filter_language import AllOf, Comparison, Filter, Not, WrongFilter, read_filter

# (table, column): what a statement reads besides the column that is searched.
Need = tuple[str, str]


@dataclass(frozen=True)
class Field:
    """What a field is of a row ``{row}``: a value, or where ``is_list`` a query of words; and what that reads.

    A field of ``its_game`` belongs to the application that the row names by ``appid``.
    """

    expression: sql.SQL
    needs: tuple[Need, ...]
    is_list: bool = False
    its_game: bool = False


TYPE = Field(sql.SQL("lower({row}.type::text)"), (("applications", "type"),))
YEAR = Field(sql.SQL("extract(year FROM {row}.release_date)"), (("applications", "release_date"),))
PRICE = Field(
    sql.SQL("CASE WHEN {row}.is_free THEN 0 ELSE {row}.mat_final_price / 100.0 END"),
    (("applications", "is_free"), ("applications", "mat_final_price")),
)
IS_FREE = Field(sql.SQL("{row}.is_free"), (("applications", "is_free"),))
GENRE = Field(
    sql.SQL("""
        SELECT lower(genre.name)
        FROM public.application_genres AS is_of
        JOIN public.genres AS genre ON genre.id = is_of.genre_id
        WHERE is_of.appid = {row}.appid
    """),
    (("application_genres", "appid"), ("application_genres", "genre_id"), ("genres", "id"), ("genres", "name")),
    is_list=True,
)
# The store's own words: English<strong>*</strong>, Spanish - Spain<br><strong>*</strong>languages with full audio ...
LANGUAGES = Field(
    sql.SQL("""
        SELECT unnest(ARRAY[language, split_part(language, ' - ', 1)])
        FROM regexp_split_to_table(lower({row}.supported_languages), ',|<br') AS part,
             btrim(regexp_replace(part, '<[^>]*>|[*]', '', 'g')) AS language
    """),
    (("applications", "supported_languages"),),
    is_list=True,
)
REVIEW_LANGUAGE = Field(sql.SQL("lower({row}.language)"), (("reviews", "language"),))
VOTED_UP = Field(sql.SQL("{row}.voted_up"), (("reviews", "voted_up"),))

GAME_OF_REVIEW: tuple[Need, ...] = (("reviews", "appid"), ("applications", "appid"))
OF_A_GAME = {"type": TYPE, "genre": GENRE, "year": YEAR, "price": PRICE, "is_free": IS_FREE}
FIELDS: Mapping[tuple[str, str], Mapping[str, Field]] = {
    ("public", "applications"): OF_A_GAME | {"language": LANGUAGES},
    ("public", "reviews"): {
        name: Field(field.expression, (*field.needs, *GAME_OF_REVIEW), field.is_list, its_game=not field.is_list)
        for name, field in OF_A_GAME.items()
    }
    | {"language": REVIEW_LANGUAGE, "voted_up": VOTED_UP},
}

UNREADABLE = """
    SELECT need.relation, need.attribute, a.attnum IS NOT NULL
    FROM unnest(%s::text[], %s::text[]) AS need(relation, attribute)
    LEFT JOIN pg_attribute AS a
           ON a.attrelid = to_regclass('public.' || quote_ident(need.relation))
          AND a.attname = need.attribute
          AND NOT a.attisdropped
    WHERE NOT coalesce(has_column_privilege(a.attrelid, a.attnum, 'SELECT'), FALSE)
    ORDER BY 1, 2
"""

# In a list there is no NULL: what has no genre is not of the genre. A value that is unknown is neither so nor not so.
IN_LIST = sql.SQL("EXISTS (SELECT FROM ({expression}) AS listed(word) WHERE word IN ({values}))")
OF_ITS_GAME = sql.SQL("t.appid IN (SELECT game.appid FROM public.applications AS game WHERE {condition})")


def filter_condition(conn: connection, column: TextColumn, text: str) -> sql.Composable:
    """The condition on the row ``t`` of the column's table that a person's filter stands for.

    Raises WrongFilter for one that cannot be understood, or reads what the database or this user does not have.
    """
    tree = read_filter(text)
    fields = FIELDS.get((column.schema, column.table))
    if fields is None:
        raise WrongFilter(
            f"{column.qualified_table} has no fields to filter by; those of applications and reviews are known."
        )
    used = set(_fields_of(tree))
    if unknown := sorted(used - set(fields)):
        raise WrongFilter(
            f"{column.qualified_table} has no {', '.join(unknown)}. Its fields: {', '.join(fields)}. "
            "Name another place to search with --in, or leave that out."
        )
    if lacking := unreadable(conn, [need for name in sorted(used) for need in fields[name].needs]):
        raise WrongFilter(f"This filter needs {'; '.join(lacking)}.")
    return _condition(tree, fields, negated=False)


def unreadable(conn: connection, needs: Sequence[Need]) -> list[str]:
    """Which of these columns of schema public are not there, or not for this user, in words."""
    with conn.cursor() as cursor:
        cursor.execute(UNREADABLE, ([table for table, _ in needs], [column for _, column in needs]))
        rows = cursor.fetchall()
    return [
        f"{table}.{column}, which {'this user may not read' if is_there else 'is not in this database'}"
        for table, column, is_there in rows
    ]


def _fields_of(tree: Filter) -> list[str]:
    if isinstance(tree, Comparison):
        return [tree.field]
    parts = (tree.part,) if isinstance(tree, Not) else tree.parts
    return [name for part in parts for name in _fields_of(part)]


def _condition(tree: Filter, fields: Mapping[str, Field], negated: bool) -> sql.Composable:
    """A part of the filter, or its opposite: `not` goes down to the comparisons, where it is known what is unknown."""
    if isinstance(tree, Not):
        return _condition(tree.part, fields, not negated)
    if isinstance(tree, Comparison):
        return _comparison(tree, fields[tree.field], negated)
    word = " AND " if isinstance(tree, AllOf) is not negated else " OR "
    parts = [_condition(part, fields, negated) for part in tree.parts]
    return sql.SQL("({})").format(sql.SQL(word).join(parts))


def _comparison(asked: Comparison, field: Field, negated: bool) -> sql.Composable:
    expression = field.expression.format(row=sql.SQL("game" if field.its_game else "t"))
    values = sql.SQL(", ").join(map(_literal, asked.values))
    if field.is_list:
        negated = negated is not (asked.operator == "!=")
        condition = IN_LIST.format(expression=expression, values=values)
    else:
        operator = "IN" if asked.operator == "in" else asked.operator
        condition = sql.SQL("({} {} ({}))").format(expression, sql.SQL(operator), values)
    if negated:
        condition = sql.SQL("NOT {}").format(condition)
    return OF_ITS_GAME.format(condition=condition) if field.its_game else condition


def _literal(value: object) -> sql.Composable:
    return sql.SQL("lower({})").format(sql.Literal(value)) if isinstance(value, str) else sql.Literal(value)

"""What a person may write after --where, what it means, and what is said of everything else."""

import re
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_assets.store.filter_language import (
    DEEPEST_FILTER,
    EXAMPLE,
    KINDS,
    LONGEST_FILTER,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Not,
    WrongFilter,
    read_filter,
)

FREE = Comparison("is_free", "=", (True,))
GAME = Comparison("type", "=", ("game",))
OLD = Comparison("year", "<", (Decimal(2000),))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("type = game", GAME),
        ("  TYPE==game ", GAME),
        ("type = 'game'", GAME),
        ('type = "game"', GAME),
        ("type <> game", Comparison("type", "!=", ("game",))),
        ("genre = 'it''s'", Comparison("genre", "=", ("it's",))),
        ('genre = "say ""hi"""', Comparison("genre", "=", ('say "hi"',))),
        ("genre = Ужасы", Comparison("genre", "=", ("Ужасы",))),
        ("price <= 9.99", Comparison("price", "<=", (Decimal("9.99"),))),
        ("is_free", FREE),
        ("is_free = YES", FREE),
        ("not is_free", Not(FREE)),
        ("is_free != false", Comparison("is_free", "!=", (False,))),
        ("year in (2015,2016)", Comparison("year", "in", (Decimal(2015), Decimal(2016)))),
        ("genre not in (Action, 'Visual Novel')", Not(Comparison("genre", "in", ("Action", "Visual Novel")))),
        ("is_free or type = game and year < 2000", AnyOf((FREE, AllOf((GAME, OLD))))),
        ("(is_free or type = game) AND year < 2000", AllOf((AnyOf((FREE, GAME)), OLD))),
        ("not not is_free", Not(Not(FREE))),
        ("not (is_free)or type=game", AnyOf((Not(FREE), GAME))),
    ],
)
def test_a_filter_means_what_it_says(text: str, tree: Filter) -> None:
    """`and` binds closer than `or`, words may be in any case, and quotes hold what has blanks."""
    assert read_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", 1, "expected a field"),
        ("   ", 4, "expected a field"),
        ("colour = red", 1, "no such field"),
        ("type", 5, "expected one of = != in after type"),
        ("type game", 6, "expected one of = != in after type"),
        ("type = ", 8, "expected a word, or words in quotes for type"),
        ("type = ''", 8, "expected a word, or words in quotes for type"),
        ("type < game", 6, "type knows = != in only"),
        ("genre = Massively Multiplayer", 19, "expected `and`, `or` or the end (text with blanks stands in quotes)"),
        ("year = soon", 8, "expected a year such as 2015 for year"),
        ("year = 20155", 8, "expected a year such as 2015 for year"),
        ("price < -1", 9, "expected a number such as 9.99 for price"),
        ("price < 1e999", 9, "expected a number such as 9.99 for price"),
        ("price < ٣", 9, "expected a number such as 9.99 for price"),
        ("is_free = maybe", 11, "expected true or false for is_free"),
        ("is_free in (true)", 9, "expected one of = != after is_free"),
        ("year in ()", 10, "expected a year"),
        ("year in 2015", 9, "expected `(`"),
        ("year in (2015 2016)", 15, "expected `)`"),
        ("(is_free", 9, "expected `)`"),
        ("is_free)", 8, "expected `and`, `or` or the end"),
        ("is_free and", 12, "expected a field"),
        ("type = 'game", 8, "this quote has no end"),
        ("type ! game", 6, "no such sign here"),
        ("is_free; DROP TABLE reviews", 1, "no such field"),
        ("genre = 'a\0b'", 9, "expected a word"),
    ],
)
def test_an_error_names_the_place_the_fields_and_an_example(text: str, place: int, what: str) -> None:
    """Whoever reads it can write the next one."""
    with pytest.raises(WrongFilter) as caught:
        read_filter(text)
    message = str(caught.value)
    assert re.match(rf"The filter is wrong at character {place}, .*: {re.escape(what)}", message), message
    assert all(name in message for name in KINDS)
    assert message.endswith(EXAMPLE)


def test_the_example_is_a_filter() -> None:
    """Whoever copies it gets an answer."""
    assert isinstance(read_filter(EXAMPLE), AllOf)


@pytest.mark.parametrize(
    "text",
    ["(" * 10_000 + ")" * 10_000, "not " * 300 + "is_free", "(" * 900 + "is_free", "type = '" + "x" * 1_000_000],
    ids=["parentheses", "not", "unclosed", "megabyte"],
)
def test_what_is_too_deep_or_too_long_is_refused_at_once(text: str) -> None:
    """No recursion error, and no megabyte in the message."""
    with pytest.raises(WrongFilter, match=f"at most {LONGEST_FILTER:,}|more than {DEEPEST_FILTER}") as caught:
        read_filter(text)
    assert len(str(caught.value)) < 500


def test_as_much_as_a_person_writes_is_understood() -> None:
    """Up to the limits, which a thousand words and fifty parentheses do not reach."""
    assert read_filter("(" * DEEPEST_FILTER + "is_free" + ")" * DEEPEST_FILTER) == FREE
    many = " or ".join(["is_free"] * 180)
    assert len(many) < LONGEST_FILTER
    assert read_filter(many) == AnyOf((FREE,) * 180)


def test_what_a_terminal_would_obey_is_quoted_in_the_error() -> None:
    """An escape sequence in a filter is shown, not sent."""
    with pytest.raises(WrongFilter) as caught:
        read_filter("type = game \x1b[31m")
    assert str(caught.value).isprintable()


SIGNS = ("=", "!=", "<", ">=", "(", ")", ",", "'", '"', ";", "--", "\0")
WORDS = [*KINDS, *SIGNS, "and", "or", "not", "in", "2015", "x"]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)))
def test_anything_else_is_one_error(text: str) -> None:
    """Whatever is written, it is a filter or a WrongFilter."""
    with suppress(WrongFilter):
        assert read_filter(text)

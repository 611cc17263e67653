"""A value is what its column's type says, or its row is refused with the reason."""

from decimal import Decimal

import pytest

from steam_assets.store.values import BadValue, NotADate, converter, whole_number_text

LABELS = ("game", "dlc")
GOOD: list[tuple[str, object, str]] = [
    ("bigint", "88.0", "88"),
    ("bigint", " 42 ", "42"),
    ("bigint", "76561198000000001", "76561198000000001"),
    ("bigint", 76561198000000001, "76561198000000001"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("integer", Decimal("7.0"), "7"),
    ("boolean", "True", "t"),
    ("boolean", "False", "f"),
    ("boolean", False, "f"),
    ("boolean", "1.0", "t"),
    ("numeric(10,8)", "0.523809552192687988", "0.523809552192687988"),
    ("numeric(10,8)", 0, "0"),
    ("double precision", "1e3", "1000.0"),
    ("date", "1 May, 2003", "2003-05-01"),
    ("date", "Nov 1, 2000", "2000-11-01"),
    ("date", "15 Sept 2009", "2009-09-15"),
    ("date", "2003-05-01", "2003-05-01"),
    ("date", "2003-05-01T12:00:00Z", "2003-05-01"),
    ("date", "{'coming_soon': False, 'date': 'Nov 1, 2000'}", "2000-11-01"),
    ("date", {"coming_soon": False, "date": "1 Nov, 2000"}, "2000-11-01"),
    ("timestamp with time zone", "2025-09-07 13:15:33.123456+00:00", "2025-09-07 13:15:33.123456+00:00"),
    ("timestamp with time zone", "2025-09-07 15:15:33+02:00", "2025-09-07 13:15:33+00:00"),
    ("timestamp with time zone", "2025-09-07", "2025-09-07 00:00:00+00:00"),
    ("timestamp without time zone", "2025-09-07 15:15:33+02:00", "2025-09-07 13:15:33"),
    ("jsonb", '{"a": 1}', '{"a": 1}'),
    ("jsonb", {"a": [Decimal("1.5"), "é"]}, '{"a": [1.5, "é"]}'),
    ("text", 17, "17"),
    ("text", ["English", "French"], '["English", "French"]'),
    ("text", "\ttabs\\ and\r\nlines 🐱", "\ttabs\\ and\r\nlines 🐱"),
    ("character varying(4)", "four", "four"),
]
BAD: list[tuple[str, object, str]] = [
    ("bigint", "88.5", "whole number"),
    ("bigint", "9223372036854775808", "expected -9223372036854775808 to 9223372036854775807"),
    ("bigint", "9" * 5_000, "whole number"),
    ("bigint", True, "whole number"),
    ("bigint", "1e5", "whole number"),
    ("bigint", "٣", "whole number"),
    ("integer", "2147483648", "2147483647"),
    ("smallint", "40000", "32767"),
    ("boolean", "maybe", "true or false"),
    ("numeric(10,8)", "123.4", "less than 10"),
    ("numeric", "NaN", "expected a number"),
    ("double precision", "1e999", "too large"),
    ("timestamp with time zone", "yesterday", "expected a time"),
    ("jsonb", "{'a': 1}", "expected JSON"),
    ("jsonb", "[" * 100_000, "expected JSON"),
    ("text", "nul\0byte", "NUL"),
    ("text", "caf\udce9", "byte 0xE9 at character 4"),
    ("text", "\ud83d", "half a surrogate pair"),
    ("character varying(4)", "five5", "5 characters; the column holds 4"),
]


@pytest.mark.parametrize(("column_type", "value", "expected"), GOOD)
def test_a_value_is_written_as_its_type_wants_it(column_type: str, value: object, expected: str) -> None:
    """However pandas, JSON or a person wrote it down."""
    convert = converter(column_type)
    assert convert is not None
    assert convert(value) == expected


@pytest.mark.parametrize(("column_type", "value", "reason"), BAD)
def test_a_value_that_does_not_fit_is_refused_with_its_reason(column_type: str, value: object, reason: str) -> None:
    """Before the server sees it, so that it costs its row and not the chunk."""
    convert = converter(column_type)
    assert convert is not None
    with pytest.raises(BadValue, match=reason) as refused:
        convert(value)
    assert len(str(refused.value)) < 150


@pytest.mark.parametrize("value", ["Coming soon", "2003", "May 2003", "Q3 2026", "31 Feb, 2020", "", "5 Foo, 2001"])
def test_what_names_no_day_is_no_date(value: str) -> None:
    """Days are not invented: a month or a year alone is not the first of it."""
    convert = converter("date")
    assert convert is not None
    with pytest.raises(NotADate):
        convert(value)


def test_an_enum_takes_its_labels_in_any_case() -> None:
    """And refuses others with the list of those it has."""
    convert = converter("app_type", LABELS)
    assert convert is not None
    assert convert("Game") == "game"
    with pytest.raises(BadValue, match=r"'hardware'; expected one of game, dlc"):
        convert("hardware")


def test_a_text_id_that_pandas_made_a_float_is_mended() -> None:
    """12345.0 and 12345 are one review; other texts stay as they are."""
    assert [whole_number_text(value) for value in ("12345.0", 12345, "a.0", "1.5", "007")] == [
        "12345",
        "12345",
        "a.0",
        "1.5",
        "007",
    ]


def test_types_that_files_do_not_fill_have_no_conversion() -> None:
    """Vectors are written by embedding alone."""
    assert converter("vector(384)") is None

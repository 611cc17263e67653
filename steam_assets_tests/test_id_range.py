"""Id ranges and their partition keys."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_assets.id_range import BOUND_BYTES, EVERYTHING, BadPartitionKey, IdRange, encode_bound

INT64 = st.integers(min_value=-(2**63), max_value=2**63)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=55).filter(
    lambda text: len(encode_bound(text)) <= BOUND_BYTES
)
ODD_TEXT = st.text(st.sampled_from(" '\":%~./\\?#&+_-é日🎮\n\t"), max_size=40)


@given(st.none() | INT64, st.none() | INT64)
def test_every_integer_range_survives_its_key(start: int | None, stop: int | None) -> None:
    """Negative and 64-bit ids too."""
    if start is not None and stop is not None and start >= stop:
        return
    id_range = IdRange(start, stop)
    assert IdRange.from_key(id_range.key, "bigint") == id_range


@given(st.none() | TEXT | ODD_TEXT, st.none() | TEXT | ODD_TEXT)
def test_every_text_range_survives_its_key(start: str | None, stop: str | None) -> None:
    """Spaces, quotes, colons, percents, tildes and emoji too."""
    if start is not None and start == stop:
        return
    id_range = IdRange(start, stop)
    assert IdRange.from_key(id_range.key, "text") == id_range


@given(st.none() | TEXT | ODD_TEXT | INT64)
def test_a_key_holds_nothing_that_a_url_or_dagster_would_read_otherwise(bound: int | str | None) -> None:
    """Dagster splits keys at some characters and puts them into addresses."""
    key = IdRange(bound, None).key
    assert re.fullmatch(r"[A-Za-z0-9_~%:-]+", key)
    assert key.count(":") == 1


@pytest.mark.parametrize(
    ("id_range", "key"),
    [
        (EVERYTHING, "~:~"),
        (IdRange(None, 70), "~:000000000070"),
        (IdRange(-70, 2**62), "-000000000070:4611686018427387904"),
        (IdRange("a b", "~"), "a%20b:%7E"),
        (IdRange("", "10.5"), ":10%2E5"),
    ],
)
def test_keys_are_written_as_documented(id_range: IdRange, key: str) -> None:
    """They are stored in Dagster's tables for good."""
    assert id_range.key == key


@pytest.mark.parametrize(
    "key",
    [
        *("", ":", "70:90", "000000000070", "000000000070:000000000090:~", "000000000090:000000000070", "a:b"),
        *("1_0:~", "000000000070 : ~", "../etc:~", "+00000000070:~", "٣٣٣٣٣٣٣٣٣٣٣٣:~", "0" * 1001 + ":~", "~:~\n"),
    ],
)
def test_a_key_that_no_integer_range_has_is_refused(key: str) -> None:
    """Dagster accepts any string as a partition; we do not."""
    with pytest.raises(BadPartitionKey):
        IdRange.from_key(key, "bigint")


@pytest.mark.parametrize("key", ["a b:~", "%2e:~", "%FF:~", "a.b:~", "é:~", "%zz:~", "~a:~", "~", "a:a"])
def test_a_key_that_no_text_range_has_is_refused(key: str) -> None:
    """Two spellings of one range would be two partitions of the same rows."""
    with pytest.raises(BadPartitionKey):
        IdRange.from_key(key, "text")


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (6, 5), ("a", "a"), (1, "a"), ("a", 1)])
def test_a_range_without_room_or_of_two_types_cannot_exist(start: int | str, stop: int | str) -> None:
    """The stop is not part of a range, so equal ends leave nothing."""
    with pytest.raises(BadPartitionKey):
        IdRange(start, stop)


def test_ends_of_text_are_not_compared_here() -> None:
    """Only the column's collation knows which comes first."""
    assert IdRange("b", "B").key == "b:B"

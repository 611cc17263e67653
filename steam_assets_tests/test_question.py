"""A question is checked before anything is read."""

import pytest

from steam_assets.search import SearchError
from steam_assets.search.question import Question, check_text, check_vector


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"k": 0}, "0 hits were asked for; expected 1 to 1,000"),
        ({"k": 10_000_000}, "10,000,000 hits were asked for; expected 1 to 1,000"),
        ({"k": 5, "per_group": 0}, "0 hits of each game"),
    ],
)
def test_numbers_have_bounds(values: dict[str, int], what: str) -> None:
    """What was found, and what was expected."""
    with pytest.raises(SearchError, match=what):
        Question(k=values["k"], per_group=values.get("per_group"))


def test_a_blank_filter_is_none() -> None:
    """Programs hand on what a person left empty."""
    assert Question(where=" \n").where is None
    assert Question(where="is_free").where == "is_free"


def test_words_are_words() -> None:
    """One is enough, in any script."""
    for text in ("a", "农", "🎮", "a\0"):
        check_text(text)
    for text in ("", "\0", "\u3000"):
        with pytest.raises(SearchError, match="blank"):
            check_text(text)


def test_a_vector_has_a_direction() -> None:
    """And as many numbers as those it is compared with."""
    check_vector([0.0, 1.0], 2)
    for vector in ([0.0, 0.0], [float("inf"), 1.0], [1.0]):
        with pytest.raises(SearchError, match=r"expected (finite numbers|2, as)"):
            check_vector(vector, 2)

"""What happens to a text before it is encoded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_assets.encoder.preparation import UnknownPreparation, find_preparation


@given(st.text())
def test_plain_leaves_every_text_as_it_is(text: str) -> None:
    """Not even white space or markup is touched."""
    assert find_preparation("plain").prepare(text) == text


def test_a_preparation_names_its_version() -> None:
    """The label is what a recipe stores."""
    assert str(find_preparation("plain")) == "plain@1"


def test_an_unknown_preparation_is_refused_with_the_known_ones() -> None:
    """The message says what was found and what is expected."""
    with pytest.raises(UnknownPreparation, match=r"'html' is no preparation; expected one of: plain"):
        find_preparation("html")

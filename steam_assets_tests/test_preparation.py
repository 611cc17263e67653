"""What happens to a text before it is encoded."""

import subprocess
import sys

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
    assert str(find_preparation("steam_html")) == "steam_html@1"


def test_steam_html_is_found_by_its_name() -> None:
    """The registry's entry prepares as the function does."""
    assert find_preparation("steam_html").prepare("<p>Tea &amp; [b]toast[/b]</p>") == "Tea & toast"


def test_naming_a_preparation_loads_no_parser() -> None:
    """Definitions name preparations whenever they load; the parser waits for the first text with markup."""
    code = (
        "import sys; from steam_assets.encoder.preparation import find_preparation as f; "
        "loaded = lambda: 'turbohtml' in sys.modules; before = loaded(); "
        "f('steam_html').prepare('no markup'); plain = loaded(); "
        "f('steam_html').prepare('<p>'); print(before, plain, loaded())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


def test_an_unknown_preparation_is_refused_with_the_known_ones() -> None:
    """The message says what was found and what is expected."""
    with pytest.raises(UnknownPreparation, match=r"'html' is no preparation; expected one of: plain, steam_html"):
        find_preparation("html")

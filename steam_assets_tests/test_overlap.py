"""What a long description shares with the short one is taken out of it, and the rest stays as it was."""

import pytest

from steam_assets.evaluation.overlap import without_phrases

CASES = {
    "a whole sentence": (
        "About it. Grow turnips on a small farm with friends! And more.",
        "Grow turnips on a small farm with friends.",
        "About it. ! And more.",
    ),
    "with markup in it": (
        "<p>Grow <b>turnips</b> on a small farm with friends</p> Now.",
        "Grow turnips on a small farm with friends",
        "<p></p> Now.",
    ),
    "a phrase of a sentence that goes on otherwise": (
        "Become the blade, as he jumps through a world of ice and snow.",
        "A hero who jumps through a world of ice and sand!",
        "Become the blade, as he  snow.",
    ),
    "a short sentence": ("Plant. Build your farm. Sell.", "Huge world. Build your farm.", "Plant. . Sell."),
    "two words are no sentence": ("Build farms. Sell.", "Build farms.", "Build farms. Sell."),
    "five words of a longer sentence stay": (
        "We live on a farm.",
        "Once we live on a farm by the sea",
        "We live on a farm.",
    ),
    "a script without spaces": (
        "これは、友達と一緒に農場を作るゲームです。他",
        "友達と一緒に農場を作るゲームです",
        "これは、。他",
    ),
    "a few characters of it stay": ("友達と一緒に作る。", "友達と一緒に農場を作るゲームです", "友達と一緒に作る。"),
    "nothing in common": ("Lay tracks.", "Grow turnips on a small farm with friends.", "Lay tracks."),
    "no document": ("", "Grow turnips on a small farm with friends.", ""),
    "no short description": ("Lay tracks.", "", "Lay tracks."),
    "the same text": ("A game about growing turnips with friends", "A game about growing turnips with friends", ""),
}


@pytest.mark.parametrize(("document", "shown", "expected"), CASES.values(), ids=CASES)
def test_shared_phrases_are_taken_out(document: str, shown: str, expected: str) -> None:
    """Whatever their punctuation, case and markup."""
    assert without_phrases(document, shown) == expected

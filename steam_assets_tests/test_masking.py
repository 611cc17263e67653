"""The name of a game is masked in its description in every form in which descriptions have it, and little else is."""

import pytest

from steam_assets.evaluation.masking import without_name

CASES = {
    "with a subtitle": (
        "Shovel Knight: Treasure Trove is the complete edition of Shovel Knight.",
        "Shovel Knight: Treasure Trove",
        "… is the complete edition of ….",
    ),
    "in another case": ("In PORTAL you think with portals.", "Portal", "In … you think with …."),
    "a Roman number for an Arabic one": ("Portal™ 2 is for 2 players.", "Portal II", "… is for 2 players."),
    "an Arabic number for a Roman one": ("Welcome to Civilization VI.", "Civilization 6", "Welcome to …."),
    "without its accents": ("Pokemon go out.", "Pokémon", "… go out."),
    "with an ending": ("Knights of all lands", "Knight", "… of all lands"),
    "with a Russian ending": (
        "Для Сталкера.",
        "Сталкер",
        "Для ….",
    ),
    "its initials": ("GTA is back. Grand Theft Auto rules.", "Grand Theft Auto V", "… is back. … rules."),
    "short words only in a row": ("Day of Defeat: one day of war", "Day of Defeat", "…: one day of war"),
    "a short name only as it is written": ("ARK: build an ark", "ARK", "…: build an ark"),
    "inside a script without spaces": (
        "東方の物語で遊ぶ",
        "東方の物語",
        "…で遊ぶ",
    ),
    "words that every description has stay": (
        "This is the game with your friends",
        "The Game",
        "This is … with your friends",
    ),
    "a part of it and its number": ("Arena 3 is for 3 players.", "Masters of the Arena III", "… is for 3 players."),
    "a longer word that begins so stays": ("A starship for stars.", "Star", "A starship for …."),
    "not there": ("A quiet walk.", "Doom", "A quiet walk."),
    "no name": ("A quiet walk.", "", "A quiet walk."),
    "a name without letters": ("A quiet walk.", "!!! - ???", "A quiet walk."),
    "no text": ("", "Doom", ""),
}


@pytest.mark.parametrize(("text", "name", "expected"), CASES.values(), ids=CASES)
def test_a_name_is_masked(text: str, name: str, expected: str) -> None:
    """Each stretch of it by one sign."""
    assert without_name(text, name) == expected


def test_a_masked_text_is_masked_again_to_itself() -> None:
    """Nothing of the name is left that a second pass would find."""
    for text, name, _ in CASES.values():
        once = without_name(text, name)
        assert without_name(once, name) == once

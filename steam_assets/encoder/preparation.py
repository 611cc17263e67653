"""What happens to a text before the model reads it. Each preparation is versioned: its label is part of the recipe."""

from collections.abc import Callable
from dataclasses import dataclass

from steam_assets.encoder.steam_html import steam_html
from steam_assets.errors import SteamAssetsError


class UnknownPreparation(SteamAssetsError):
    """A preparation that no entry of PREPARATIONS has."""


@dataclass(frozen=True)
class Preparation:
    """A named way to prepare a text; raise ``version`` whenever ``prepare`` gives another text for the same source."""

    name: str
    version: int
    prepare: Callable[[str], str]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def plain(text: str) -> str:
    """The text as it is stored."""
    return text


PREPARATIONS = {
    preparation.name: preparation
    for preparation in (Preparation("plain", 1, plain), Preparation("steam_html", 1, steam_html))
}


def find_recorded(label: object) -> Preparation:
    """The preparation that a recipe calls ``label``, like "plain@1"; raises UnknownPreparation when it is no more."""
    for preparation in PREPARATIONS.values():
        if str(preparation) == label:
            return preparation
    known = ", ".join(map(str, PREPARATIONS.values()))
    raise UnknownPreparation(
        f"Texts were prepared by {label!r}, which is not here; expected one of: {known}. "
        "Embed the column again with `steam-assets embed COLUMN --model NAME`."
    )


def find_preparation(name: str) -> Preparation:
    """The preparation called ``name``; raises UnknownPreparation."""
    if name not in PREPARATIONS:
        raise UnknownPreparation(
            f"{name!r} is no preparation; expected one of: {', '.join(PREPARATIONS)}. "
            "Correct TextColumn.preparation in columns.py, or add the preparation to encoder/preparation.py."
        )
    return PREPARATIONS[name]

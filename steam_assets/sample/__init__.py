"""A believable catalogue of games that do not exist, the same on every machine. Its words are in sample_*.py."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steam_assets.sample.dice import Dice
from steam_assets.sample.pages import Row, write_name, write_page
from steam_assets.sample.reviews import write_review
from steam_assets.sample.themes import Theme, themes

APPLICATION_COUNT = 2_000
REVIEW_COUNT = 6_000
DENSE_COUNT = 400
SEED = 2_025


@dataclass(frozen=True)
class SampleApplication:
    """A row of applications and the theme it was made from."""

    appid: int
    name: str
    theme: Theme
    row: Row


def applications(count: int = APPLICATION_COUNT) -> Iterator[Row]:
    """Store pages by ascending id; some have only a name."""
    return (application.row for application in catalogue(count))


def reviews(count: int = REVIEW_COUNT, application_count: int = APPLICATION_COUNT) -> Iterator[Row]:
    """Reviews of ``applications(application_count)``: most games get few, a few get many."""
    games = [game for game in catalogue(application_count) if "short_description" in game.row]
    dice = Dice(SEED + 1)
    recommendation = 20_000
    for _ in range(count):
        # Sparse as the real ids are, and of five to nine digits: as text they sort in another order.
        recommendation += dice.between(1, 60) if dice.chance(60) else dice.between(1_000, 75_000)
        game = games[dice.below(dice.below(len(games)) + 1)]
        text = write_review(dice, game.theme, game.name)
        yield {"recommendationid": str(recommendation), "appid": game.appid, **text}


def catalogue(count: int = APPLICATION_COUNT) -> Iterator[SampleApplication]:
    """The applications with their themes, by ascending id."""
    dice = Dice(SEED)
    every_theme = themes()
    taken: set[str] = set()
    appid = 0
    for number in range(count):
        # Multiples of ten, as uneven as the real ones: a fifth of the rows has the lowest hundredth of the ids.
        appid += 10 * dice.between(1, 9 if number < DENSE_COUNT else 400)
        theme = dice.one(every_theme)
        name = write_name(dice, theme)
        while name in taken:
            name = write_name(dice, theme)
        taken.add(name)
        row: Row = {"appid": appid, "name": name}
        # Pages that were taken down keep their name.
        if not dice.chance(6):
            row.update(write_page(dice, theme, name, appid))
        yield SampleApplication(appid, name, theme, row)


def write_sample(
    directory: Path, application_count: int = APPLICATION_COUNT, review_count: int = REVIEW_COUNT
) -> tuple[Path, Path]:
    """Write both tables into a directory, as JSONL that store/load.py reads; the paths of applications and reviews."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / "applications.jsonl.gz", directory / "reviews.jsonl.gz"
    tables = applications(application_count), reviews(review_count, application_count)
    for path, rows in zip(paths, tables, strict=True):
        # No name and no time in the header, so that the same rows give the same bytes.
        with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            for row in rows:
                packed.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return paths

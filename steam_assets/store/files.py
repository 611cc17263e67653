"""Which files there are to load, and the table each one fits by its header. Reading their rows is records.py."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

from steam_assets.errors import SteamAssetsError

Format = Literal["csv", "jsonl"]
Place = tuple[Path, str | None, Format]


class UnknownFile(SteamAssetsError):
    """A file that fits none of the tables that can be loaded."""


class UnreadableFile(SteamAssetsError):
    """A file that is not there, is cut off, or is not in a format or an encoding that is read."""


@dataclass(frozen=True)
class PublishedTable:
    """A table of the published package; a file of it has all of ``key`` and at least one of ``text``."""

    name: str
    key: tuple[str, ...]
    text: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f" and {' or '.join(self.text)}" if self.text else ""
        return f"{self.name} ({', '.join(self.key)}{text})"


LOOKUPS = tuple(
    PublishedTable(name, ("id",), ("name",))
    for name in ("genres", "categories", "developers", "publishers", "platforms")
)
# In the order of foreign keys: a table comes after those it refers to.
PUBLISHED_TABLES: tuple[PublishedTable, ...] = (
    *LOOKUPS,
    PublishedTable("applications", ("appid",), ("name", "short_description", "about_the_game")),
    PublishedTable("application_genres", ("appid", "genre_id")),
    PublishedTable("application_categories", ("appid", "category_id")),
    PublishedTable("application_developers", ("appid", "developer_id")),
    PublishedTable("application_publishers", ("appid", "publisher_id")),
    PublishedTable("application_platforms", ("appid", "platform_id")),
    PublishedTable("reviews", ("recommendationid",), ("review_text",)),
)
TABLE_NAMES = tuple(table.name for table in PUBLISHED_TABLES)

# What other publications of the same data call these tables and columns.
TABLE_ALIASES = {"games": "applications", "apps": "applications"}
COLUMN_ALIASES = {
    "app_id": "appid",
    "review_id": "recommendationid",
    "recommendation_id": "recommendationid",
    "review": "review_text",
    "timestamp": "timestamp_created",
    "recommended": "voted_up",
    "steamid": "author_steamid",
    "num_games_owned": "author_num_games_owned",
    "num_reviews": "author_num_reviews",
    "playtime_forever": "author_playtime_forever",
    "playtime_last_two_weeks": "author_playtime_last_two_weeks",
    "playtime_at_review": "author_playtime_at_review",
    "last_played": "author_last_played",
}


@dataclass(frozen=True)
class InputFile:
    """A file, or a member of a zip, and the table its rows go to."""

    path: Path
    member: str | None
    table: str
    format: Format

    @property
    def label(self) -> str:
        """The name people know it by: reviews.csv, or package.zip/reviews.csv."""
        return self.path.name if self.member is None else f"{self.path.name}/{self.member}"


def find_files(paths: Iterable[Path | str], as_table: str | None = None) -> list[InputFile]:
    """The files to load from files, folders and zips, each with its table, in the order of foreign keys.

    ``as_table`` says the table where the header would not; it must still have that table's key and text.
    Raises UnknownFile for a file that fits no table, UnreadableFile for one that cannot be opened.
    """
    from steam_assets.store.records import read_header

    wanted = None if as_table is None else named_table(as_table)
    found: dict[tuple[Path, str | None], InputFile] = {}
    for path, member, file_format in _places(Path(given).expanduser() for given in paths):
        untyped = InputFile(path, member, "", file_format)
        columns = read_header(untyped)
        table = fitting_table(untyped.label, columns, wanted)
        found[path, member] = InputFile(path, member, table.name, file_format)
    return sorted(found.values(), key=lambda file: TABLE_NAMES.index(file.table))


def named_table(name: str) -> PublishedTable:
    """The table of this name or of one that other publications use: steam_games -> applications."""
    plain = name.lower().removeprefix("steam_")
    plain = TABLE_ALIASES.get(plain, plain)
    for table in PUBLISHED_TABLES:
        if table.name == plain:
            return table
    raise UnknownFile(f"{name!r} is not a table that files load into; expected one of: {', '.join(TABLE_NAMES)}.")


def fitting_table(label: str, columns: Sequence[str], wanted: PublishedTable | None = None) -> PublishedTable:
    """The table whose key and text the columns hold; between the lookup tables, which look alike, the name decides."""
    present = set(columns)
    # The last one that fits refers to the others: a file of reviews holds appid too.
    fits = [table for table in PUBLISHED_TABLES if present.issuperset(table.key)]
    table = wanted or (fits[-1] if fits else None)
    if wanted is None and table in LOOKUPS:
        words = set(re.split(r"[^a-z]+", label.lower()))
        table = next((lookup for lookup in LOOKUPS if lookup.name in words), None)
    missing = () if table is None else [name for name in table.key if name not in present]
    if table is None or missing or (table.text and present.isdisjoint(table.text)):
        shown = ", ".join(columns[:40]) or "none"
        expected = str(table) if table else "; ".join(map(str, PUBLISHED_TABLES))
        raise UnknownFile(
            f"{label} fits no table. Columns found: {shown}. Expected: {expected}. "
            f"Rename its columns, or say which table it is with --as {table.name if table else 'genres'}."
        )
    return table


def column_names(written: Sequence[str]) -> dict[str, str]:
    """What a file calls its columns -> what the tables call them: App ID -> appid, author.steamid -> author_steamid.

    Where two would mean the same column, the later one keeps the name it was written with.
    """
    names = {name: re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") or name for name in written}
    taken = set(names.values())
    result: dict[str, str] = {}
    for name, plain in names.items():
        target = COLUMN_ALIASES.get(plain, plain)
        if target != plain and target in taken:
            target = name
        result[name] = name if target in result.values() else target
        taken.add(target)
    return result


def _places(paths: Iterable[Path]) -> Iterator[Place]:
    for path in paths:
        if path.is_dir():
            inside = [
                entry for entry in sorted(path.rglob("*")) if entry.is_file() and not _hidden(entry.relative_to(path))
            ]
            places: list[Place] = [(entry, None, found) for entry in inside if (found := _format(entry.name))]
            if not places:
                raise UnknownFile(f"{path} holds no .csv or .jsonl file (plain or .gz).")
            yield from places
        elif not path.exists():
            raise UnreadableFile(f"{path} is not there; give a file, a folder or a zip of the published package.")
        elif path.suffix.lower() == ".zip":
            yield from _members(path)
        elif file_format := _format(path.name):
            yield path, None, file_format
        else:
            raise UnknownFile(f"{path.name}: expected .csv, .jsonl (both also .gz), a folder or a .zip.")


def _members(path: Path) -> list[Place]:
    try:
        with ZipFile(path) as archive:
            names = sorted(archive.namelist())
    except (BadZipFile, OSError) as error:
        raise UnreadableFile(f"{path.name} cannot be read as a zip: {error}") from None
    members: list[Place] = [
        (path, name, found) for name in names if (found := _format(name)) and not _hidden(Path(name))
    ]
    if not members:
        raise UnknownFile(f"{path.name} holds no .csv or .jsonl file.")
    return members


def _hidden(path: Path) -> bool:
    # __MACOSX/._reviews.csv is what macOS adds to a zip.
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _format(name: str) -> Format | None:
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    if suffix == ".csv":
        return "csv"
    return "jsonl" if suffix in (".jsonl", ".ndjson") else None

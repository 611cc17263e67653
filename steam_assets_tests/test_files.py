"""Which table a file is for, by its header, wherever the file lies."""

import gzip
import zipfile
from pathlib import Path

import pytest

from steam_assets.store.files import TABLE_NAMES, UnknownFile, UnreadableFile, column_names, find_files

GAMES = "appid,name,short_description\n10,Ten,A game\n"
REVIEWS = "recommendationid,appid,review_text\n7,10,Good\n"
LOOKUP = "id,name\n1,Action\n"
JUNCTION = "appid,genre_id\n10,1\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder as the published package is: twelve CSVs, a manifest and a README."""
    folder = tmp_path / "steam_dataset_2025_csv"
    folder.mkdir()
    headers = {"applications": GAMES, "reviews": REVIEWS}
    for name in TABLE_NAMES:
        column = {"categories": "category_id"}.get(name.partition("_")[2], name.partition("_")[2][:-1] + "_id")
        default = f"appid,{column}\n10,1\n" if name.startswith("application_") else LOOKUP
        (folder / f"{name}.csv").write_text(headers.get(name, default))
    (folder / "MANIFEST.json").write_text("{}")
    (folder / "README.md").write_text("# Steam")
    return folder


def test_a_folder_of_the_published_package_is_found_in_the_order_of_foreign_keys(package: Path) -> None:
    """Twelve CSVs whatever the order on disk; manifest and README are not data."""
    assert [file.table for file in find_files([package])] == list(TABLE_NAMES)


def test_a_zip_is_read_as_the_folder_in_it_is(package: Path, tmp_path: Path) -> None:
    """The package need not be unpacked, and what macOS adds to a zip is no table."""
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(package.iterdir()):
            target.write(path, f"{package.name}/{path.name}")
        target.writestr("__MACOSX/._reviews.csv", "rubbish")
    found = find_files([archive])
    assert [file.table for file in found] == list(TABLE_NAMES)
    assert found[-1].label == "package.zip/steam_dataset_2025_csv/reviews.csv"


def test_the_header_decides_and_not_the_name_of_the_file(tmp_path: Path) -> None:
    """A file of reviews called games.csv is a file of reviews."""
    (tmp_path / "games.csv").write_text(REVIEWS)
    (tmp_path / "zzz.jsonl.gz").write_bytes(gzip.compress(b'{"appid": 10, "name": "Ten"}\n'))
    found = find_files([tmp_path / "games.csv", tmp_path / "zzz.jsonl.gz"])
    assert [(file.path.name, file.table) for file in found] == [
        ("zzz.jsonl.gz", "applications"),
        ("games.csv", "reviews"),
    ]


def test_jsonl_shows_its_table_by_the_keys_of_many_rows(tmp_path: Path) -> None:
    """A first row without a text does not hide that the others have one."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"recommendationid": "1", "appid": 10}\n\n{"recommendationid": "2", "review": "Good"}\n')
    assert find_files([path])[0].table == "reviews"


def test_lookup_tables_are_told_apart_by_the_name_of_the_file(tmp_path: Path) -> None:
    """Five tables have the header id,name; a name that says nothing asks for --as."""
    (tmp_path / "steam_genres.csv").write_text(LOOKUP)
    (tmp_path / "list.csv").write_text(LOOKUP)
    assert find_files([tmp_path / "steam_genres.csv"])[0].table == "genres"
    assert find_files([tmp_path / "list.csv"], as_table="publishers")[0].table == "publishers"
    with pytest.raises(UnknownFile, match=r"list\.csv fits no table.*--as genres"):
        find_files([tmp_path / "list.csv"])


@pytest.mark.parametrize("name", ["steam_games", "games", "applications", "Steam_Applications"])
def test_as_takes_the_names_other_publications_use(tmp_path: Path, name: str) -> None:
    """steam_games.csv of one publication is applications.csv of another."""
    (tmp_path / "rows.csv").write_text(GAMES)
    assert find_files([tmp_path / "rows.csv"], as_table=name)[0].table == "applications"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("appid,price\n1,2\n", "name or short_description or about_the_game"),
        ("name,short_description\na,b\n", "applications"),
        ("recommendationid,appid,name\n1,2,a\n", r"reviews \(recommendationid and review_text\)"),
    ],
)
def test_a_file_without_id_or_text_is_refused_with_what_was_found_and_expected(
    tmp_path: Path, text: str, missing: str
) -> None:
    """The message lists the columns of the file, so that the wrong name can be seen."""
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(UnknownFile, match=missing) as refused:
        find_files([path])
    assert text.partition("\n")[0].replace(",", ", ") in str(refused.value)


def test_as_does_not_make_a_table_of_a_file_that_lacks_its_key(tmp_path: Path) -> None:
    """Games loaded as reviews would be nonsense."""
    (tmp_path / "games.csv").write_text(GAMES)
    with pytest.raises(UnknownFile, match="recommendationid"):
        find_files([tmp_path / "games.csv"], as_table="reviews")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("empty.csv", b"", "empty.csv is empty"),
        ("empty.jsonl", b"\n\n", "no rows"),
        ("array.jsonl", b'[{"appid": 1}]\n', "one JSON object a line"),
        ("utf16.csv", GAMES.encode("utf-16"), "UTF-16"),
        ("mac.csv", GAMES.replace("\n", "\r").encode(), "CR alone"),
        ("twice.csv", b"appid,name,name\n1,a,b\n", "same name: name"),
        ("cut.csv.gz", gzip.compress(GAMES.encode() * 999)[:-40], "cannot be read to its end"),
        ("plain.csv.gz", GAMES.encode(), "cannot be read to its end"),
        ("broken.zip", b"PK\x03\x04 no zip", "cannot be read as a zip"),
        ("table.parquet", b"PAR1", r"expected \.csv, \.jsonl"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(tmp_path: Path, name: str, content: bytes, error: str) -> None:
    """One clear message for each, and never a traceback of a parser."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises((UnknownFile, UnreadableFile), match=error):
        find_files([tmp_path / name])


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A typing error in a path says so."""
    with pytest.raises(UnreadableFile, match=r"nowhere\.csv is not there"):
        find_files([tmp_path / "nowhere.csv"])


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    """Loading nothing is not success."""
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(UnknownFile, match=r"holds no \.csv or \.jsonl"):
        find_files([tmp_path])


def test_columns_are_known_by_other_names() -> None:
    """Names are compared without case, dots and spaces, then through the aliases."""
    assert column_names(["App ID", "author.steamid", "timestamp", "playtime_at_review", "About the game"]) == {
        "App ID": "appid",
        "author.steamid": "author_steamid",
        "timestamp": "timestamp_created",
        "playtime_at_review": "author_playtime_at_review",
        "About the game": "about_the_game",
    }


def test_two_names_of_one_column_do_not_overwrite_each_other() -> None:
    """The exact name wins; the alias stays an unknown column and is reported as ignored."""
    assert column_names(["review", "review_text"]) == {"review": "review", "review_text": "review_text"}
    assert sorted(column_names(["app_id", "App ID"]).values()) == ["App ID", "appid"]

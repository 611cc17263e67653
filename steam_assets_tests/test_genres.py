"""Genres that pages name reach the tables of genres, and live together with those of published files."""

import json
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.store.files import find_files
from steam_assets.store.genres import FIRST_OWN_ID
from steam_assets.store.load import LoadReport, load_files
from steam_assets_tests.databases import wait_until
from steam_assets_tests.indexed_rows import in_thread
from steam_assets_tests.rows import execute, fetch

PAGES = [
    {"appid": 10, "name": "Ten", "genres": ["Action", "RPG", "Action"]},
    {"appid": 20, "name": "Twenty", "genres": ["RPG", "action", " ", "Ação"]},
    {"appid": 30, "name": "Thirty"},
    {"appid": 40, "name": "Forty", "genres": None},
    {"appid": 50, "name": "Fifty", "genres": []},
]
NAMED = [(10, "Action"), (10, "RPG"), (20, "Ação"), (20, "RPG"), (20, "action")]


def load_pages(conn: connection, directory: Path, pages: list[dict[str, object]]) -> LoadReport:
    """Load applications from JSONL."""
    path = directory / "pages.jsonl"
    path.write_text("".join(json.dumps(page) + "\n" for page in pages))
    (report,) = load_files(conn, find_files([path]))
    return report


def load_published(conn: connection, directory: Path, genres: dict[int, str], of_pages: list[tuple[int, int]]) -> None:
    """Load the published files of genres; none of their rows is rejected."""
    (directory / "genres.csv").write_text("id,name\n" + "".join(f"{id_},{name}\n" for id_, name in genres.items()))
    lines = "".join(f"{appid},{genre}\n" for appid, genre in of_pages)
    (directory / "application_genres.csv").write_text("appid,genre_id\n" + lines)
    files = [directory / "genres.csv", directory / "application_genres.csv"]
    assert [report.rejected for report in load_files(conn, find_files(files))] == [0, 0]


def named(conn: connection) -> list[tuple[object, ...]]:
    """Which page has which genre, by name."""
    query = """
        SELECT link.appid, genre.name FROM application_genres AS link JOIN genres AS genre ON genre.id = link.genre_id
        ORDER BY link.appid, genre.name COLLATE "C"
    """
    return fetch(conn, query)


def by_name(conn: connection) -> dict[object, object]:
    """The id of each genre."""
    return dict(fetch(conn, "SELECT name, id FROM genres"))  # type: ignore[arg-type]


def test_genres_of_pages_are_loaded_once_and_a_second_load_changes_nothing(conn: connection, tmp_path: Path) -> None:
    """Names count exactly as they are written; a page without the key, or with nothing in it, has none."""
    report = load_pages(conn, tmp_path, PAGES)
    assert (report.inserted, report.genres, report.ignored_columns, report.warnings) == (5, 5, (), ())
    assert named(conn) == sorted(NAMED, key=lambda pair: (pair[0], pair[1].encode()))
    assert min(map(int, map(str, by_name(conn).values()))) == FIRST_OWN_ID
    rows = "SELECT xmin::text, ctid::text FROM genres UNION ALL SELECT xmin::text, ctid::text FROM application_genres"
    before = fetch(conn, rows)
    again = load_pages(conn, tmp_path, PAGES)
    assert (again.unchanged, again.genres) == (5, 0)
    assert fetch(conn, rows) == before


def test_published_genres_that_are_there_keep_their_ids(conn: connection, tmp_path: Path) -> None:
    """Pages find them by name, and new names get no id that a later published one could have."""
    load_pages(conn, tmp_path, [{"appid": 10, "name": "Ten"}])
    load_published(conn, tmp_path, {1: "Action", 154: "RPG"}, [(10, 1)])
    load_pages(conn, tmp_path, PAGES)
    assert by_name(conn) == {"Action": 1, "RPG": 154, "Ação": FIRST_OWN_ID, "action": FIRST_OWN_ID + 1}
    assert named(conn) == sorted(NAMED, key=lambda pair: (pair[0], pair[1].encode()))


def test_published_genres_that_come_later_take_over_by_name(conn: connection, tmp_path: Path) -> None:
    """Their ids replace ours, on every page; what they do not know stays, and loading either again changes nothing."""
    load_pages(conn, tmp_path, PAGES)
    for _ in range(2):
        load_published(conn, tmp_path, {1: "RPG", 2: "Action", 3: "Indie"}, [(10, 1), (30, 3)])
        assert {name: id_ for name, id_ in by_name(conn).items() if int(str(id_)) < FIRST_OWN_ID} == {
            "RPG": 1,
            "Action": 2,
            "Indie": 3,
        }
        assert named(conn) == sorted([*NAMED, (30, "Indie")], key=lambda pair: (pair[0], pair[1].encode()))
        assert load_pages(conn, tmp_path, PAGES).genres == 0
    assert len(by_name(conn)) == 5


def test_a_published_genre_renamed_to_a_name_of_ours_takes_it_over(conn: connection, tmp_path: Path) -> None:
    """Also where its id is there already, under another name."""
    load_pages(conn, tmp_path, PAGES)
    load_published(conn, tmp_path, {1: "Role-playing"}, [(10, 1)])
    load_published(conn, tmp_path, {1: "RPG"}, [])
    assert by_name(conn)["RPG"] == 1
    assert "Role-playing" not in by_name(conn)
    assert named(conn) == sorted(NAMED, key=lambda pair: (pair[0], pair[1].encode()))


def test_what_is_no_list_of_names_is_left_out_with_a_warning(conn: connection, tmp_path: Path) -> None:
    """The page itself is loaded; JSON has many shapes for a genre, and guessing would invent names."""
    odd = ["Action;RPG", {"id": 1}, [1], [["RPG"]], [{"description": "RPG"}], ["NUL\0byte"]]
    report = load_pages(conn, tmp_path, [{"appid": n, "name": "n", "genres": value} for n, value in enumerate(odd, 1)])
    assert (report.inserted, report.rejected, report.genres) == (6, 0, 0)
    assert report.warnings == ("genres: 6 values are no lists of names and were left out, first on line 1",)
    assert by_name(conn) == {}


def test_a_rejected_page_adds_no_genre(conn: connection, tmp_path: Path) -> None:
    """Neither one that is refused by us nor one that the server refuses; the others of the chunk keep theirs."""
    execute(conn, "ALTER TABLE applications ADD CONSTRAINT no_thirteen CHECK (required_age <> '13')")
    pages: list[dict[str, object]] = [
        {"appid": 1, "name": "n", "required_age": "13", "genres": ["Refused"]},
        {"appid": 2, "name": "n", "type": "no such type", "genres": ["Refused"]},
        {"appid": 3, "name": "n", "required_age": "12", "genres": ["Kept"]},
    ]
    report = load_pages(conn, tmp_path, pages)
    assert (report.rejected, report.genres) == (2, 1)
    assert named(conn) == [(3, "Kept")]
    assert list(by_name(conn)) == ["Kept"]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE application_genres, genres",
        "DROP TABLE application_genres",
        "ALTER TABLE application_genres DROP CONSTRAINT application_genres_pkey",
        "ALTER TABLE application_genres DROP CONSTRAINT application_genres_pkey, ADD UNIQUE (appid)",
    ],
)
def test_without_the_tables_and_their_key_the_column_is_ignored_and_reported(
    conn: connection, tmp_path: Path, statement: str
) -> None:
    """As in a database of the predecessor: the pages are loaded all the same."""
    execute(conn, statement)
    report = load_pages(conn, tmp_path, PAGES)
    assert (report.inserted, report.genres, report.ignored_columns) == (5, 0, ("genres",))


def test_a_key_under_another_name_and_in_another_order_is_one_too(conn: connection, tmp_path: Path) -> None:
    """A database of the predecessor has its own."""
    execute(
        conn,
        "ALTER TABLE application_genres DROP CONSTRAINT application_genres_pkey, ADD UNIQUE (genre_id, appid)",
    )
    assert load_pages(conn, tmp_path, PAGES).genres == 5


def test_a_genre_that_gets_its_published_number_meanwhile_is_looked_up_again(
    conn: connection, other_conn: connection, tmp_path: Path
) -> None:
    """Another load deletes ours while pages are written that name it."""
    load_pages(conn, tmp_path, [{"appid": 10, "name": "Ten", "genres": ["RPG"]}])
    twenty: dict[str, object] = {"appid": 20, "name": "Twenty", "genres": ["RPG"]}
    process = conn.info.backend_pid
    with other_conn.cursor() as other:
        other.execute("BEGIN; DELETE FROM genres")
        loading = in_thread(lambda: load_pages(conn, tmp_path, [twenty]))

        def waits() -> bool:
            other.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (process,))
            return other.fetchone() == (True,)

        wait_until(waits, "the pages wait for the genre")
        other.execute("INSERT INTO genres (id, name) VALUES (1, 'RPG'); COMMIT")
    assert loading.exception(60) is None
    assert (named(conn), by_name(conn)) == ([(20, "RPG")], {"RPG": 1})


def test_a_csv_of_pages_says_that_its_genres_are_ignored(conn: connection, tmp_path: Path) -> None:
    """There they are a text that each tool writes in its own way."""
    path = tmp_path / "applications.csv"
    path.write_text('appid,name,genres\n10,Ten,"Action;RPG"\n')
    (report,) = load_files(conn, find_files([path]))
    assert (report.ignored_columns, report.warnings, by_name(conn)) == (("genres",), (), {})

"""Files reach their tables: what is new is inserted, what differs is updated, what is wrong is named and kept out."""

import gzip
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import connect, find_database
from steam_assets.store.files import UnknownFile, UnreadableFile, find_files
from steam_assets.store.load import LoadProgress, LoadReport, load_file, load_files

REAL_ROWS = Path(__file__).resolve().parents[2] / "shared/data/steam"
REVIEW_HEADER = "recommendationid,appid,review_text,voted_up,weighted_vote_score,updated_at\n"
UPDATED_AT = "2025-09-07 13:15:33.123456+00:00"


@pytest.fixture
def games(conn: connection) -> list[int]:
    """Two applications that reviews can belong to."""
    with conn, conn.cursor() as cursor:
        cursor.execute(
            "INSERT INTO applications (appid, name_from_applist, name) VALUES (10, '', 'Ten'), (20, '', 'Twenty')"
        )
    return [10, 20]


def _load(conn: connection, path: Path, content: str | bytes | Sequence[Mapping[str, object]]) -> LoadReport:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, newline="")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    (report,) = load_files(conn, find_files([path]))
    assert report.read == (report.inserted + report.updated + report.unchanged + report.repeated + report.rejected), (
        "every row that was read is in one count"
    )
    return report


def _rows(conn: connection, query: str) -> list[tuple[object, ...]]:
    with conn, conn.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _rejects(report: LoadReport) -> list[tuple[int, str | None, str]]:
    assert report.rejects_file is not None
    rows = [json.loads(line) for line in Path(report.rejects_file).read_text().splitlines()]
    assert all(set(row) == {"line", "id", "reason"} for row in rows)
    return [(row["line"], row["id"], row["reason"]) for row in rows]


def test_a_published_row_arrives_with_every_trap_of_the_package_mended(
    conn: connection, games: list[int], tmp_path: Path
) -> None:
    """88.0 is an integer, True a boolean, nothing is NULL, and a quoted text keeps its lines."""
    text = 'first\r\nsecond ""line""\n\tand \\N, \\. and \\\\ as they are'
    report = _load(
        conn,
        tmp_path / "a.csv",
        REVIEW_HEADER + f'76561198000000001,10.0,"{text}",True,0.523809552192687988,{UPDATED_AT}\n2,20,,,,\n',
    )
    assert (report.table, report.read, report.inserted, report.rejects_file) == ("reviews", 2, 2, None)
    rows = _rows(
        conn,
        "SELECT recommendationid, appid, review_text, voted_up, weighted_vote_score::text, updated_at::text"
        " FROM reviews ORDER BY appid",
    )
    assert rows[0][:5] == ("76561198000000001", 10, text.replace('""', '"'), True, "0.52380955")
    assert str(rows[0][5]).startswith("2025-09-07 13:15:33.123456")
    assert rows[1] == ("2", 20, None, None, None, None)


def test_loading_the_same_file_twice_changes_nothing(conn: connection, games: list[int], tmp_path: Path) -> None:
    """Not a row is rewritten, also where one key comes twice: the row versions stay, and the report says unchanged."""
    content = REVIEW_HEADER + f"1,10,a,True,0.5,{UPDATED_AT}\n2,10,old,True,0.5,\n3,10,,,,\n2,20,new,False,,\n"
    first = _load(conn, tmp_path / "a.csv", content)
    before = _rows(conn, "SELECT xmin::text, xmax::text, ctid::text, r.* FROM reviews AS r ORDER BY recommendationid")
    second = _load(conn, tmp_path / "a.csv", content)
    assert (first.inserted, first.repeated) == (3, 1)
    assert (second.inserted, second.updated, second.unchanged, second.repeated) == (0, 0, 3, 1)
    assert (
        _rows(conn, "SELECT xmin::text, xmax::text, ctid::text, r.* FROM reviews AS r ORDER BY recommendationid")
        == before
    )
    assert ("2", 20, "new") in _rows(conn, "SELECT recommendationid, appid, review_text FROM reviews")


def test_the_last_row_of_a_key_wins_however_far_apart_they_are(
    conn: connection, games: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks do not hide a repetition from each other, nor do two ways to write a number."""
    monkeypatch.setattr("steam_assets.store.load.CHUNK_ROWS", 2)
    rows = [f"{number},10,text {number}\n" for number in range(9)]
    content = "recommendationid,appid,review_text\n" + "".join(rows) + "0,10,last\n3.0,10,last\n"
    for _ in range(2):
        report = _load(conn, tmp_path / "a.csv", content)
        assert report.repeated == 2
        texts = {row[0]: row[1] for row in _rows(conn, "SELECT recommendationid, review_text FROM reviews")}
        assert (texts["0"], texts["3"], texts["4"], len(texts)) == ("last", "last", "text 4", 9)
    assert report.unchanged == 9


def test_a_bad_row_is_named_and_the_rest_load(conn: connection, games: list[int], tmp_path: Path) -> None:
    """Each reject has its line, its id where that could be read, and what is wrong; nothing else of the row."""
    content = (
        b"recommendationid,appid,review_text,voted_up,author_num_reviews\n"
        b"1,10,good,True,1\n"
        b"2,ten,text,True,1\n"
        b"3,10,caf\xe9,True,1\n"
        b"4,10,nul\0byte,True,1\n"
        b"5,10,ragged\n"
        b"6,123,orphan,True,1\n"
        b",10,no id,True,1\n"
        b"7,,no app,True,1\n"
        b"8,10,bad flag,perhaps,1\n"
        b"9,10,personal,True,secret\n"
        b"10,20,good too,False,2.0\n"
    )
    report = _load(conn, tmp_path / "a.csv", content)
    assert (report.inserted, report.rejected) == (2, 9)
    assert sorted(_rejects(report)) == [
        (3, "2", "appid is 'ten'; expected a whole number"),
        (4, "3", "review_text is not UTF-8: byte 0xE9 at character 4"),
        (5, "4", "review_text holds a NUL byte, which PostgreSQL's text cannot"),
        (6, None, "3 fields where the header has 5"),
        (7, "6", "appid 123 is not in applications"),
        (8, None, "recommendationid is empty"),
        (9, "7", "appid is empty"),
        (10, "8", "voted_up is 'perhaps'; expected true or false"),
        (11, "9", "author_num_reviews does not fit the type bigint"),
    ]
    assert _rows(conn, "SELECT recommendationid FROM reviews ORDER BY 1") == [("1",), ("10",)]


def test_what_only_the_server_knows_costs_its_row_and_no_other(conn: connection, tmp_path: Path) -> None:
    """A constraint of the user's own is found row by row, and its message is the reason."""
    with conn, conn.cursor() as cursor:
        cursor.execute("ALTER TABLE applications ADD CONSTRAINT no_thirteen CHECK (required_age <> '13')")
    rows = [{"appid": number, "name": str(number), "required_age": str(number)} for number in range(1, 41)]
    report = _load(conn, tmp_path / "a.jsonl", rows)
    assert (report.inserted, report.rejected) == (39, 1)
    ((line, appid, reason),) = _rejects(report)
    assert (line, appid) == (13, "13")
    assert "no_thirteen" in reason


def test_columns_that_a_file_lacks_are_left_alone(conn: connection, tmp_path: Path) -> None:
    """A file of prices does not blank the descriptions; created_at and updated_at change with the file only."""
    _load(conn, tmp_path / "a.csv", "appid,name,short_description,about_the_game\n10,Ten,Short,About\n")
    before = _rows(conn, "SELECT created_at, updated_at, combined_text, name_from_applist, success FROM applications")
    report = _load(conn, tmp_path / "b.csv", "appid,name,mat_final_price\n10,Ten,499\n")
    assert report.updated == 1
    assert _rows(conn, "SELECT mat_final_price, about_the_game FROM applications") == [(499, "About")]
    after = _rows(conn, "SELECT created_at, updated_at, combined_text, name_from_applist, success FROM applications")
    assert after == before
    assert after[0][2:] == ("Ten Short About", "Ten", True)


def test_a_key_that_a_json_row_lacks_is_left_alone_and_null_is_null(conn: connection, tmp_path: Path) -> None:
    """Rows of one file may have different keys."""
    _load(conn, tmp_path / "a.jsonl", [{"appid": number, "name": "n", "background": "b"} for number in (10, 20, 30)])
    report = _load(
        conn, tmp_path / "a.jsonl", [{"appid": 10, "name": "x"}, {"appid": 20, "background": None}, {"appid": 30}]
    )
    assert (report.updated, report.unchanged) == (2, 1)
    assert _rows(conn, "SELECT appid, name, background FROM applications ORDER BY appid") == [
        (10, "x", "b"),
        (20, "n", None),
        (30, "n", "b"),
    ]


def test_generated_columns_vectors_and_unknown_columns_are_ignored_and_reported(
    conn: connection, tmp_path: Path
) -> None:
    """A vector comes from embedding alone, together with its run and digest."""
    row = {"appid": 10, "name": "Ten", "combined_text": "x", "description_embedding": [0.5], "embedding_run_id": 7}
    report = _load(
        conn, tmp_path / "a.jsonl", [{**row, "description_embedding_source_md5": "0" * 32, "tags": ["Action"]}]
    )
    assert report.ignored_columns == (
        "combined_text",
        "description_embedding",
        "description_embedding_source_md5",
        "embedding_run_id",
        "tags",
    )
    assert _rows(conn, "SELECT combined_text, description_embedding, embedding_run_id FROM applications") == [
        ("Ten  ", None, None)
    ]


def test_a_date_that_is_none_becomes_null_with_a_warning(conn: connection, tmp_path: Path) -> None:
    """A game that is coming soon is a game."""
    days = ["1 May, 2003", "Coming soon", None, "Q3 2026"]
    rows = [{"appid": number, "name": "n", "release_date": day} for number, day in enumerate(days, start=1)]
    report = _load(conn, tmp_path / "a.jsonl", rows)
    assert (report.inserted, report.rejected) == (4, 0)
    assert report.warnings == ("release_date: 2 values are no dates and became NULL, first on line 2: 'Coming soon'",)
    dates = _rows(conn, "SELECT release_date::text FROM applications ORDER BY appid")
    assert dates == [("2003-05-01",), (None,), (None,), (None,)]


def test_a_name_that_is_missing_is_filled_where_the_table_must_have_one(conn: connection, tmp_path: Path) -> None:
    """name_from_applist takes the name, or nothing; success is true; a value that is there stays."""
    content = "appid,name,name_from_applist,success\n10,Ten,,\n20,,,\n30,Thirty,Listed,False\n"
    _load(conn, tmp_path / "a.csv", content)
    _load(conn, tmp_path / "a.csv", "appid,name,name_from_applist,success\n30,Thirty,,\n")
    assert _rows(conn, "SELECT name_from_applist, success FROM applications ORDER BY appid") == [
        ("Ten", True),
        ("", True),
        ("Listed", False),
    ]


def test_the_published_package_loads_in_the_order_of_its_references(conn: connection, tmp_path: Path) -> None:
    """Reviews before applications on disk, lookups and junctions, an enum and a platform; then again, unchanged."""
    (tmp_path / "a_reviews.csv").write_text("recommendationid,appid,review_text\n1,10,Good\n")
    (tmp_path / "applications.csv").write_text("appid,name,type,is_free\n10,Ten,game,False\n20,Twenty,,\n")
    (tmp_path / "genres.csv").write_text("id,name\n1,Action\n2,Ação\n")
    (tmp_path / "platforms.csv").write_text("id,name\n1,windows\n2,beos\n")
    (tmp_path / "application_genres.csv").write_text("appid,genre_id\n10,1\n10,2\n20,9\n")
    first = {report.table: report for report in load_files(conn, find_files([tmp_path]))}
    assert {table: report.inserted for table, report in first.items()} == {
        "genres": 2,
        "platforms": 1,
        "applications": 2,
        "application_genres": 2,
        "reviews": 1,
    }
    assert _rejects(first["platforms"])[0][2] == "name is 'beos'; expected one of windows, mac, linux"
    assert _rejects(first["application_genres"]) == [(4, "20,9", "genre_id 9 is not in genres")]
    again = list(load_files(conn, find_files([tmp_path])))
    assert sum(report.inserted + report.updated for report in again) == 0


def test_the_predecessors_tables_take_the_same_files(predecessor_database_url: str, tmp_path: Path) -> None:
    """Columns are matched with what the table has: NOT NULL without defaults, vectors of 1024 numbers, all of it."""
    with closing(connect(find_database(predecessor_database_url))) as conn:
        vectors = "SELECT count(*), md5(string_agg(review_embedding::text, '' ORDER BY recommendationid)) FROM reviews"
        before = _rows(conn, vectors)
        report = _load(conn, tmp_path / "a.jsonl", [{"appid": 999_990, "name": "New", "release_date": "1 May, 2003"}])
        assert report.inserted == 1
        named = "SELECT name_from_applist, success FROM applications WHERE appid = 999990"
        assert _rows(conn, named) == [("New", True)]
        assert _rows(conn, vectors) == before


def test_a_file_that_lacks_a_column_every_row_needs_is_refused_before_anything_is_written(
    conn: connection, tmp_path: Path
) -> None:
    """A review belongs to a game."""
    with pytest.raises(UnknownFile, match=r"a\.csv lacks appid, which reviews needs in every row"):
        _load(conn, tmp_path / "a.csv", "recommendationid,review_text\n1,Good\n")
    assert _rows(conn, "SELECT count(*) FROM reviews") == [(0,)]


def test_a_file_that_is_cut_off_loads_nothing(conn: connection, tmp_path: Path) -> None:
    """It is read to its end before the first row is written."""
    packed = gzip.compress(b"appid,name\n" + b"".join(b"%d,game\n" % number for number in range(100_000)))
    with pytest.raises(UnreadableFile, match="cannot be read to its end"):
        _load(conn, tmp_path / "a.csv.gz", packed[:-50])
    assert _rows(conn, "SELECT count(*) FROM applications") == [(0,)]


def test_a_database_without_the_table_names_the_next_step(empty_database_url: str, tmp_path: Path) -> None:
    """init comes first."""
    with closing(connect(find_database(empty_database_url))) as conn, pytest.raises(SteamAssetsError, match="init"):
        _load(conn, tmp_path / "a.csv", "appid,name\n1,One\n")


def test_progress_counts_first_and_ends_at_the_total(
    conn: connection, games: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar can show both readings of the file."""
    monkeypatch.setattr("steam_assets.store.load.CHUNK_ROWS", 10)
    monkeypatch.setattr("steam_assets.store.load.COUNTED_EVERY_ROWS", 20)
    path = tmp_path / "a.csv"
    path.write_text("recommendationid,appid,review_text\n" + "".join(f"{n},10,text\n" for n in range(50)))
    seen: list[LoadProgress] = []
    load_file(conn, find_files([path])[0], seen.append)
    assert [(step.rows, step.total) for step in seen] == [(20, None), (40, None), *((n, 50) for n in range(10, 60, 10))]


WAIT_FOR_THE_OTHER = """
    CREATE FUNCTION wait_for_the_other() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1..100 LOOP
            EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted);
            PERFORM pg_sleep(0.02);
        END LOOP;
        RETURN new;
    END $$;
    CREATE TRIGGER wait BEFORE UPDATE OF name ON applications
    FOR EACH ROW WHEN (new.appid = 10) EXECUTE FUNCTION wait_for_the_other();
"""


def test_a_deadlock_with_another_session_is_written_again(
    conn: connection, games: list[int], database_url: str, tmp_path: Path
) -> None:
    """Two sessions that meet in opposite order cost one of them an attempt and no row."""
    path = tmp_path / "a.csv"
    path.write_text("appid,name\n10,New ten\n20,New twenty\n")
    # A session looks for a deadlock once, when it has waited that long: the loader, which waits last, finds this one.
    with conn, conn.cursor() as cursor:
        cursor.execute(WAIT_FOR_THE_OTHER)
        cursor.execute("SET deadlock_timeout = '50ms'")

    with closing(connect(find_database(database_url))) as other, other.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '60s'")
        cursor.execute("UPDATE applications SET base_app_id = 5 WHERE appid = 20")

        def wait_for_row_ten() -> None:
            locked = False
            while not locked:
                cursor.execute("SAVEPOINT look")
                cursor.execute("SELECT FROM applications WHERE appid = 10 FOR UPDATE SKIP LOCKED")
                locked = cursor.rowcount == 0
                cursor.execute("ROLLBACK TO SAVEPOINT look")
            cursor.execute("UPDATE applications SET base_app_id = 5 WHERE appid = 10")
            other.commit()

        thread = threading.Thread(target=wait_for_row_ten)
        thread.start()
        report = load_file(conn, find_files([path])[0])
        thread.join()
    assert report.updated == 2
    assert _rows(conn, "SELECT name, base_app_id FROM applications ORDER BY appid") == [
        ("New ten", 5),
        ("New twenty", 5),
    ]


@pytest.fixture
def real_rows() -> list[Path]:
    """The shared files of real Steam rows, where this checkout has them."""
    paths = [REAL_ROWS / "applications.jsonl.gz", REAL_ROWS / "reviews.jsonl.gz"]
    if not all(path.exists() for path in paths):
        pytest.skip("the real Steam rows are not beside this checkout (../shared/data/steam)")
    return paths


@pytest.mark.slow
def test_real_rows_load_whole_and_twice_the_same(conn: connection, real_rows: list[Path]) -> None:
    """5,858 applications and 12,485 reviews, none rejected; the second time all unchanged."""
    first = list(load_files(conn, find_files(real_rows)))
    assert [(report.table, report.inserted, report.rejected) for report in first] == [
        ("applications", 5_858, 0),
        ("reviews", 12_485, 0),
    ]
    assert first[0].genres > 5_858
    assert first[0].ignored_columns == ()
    second = list(load_files(conn, find_files(real_rows)))
    assert [(report.unchanged, report.updated, report.genres) for report in second] == [(5_858, 0, 0), (12_485, 0, 0)]


def test_a_file_of_a_header_alone_loads_no_rows(conn: connection, tmp_path: Path) -> None:
    """An empty table was published as such."""
    assert _load(conn, tmp_path / "a.csv", "recommendationid,appid,review_text\n").read == 0

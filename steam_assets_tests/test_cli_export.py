"""`export` and `load --vectors` by hand: what they print, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch
from steam_assets.id_range import EVERYTHING
from steam_assets.store.read import read_pending
from steam_assets.store.write import write_batches
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.exported import contents_of, forget_vectors
from steam_assets_tests.rows import execute, fetch, table_digest, target_of, vectors_of

Run = Callable[..., Ended]


def fill(conn: connection, column: TextColumn) -> None:
    """Give every row a made-up vector of 384 numbers."""
    run_id = target_of(conn, column)
    pages = list(read_pending(conn, column, run_id))
    conn.rollback()
    batches = [
        EncodedBatch(Embeddings(page.ids, page.row_versions, page.source_md5, vectors_of(page.source_md5, 384)))
        for page in pages
    ]
    write_batches(conn, column, run_id, EVERYTHING, batches)


@pytest.fixture
def filled(tables: connection) -> connection:
    """24 applications and 24 reviews with vectors, and one of each without."""
    for column in COLUMNS:
        fill(tables, column)
    return tables


def test_both_columns_go_out_and_come_back(steam_assets: Run, filled: connection, tmp_path: Path) -> None:
    """The last line names the manifest; loading it gives the same table, and again changes nothing."""
    before = [table_digest(filled, column) for column in COLUMNS]
    ended = steam_assets("export", str(tmp_path / "out"), "--format", "npy")
    assert ended.code == 0
    assert f"applications.description_embedding: 24 vectors of run {target_of(filled, APPLICATIONS)}" in ended.out
    assert "1 rows have no vector." in ended.out
    assert sorted(contents_of(tmp_path / "out")) == sorted(
        f"{column}{name}" for column in COLUMNS for name in (".json", ".npy", "_ids.csv")
    )
    for column in COLUMNS:
        forget_vectors(filled, column)
        manifest = str(tmp_path / "out" / f"{column}.json")
        first = steam_assets("load", "--vectors", manifest)
        assert (first.code, "24 of 24 vectors are in" in first.out) == (0, True)
        (again,) = [json.loads(steam_assets("load", "--vectors", manifest, "--json").out)]
        assert (again["written"], again["embedded"]) == (0, 24)
    assert [table_digest(filled, column) for column in COLUMNS] == before


def test_one_column_goes_out_as_parquet_and_a_script_can_read_the_report(
    steam_assets: Run, filled: connection, tmp_path: Path
) -> None:
    """Every count of it."""
    ended = steam_assets("export", "reviews", str(tmp_path), "--json")
    (report,) = json.loads(ended.out)
    assert (report["column"], report["format"], report["rows"]) == (str(REVIEWS), "parquet", 24)
    assert (report["other_runs"], report["without_vector"], report["written_meanwhile"]) == (0, 1, 0)
    assert report["files"] == [f"{REVIEWS}-00000.parquet", f"{REVIEWS}.json"]
    assert "--force" in one_line(steam_assets("export", "reviews", str(tmp_path)), 2)
    assert steam_assets("export", "reviews", str(tmp_path), "--resume", "--force").code == 2


def test_rows_that_changed_are_counted_with_exit_1(steam_assets: Run, filled: connection, tmp_path: Path) -> None:
    """They stay pending, and the line says what encodes them."""
    steam_assets("export", "reviews", str(tmp_path))
    forget_vectors(filled, REVIEWS)
    execute(filled, "UPDATE reviews SET review_text = 'new' WHERE recommendationid = '3'")
    execute(filled, "DELETE FROM reviews WHERE recommendationid = '4'")
    ended = steam_assets("load", "--vectors", str(tmp_path))
    assert ended.code == 1
    assert "1 rows have another text by now: `steam-assets embed reviews.review_embedding`" in ended.out
    assert "1 ids are not in the table" in ended.out


def test_vectors_that_do_not_say_whose_they_are_need_a_column(
    steam_assets: Run, tables: connection, tmp_path: Path
) -> None:
    """And rows and vectors are not loaded at once: rows come first."""
    np.save(tmp_path / "a.npy", np.eye(2, 384))
    (tmp_path / "a_ids.csv").write_text("appid\n10\n20\n")
    assert "--column COLUMN" in steam_assets("load", "--vectors", str(tmp_path / "a.npy")).err
    assert steam_assets("load").code == 2
    assert steam_assets("load", str(tmp_path / "a_ids.csv"), "--vectors", str(tmp_path / "a.npy")).code == 2
    refused = steam_assets("load", "--vectors", str(tmp_path / "a.npy"), "--column", "applications")
    assert "does not hold the vectors of applications.description_embedding" in one_line(refused, 2)
    elsewhere = ("load", "--vectors", str(tmp_path / "a.npy"), "--column", "applications", "--backend", "tensors")
    assert "'tensors' is no backend" in one_line(steam_assets(*elsewhere), 2)
    assert fetch(tables, "SELECT count(description_embedding) FROM applications") == [(0,)]


def test_a_directory_that_cannot_be_written_is_one_line_and_exit_2(
    steam_assets: Run, filled: connection, tmp_path: Path
) -> None:
    """With the reason."""
    (tmp_path / "file").write_text("")
    assert "cannot be written" in one_line(steam_assets("export", "reviews", str(tmp_path / "file" / "out")), 2)


def test_where_nothing_is_searched_the_next_command_is_named(
    steam_assets: Run, tables: connection, empty_database_url: str, tmp_path: Path
) -> None:
    """Not an error about a missing table, and not an export of nothing."""
    execute(tables, "UPDATE embedding_columns SET serving_run_id = NULL")
    for there in ((), ("--database-url", empty_database_url)):
        ended = steam_assets("export", str(tmp_path), *there)
        assert "Searches read no column yet. Run `steam-assets init`" in one_line(ended, 2)

"""Tables, names, ids and texts that nobody expects: they work, or are named. Refused tables: test_embeddable.py."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import UnembeddableRow
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import EVERYTHING
from steam_assets.store.adopt import count_adoptable
from steam_assets.store.database import connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.embedded_account import server_account
from steam_assets.store.failures import record_unembeddable
from steam_assets.store.files import find_files
from steam_assets.store.load import load_file
from steam_assets.store.ranges import cut_ranges
from steam_assets.store.read import sample_rows, sample_texts
from steam_assets.store.schema import plan_schema
from steam_assets.store.status import column_status
from steam_assets.store.write import write_batches
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.databases import database_url_of, execute_on
from steam_assets_tests.mounts import small_disk
from steam_assets_tests.rows import (
    DIMENSION,
    NOTES,
    NUMBERED,
    add_columns,
    add_rows,
    embed,
    encode,
    execute,
    fetch,
    make_table,
    read_all,
    set_text,
    state_of,
    target_of,
)
from steam_assets_tests.servers import role

ODD_NAMES = TextColumn(
    schema='Ein "Schema" %s',
    table="Tabelle; DROP TABLE x -- 100%",
    id='Nr. "1" %(id)s',
    text="text '' {body}",
    vector="Vektor %% {0}",
    run="Lauf %s",
    id_type="text",
)


def goes_through_everything(conn: connection, column: TextColumn, ids: Sequence[int] | Sequence[str]) -> None:
    """Cut, read, write, count, edit, fail, delete and write again, as a run does."""
    texts = dict(zip(ids, (f"text {n}" for n in range(len(ids))), strict=True))
    add_rows(conn, column, texts)  # type: ignore[arg-type]  # all ids are of one type
    with conn:
        ranges = cut_ranges(conn, column, 2)
    assert sum(len(page) for id_range in ranges for page in read_all(conn, column, id_range)) == len(ids)
    assert sum(embed(conn, column, id_range).written for id_range in ranges) == len(ids)
    assert (state_of(conn, column).total, state_of(conn, column).embedded) == (len(ids), len(ids))

    set_text(conn, column, ids[0], "edited meanwhile")
    set_text(conn, column, ids[1], "cannot be embedded")
    set_text(conn, column, ids[2], None)
    (page,) = read_all(conn, column)
    assert set(page.ids) == {ids[0], ids[1]}
    failed = page.ids.index(ids[1])
    reason = UnembeddableRow(page.ids[failed], page.source_md5[failed], "a reason")
    with conn:
        record_unembeddable(conn, column, target_of(conn, column), [reason])
    assert embed(conn, column).written == 1
    found = state_of(conn, column)
    assert (found.embedded, found.failed, found.blank, found.pending) == (len(ids) - 2, 1, 1, 0)

    with conn:
        assert len(sample_rows(conn, column, ranges[0])) > 0
        assert len(sample_texts(conn, column, 3)) == 3
        assert count_adoptable(conn, column) == 0
        status = column_status(conn, column)
    assert status is not None
    assert status.state == found


def test_names_with_everything_in_them_work(conn: connection) -> None:
    """Quotes, capitals, spaces, semicolons, braces and per cent signs, in schema, table and every column."""
    execute(conn, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(ODD_NAMES.schema)))
    make_table(conn, ODD_NAMES, "text")
    goes_through_everything(conn, ODD_NAMES, ["a", "b", "c", "d"])


def test_empty_long_and_foreign_ids_work(conn: connection) -> None:
    """An empty string is an id like any other; 2 KB is near what an index of PostgreSQL holds."""
    make_table(conn, NOTES, "text")
    goes_through_everything(conn, NOTES, ["", " ", "%", "x" * 2000, "ü" * 1000, "\U0001f3ae", "'; --", "\\N"])


@pytest.mark.parametrize("key", ["smallint", "integer", "bigint", "varchar(30)", 'text COLLATE "C"'])
def test_every_kind_of_key_works(conn: connection, key: str) -> None:
    """Negative numbers too."""
    column = NUMBERED if "int" in key else NOTES
    make_table(conn, column, key)
    goes_through_everything(conn, column, [-5, 0, 7, 30_000] if "int" in key else ["-5", "0", "7", "A"])


def make_partitioned(conn: connection, column: TextColumn) -> None:
    """A table in two partitions, one of them partitioned again, that `init` has completed."""
    statements = """
        CREATE TABLE numbered (id bigint PRIMARY KEY, body text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF numbered FOR VALUES FROM (MINVALUE) TO (100);
        CREATE TABLE high PARTITION OF numbered FOR VALUES FROM (100) TO (MAXVALUE) PARTITION BY RANGE (id);
        CREATE TABLE higher PARTITION OF high FOR VALUES FROM (100) TO (MAXVALUE);
    """
    execute(conn, statements)
    add_columns(conn, column)


def test_a_partitioned_table_works_and_is_guarded(conn: connection, other_conn: connection) -> None:
    """Read, written and counted over its partitions; a row that changes or goes meanwhile is not stamped."""
    make_partitioned(conn, NUMBERED)
    goes_through_everything(conn, NUMBERED, [1, 2, 99, 100, 5000])
    assert plan_schema(conn, [NUMBERED], DIMENSION).statements == ()
    conn.rollback()

    add_rows(conn, NUMBERED, {n: f"later {n}" for n in (3, 4, 200, 201, 202)})
    pages = read_all(conn, NUMBERED)
    with other_conn.cursor() as cursor:
        cursor.execute("UPDATE numbered SET body = 'another text' WHERE id IN (3, 200)")
        cursor.execute("UPDATE numbered SET id = 50 WHERE id = 202")  # to the other partition
        cursor.execute("DELETE FROM numbered WHERE id = 201")
    counts = write_batches(conn, NUMBERED, target_of(conn, NUMBERED), EVERYTHING, map(encode, pages))
    assert (counts.written, counts.changed, counts.gone) == (1, 2, 2)
    assert state_of(conn, NUMBERED).pending == 3


@pytest.mark.parametrize("stored", ["STORED", "VIRTUAL"])
def test_a_text_that_the_database_generates_works(conn: connection, stored: str) -> None:
    """Stored or made as it is read: a change of what it is made of makes the row stale."""
    execute(
        conn,
        f"CREATE TABLE numbered (id int PRIMARY KEY, name text, body text GENERATED ALWAYS AS (name || '.') {stored})",
    )
    add_columns(conn, NUMBERED)
    execute(conn, "INSERT INTO numbered (id, name) VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    assert embed(conn, NUMBERED).written == 2
    execute(conn, "UPDATE numbered SET name = 'due' WHERE id = 2")
    found = state_of(conn, NUMBERED)
    assert (found.embedded, found.stale, found.blank) == (1, 1, 1)
    assert embed(conn, NUMBERED).written == 1


@pytest.mark.parametrize(
    "key",
    [
        "CREATE UNIQUE INDEX ON numbered (id)",
        "CREATE UNIQUE INDEX ON numbered (id) INCLUDE (body)",
        "ALTER TABLE numbered ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED",
    ],
)
def test_a_table_without_a_primary_key_works_when_its_id_is_unique(conn: connection, key: str) -> None:
    """However that is assured; a deferred constraint holds for all that is committed, and nothing else is read."""
    execute(conn, f"CREATE TABLE numbered (id bigint NOT NULL, body text); {key}")
    add_columns(conn, NUMBERED)
    goes_through_everything(conn, NUMBERED, [1, 2, 3, 4])


def test_latin_1_works(server: EmbeddedServer) -> None:
    """The server translates ids and texts, and the digest is of the bytes that it stores."""
    with other_database(server, "ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'") as conn:
        make_table(conn, NOTES, "text")
        goes_through_everything(conn, NOTES, ["é", "ü", "ÿ", "a"])
        assert [text for page in read_all(conn, NOTES) for text in page.texts] == []
        add_rows(conn, NOTES, {"last": "Größe, déjà vu"})
        assert [text for page in read_all(conn, NOTES) for text in page.texts] == ["Größe, déjà vu"]


@contextmanager
def other_database(server: EmbeddedServer, how: str) -> Iterator[connection]:
    """A connection to an empty database made in another way."""
    execute_on(server, f"CREATE DATABASE other TEMPLATE template0 {how}")
    try:
        with closing(connect(find_database(database_url_of(server, "other")))) as conn:
            yield conn
    finally:
        execute_on(server, "DROP DATABASE other WITH (FORCE)")


def test_a_table_with_rows_that_we_may_not_see_is_refused(conn: connection, database_url: str) -> None:
    """Counts of the others would not be true; where its policies do not apply to us it is as any other."""
    make_table(conn, NUMBERED, "bigint")
    execute(conn, "ALTER TABLE numbered ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    goes_through_everything(conn, NUMBERED, [1, 2, 3, 4])  # as a superuser
    with role(conn, database_url, "owner") as theirs:
        execute(conn, "ALTER TABLE numbered OWNER TO owner; GRANT SELECT ON ALL TABLES IN SCHEMA public TO owner")
        with pytest.raises(SteamAssetsError, match=r"Row level security hides rows of numbered.*BYPASSRLS"):
            plan_schema(theirs, [NUMBERED], DIMENSION)
        theirs.rollback()
        execute(conn, "ALTER TABLE numbered OWNER TO postgres")


def test_bytes_that_are_no_text_are_rejected_row_by_row(conn: connection, tmp_path: Path) -> None:
    """NUL and invalid UTF-8 in ids and texts of a file: those rows are named, and the others are loaded."""
    execute(conn, "INSERT INTO applications (appid, name) VALUES (1, 'Lantern Valley')")
    rows = (
        b"ok,1,fine\n",
        b"nul\0id,1,x\n",
        b"a,1,nul \0 text\n",
        b"b\xff,1,x\n",
        b"c,1,cut \xe6\x97\n",
        b"ok2,1,\xe6\x97\xa5\n",
    )
    (tmp_path / "reviews.csv").write_bytes(b"recommendationid,appid,review_text\n" + b"".join(rows))
    (reviews,) = find_files([tmp_path])
    report = load_file(conn, reviews)
    assert (report.inserted, report.rejected) == (2, 4)
    assert report.rejects_file is not None
    reasons = [json.loads(line)["reason"] for line in Path(report.rejects_file).read_text().splitlines()]
    assert [("NUL byte" in reason, "not UTF-8" in reason) for reason in reasons] == [
        *((True, False), (True, False), (False, True), (False, True))
    ]


def test_verbs_on_a_database_that_takes_no_writes_say_where_to_write(
    tables: connection, steam_assets: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init` and `embed` end with exit code 2 and one line, before a run has begun."""
    execute(tables, f"ALTER DATABASE {tables.info.dbname} SET default_transaction_read_only = on")
    execute(tables, "SET default_transaction_read_only = off; DROP INDEX embedding_run_ranges_by_column")
    for verb in ("init", "embed"):
        told = one_line(steam_assets(verb), 2)
        assert "default_transaction_read_only" in told, verb
        assert "--database-url" in told, verb
    assert fetch(tables, "SELECT count(*) FROM embedding_run_ranges") == [(0,)]


def test_embed_without_the_right_to_write_vectors_names_the_right(
    tables: connection,
    steam_assets: Callable[..., Ended],
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before a run has begun, with what grants it."""
    execute(tables, "CREATE ROLE looks_on LOGIN; GRANT pg_read_all_data TO looks_on")
    try:
        url = os.environ["STEAM_ASSETS_DATABASE_URL"].replace("postgres@", "looks_on@")
        monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", url)
        told = one_line(steam_assets("embed", "reviews"), 2)
        assert "looks_on may not fill reviews.review_embedding" in told
        assert "GRANT" in told
    finally:
        execute(tables, "DROP OWNED BY looks_on; DROP ROLE looks_on")


@pytest.fixture
def full_dagster_database(
    dagster_url: str, dagster_template: str, server: EmbeddedServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A Dagster database whose disk has no room, named by the environment."""
    with small_disk(home / "small", 40_000_000) as disk:
        (disk / "tablespace").mkdir()
        server_account(server.directory).own(disk / "tablespace")
        place = sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(disk / "tablespace")))
        execute_on(server, place, f"CREATE DATABASE dagster_full TEMPLATE {dagster_template} TABLESPACE small")
        url = database_url_of(server, "dagster_full")
        try:
            with closing(connect(find_database(url))):
                pass  # the first connection to a database writes a file, and is refused where that has no room
            with suppress(OSError), (disk / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(2**16))
            monkeypatch.setenv("STEAM_ASSETS_DAGSTER_URL", url)
            yield
        finally:
            execute_on(server, "DROP DATABASE dagster_full WITH (FORCE)", "DROP TABLESPACE small")


def test_a_full_dagster_database_is_one_message_and_keeps_nobody_from_reading(
    tables: connection, full_dagster_database: None, steam_assets: Callable[..., Ended]
) -> None:
    """Exit code 2, that it is Dagster's database and not the data, and what makes room in it."""
    told = one_line(steam_assets("embed", "reviews"), 2)
    assert told.startswith("Error: Dagster's database: There is no room for the data")
    assert "No space left on device" in told
    assert told.endswith("`steam-assets purge` removes old events.")
    assert steam_assets("status").code == 0

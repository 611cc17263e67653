"""Indexes on vectors are found, told of before bulk work, dropped with a record, and never in anybody's way."""

import re
import threading
import time
from collections.abc import Iterator

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store import vector_indexes as module
from steam_assets.store.vector_indexes import (
    BULK_ROWS,
    BulkDrop,
    bulk_advice,
    drop_for_bulk,
    dropped_indexes,
    exact_scan_notice,
    vector_indexes,
)
from steam_assets_tests.databases import wait_until
from steam_assets_tests.rows import add_columns, add_rows, embed, execute, fetch
from steam_assets_tests.servers import stranger

HNSW = "CREATE INDEX near ON notes USING hnsw (body_vector vector_cosine_ops) WITH (m = 8)"


@pytest.fixture
def indexed(conn: connection, notes: TextColumn) -> TextColumn:
    """Twenty embedded notes with an HNSW index."""
    add_rows(conn, notes, {f"{n:02}": f"text {n}" for n in range(20)})
    embed(conn, notes)
    execute(conn, HNSW)
    return notes


@pytest.fixture
def writer(conn: connection) -> Iterator[str]:
    """A role that may read and write everything and owns nothing."""
    with stranger(conn) as name:
        execute(conn, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        yield name


def names(conn: connection, column: TextColumn) -> list[str]:
    """The column's indexes by name."""
    return [index.name for index in vector_indexes(conn, column)]


def test_every_index_that_holds_vectors_is_found(conn: connection, indexed: TextColumn) -> None:
    """As they are, at half the precision or as bits, whatever the method; those of other columns are not meant."""
    execute(conn, "ALTER TABLE notes ADD other vector(8)")
    for name, target in {
        "bits": "USING hnsw ((binary_quantize(body_vector)::bit(8)) bit_hamming_ops)",
        "halves": "USING hnsw ((body_vector::halfvec(8)) halfvec_l2_ops)",
        "lists": "USING ivfflat (body_vector vector_l2_ops) WITH (lists = 1)",
        "of_the_first": "USING hnsw (body_vector vector_l2_ops) WHERE embedding_run_id = 1",
        "sorted": "(body_vector)",
        "beside": "(likes) INCLUDE (body_vector)",
        "other_column": "(likes)",
        "only_where": "(id) WHERE body_vector IS NULL",
        "lower_where": "(lower(body)) WHERE body_vector IS NULL",
        "other_vectors": "USING hnsw (other vector_l2_ops) WHERE body_vector IS NULL",
        "other_halves": "USING hnsw ((other::halfvec(8)) halfvec_l2_ops)",
    }.items():
        execute(conn, f"CREATE INDEX {name} ON notes {target}")
    found = {index.name: index for index in vector_indexes(conn, indexed)}
    assert list(found) == ["beside", "bits", "halves", "lists", "near", "of_the_first", "sorted"]
    costly = [name for name, index in found.items() if index.is_costly]
    assert costly == ["bits", "halves", "lists", "near", "of_the_first"]
    assert {found[name].method for name in costly} == {"hnsw", "ivfflat"}
    assert all(index.bytes >= 8192 and index.valid and index.schema == "public" for index in found.values())


def test_an_index_that_a_failed_build_left_is_found(conn: connection, indexed: TextColumn) -> None:
    """No search uses it, and every write pays for it."""
    execute(conn, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'near'::regclass")
    (index,) = vector_indexes(conn, indexed)
    assert (index.valid, index.is_costly) == (False, True)


def test_a_definition_builds_the_same_index_again(conn: connection, indexed: TextColumn) -> None:
    """Nothing of it is lost: method, operators and options."""
    (index,) = vector_indexes(conn, indexed)
    execute(conn, "DROP INDEX near")
    execute(conn, index.definition)
    assert vector_indexes(conn, indexed) == [index]
    assert "m='8'" in index.definition


def test_indexes_of_partitions_are_found_with_their_parents_and_alone(conn: connection) -> None:
    """One of the whole table is one index, of all its partitions' bytes; one of a single partition is one too."""
    column = TextColumn(table="Parted %", schema="odd", id="id", text="body", vector="the v", id_type="bigint")
    execute(conn, "CREATE SCHEMA odd; CREATE SCHEMA other")
    execute(conn, 'CREATE TABLE odd."Parted %" (id bigint PRIMARY KEY, body text) PARTITION BY RANGE (id)')
    execute(conn, 'CREATE TABLE odd.p0 PARTITION OF odd."Parted %" FOR VALUES FROM (0) TO (10)')
    execute(conn, 'CREATE TABLE other.p10 PARTITION OF odd."Parted %" FOR VALUES FROM (10) TO (20)')
    add_columns(conn, column)
    assert vector_indexes(conn, column) == []

    execute(conn, 'CREATE INDEX "a %s" ON odd."Parted %" USING hnsw ("the v" vector_l2_ops)')
    execute(conn, 'CREATE INDEX "a %s" ON other.p10 USING hnsw ("the v" vector_cosine_ops)')
    whole, part = before = vector_indexes(conn, column)
    assert [(index.schema, index.name) for index in before] == [("odd", "a %s"), ("other", "a %s")]
    assert whole.bytes == 2 * part.bytes > 0

    assert drop_for_bulk(conn, column, None).dropped == ("a %s", "a %s")
    assert vector_indexes(conn, column) == []
    records = dropped_indexes(conn, column)
    assert [record.name for record in records] == ["a %s", "other.a %s"]
    for record in records:
        execute(conn, record.definition)
    assert vector_indexes(conn, column) == before


def test_a_small_part_of_a_column_is_written_with_its_index(conn: connection, indexed: TextColumn) -> None:
    """Trickling updates leave it alone, in a large column and in a small one."""
    assert bulk_advice(conn, indexed, 99_999, 1_000_000) is None
    assert bulk_advice(conn, indexed, BULK_ROWS - 1, BULK_ROWS - 1) is None
    assert bulk_advice(conn, indexed, BULK_ROWS, BULK_ROWS) is not None


def test_a_column_without_a_costly_index_needs_no_advice(conn: connection, notes: TextColumn) -> None:
    """Not even when all of it is pending, nor for an index of PostgreSQL's own kind."""
    assert bulk_advice(conn, notes, 1_000_000, 1_000_000) is None
    execute(conn, "CREATE INDEX ON notes (body_vector)")
    assert bulk_advice(conn, notes, 1_000_000, 1_000_000) is None


def test_advice_says_what_it_will_cost_and_what_to_set(conn: connection, indexed: TextColumn) -> None:
    """Seconds with and without the index and to build it again, from the rows and the measured rates."""
    advice = bulk_advice(conn, indexed, 560_000, 850_000)
    assert advice is not None
    assert (advice.seconds_with, advice.seconds_to_build) == (1000, 1000)
    assert advice.seconds_without == pytest.approx(560_000 / 7_413)
    assert str(advice).startswith(
        "notes.body_vector: 560,000 of 850,000 rows are to be written, and an index on the vectors is live: "
        "near (hnsw, 0 MB). Writing takes about 1,000 s with it, and VACUUM 22.6 s for each 1,000 rows that had a "
        "vector; 76 s without it, and 1,000 s to build it again"
    )
    assert "STEAM_ASSETS_DROP_INDEX=1" in str(advice)
    assert "--drop-index" in str(advice)

    execute(conn, "CREATE INDEX second ON notes USING hnsw (body_vector vector_l2_ops)")
    advice = bulk_advice(conn, indexed, 560_000, 850_000)
    assert advice is not None
    assert (advice.seconds_with, advice.seconds_to_build) == (2000, 2000)


def test_a_dropped_index_is_recorded_with_all_it_takes_to_build_it(conn: connection, indexed: TextColumn) -> None:
    """By whom and when; cheap indexes, and indexes of other columns, stay."""
    (index,) = vector_indexes(conn, indexed)
    execute(conn, "CREATE INDEX sorted ON notes (body_vector)")
    execute(conn, "CREATE INDEX only_where ON notes (id) WHERE body_vector IS NULL")
    limit = fetch(conn, "SHOW lock_timeout")
    assert drop_for_bulk(conn, indexed, "a-run") == BulkDrop(dropped=("near",), kept=())

    assert fetch(conn, "SHOW lock_timeout") == limit
    assert names(conn, indexed) == ["sorted"]
    assert fetch(conn, "SELECT to_regclass('only_where') IS NOT NULL") == [(True,)]
    (record,) = dropped_indexes(conn, indexed)
    assert (record.name, record.definition, record.dagster_run_id) == ("near", index.definition, "a-run")
    assert fetch(conn, "SELECT now() - dropped_at < '1 min' FROM embedding_dropped_indexes") == [(True,)]


def test_an_index_that_is_dropped_again_is_recorded_as_it_was_last(conn: connection, indexed: TextColumn) -> None:
    """Somebody built it otherwise in between; there is one record of a name."""
    drop_for_bulk(conn, indexed, "first")
    execute(conn, HNSW.replace("m = 8", "m = 4"))
    assert drop_for_bulk(conn, indexed, "second").dropped == ("near",)
    (record,) = dropped_indexes(conn, indexed)
    assert record.dagster_run_id == "second"
    assert "m='4'" in record.definition


@pytest.mark.parametrize(("of_session", "ours"), [("30ms", 20_000), ("20s", 30), ("0", 30)])
def test_an_index_in_use_stays_and_nobody_waits_long(
    conn: connection,
    other_conn: connection,
    indexed: TextColumn,
    monkeypatch: pytest.MonkeyPatch,
    of_session: str,
    ours: int,
) -> None:
    """A reader that has not ended its transaction is waited for by the shorter timeout; then the index stays."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT_MS", ours)
    execute(conn, "SELECT set_config('lock_timeout', %(timeout)s, false)", timeout=of_session)
    with other_conn.cursor() as cur:
        cur.execute("BEGIN; SELECT FROM notes LIMIT 1")
    started = time.monotonic()
    outcome = drop_for_bulk(conn, indexed, "a-run")

    assert time.monotonic() - started < 10
    assert outcome.dropped == ()
    assert outcome.kept == ("near stays: other sessions are using the table, and the drop would hold them up.",)
    assert names(conn, indexed) == ["near"]
    assert dropped_indexes(conn, indexed) == []
    assert fetch(conn, "SHOW lock_timeout") == [(of_session,)]


def test_who_does_not_own_the_table_goes_on_with_the_index(conn: connection, indexed: TextColumn, writer: str) -> None:
    """It stays, without a record, and the reason is PostgreSQL's."""
    execute(conn, f"SET ROLE {writer}")
    outcome = drop_for_bulk(conn, indexed, "a-run")
    assert outcome == BulkDrop((), ("near stays: must be owner of index near.",))
    assert (names(conn, indexed), dropped_indexes(conn, indexed)) == (["near"], [])


def test_without_a_record_no_index_is_dropped(conn: connection, indexed: TextColumn, writer: str) -> None:
    """Who may drop it and not write it down leaves it: nobody would know how to build it again."""
    execute(conn, f"ALTER TABLE notes OWNER TO {writer}; REVOKE INSERT ON embedding_dropped_indexes FROM {writer}")
    execute(conn, f"SET ROLE {writer}")
    outcome = drop_for_bulk(conn, indexed, "a-run")
    assert outcome == BulkDrop((), ("near stays: permission denied for table embedding_dropped_indexes.",))
    assert names(conn, indexed) == ["near"]


def test_an_index_that_a_constraint_needs_is_never_dropped(
    conn: connection, notes: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of a method that is costly: PostgreSQL itself refuses, and what it says is passed on."""
    monkeypatch.setattr(module, "CHEAP_METHODS", ())
    execute(conn, "ALTER TABLE notes ADD CONSTRAINT no_twins UNIQUE (body_vector)")
    outcome = drop_for_bulk(conn, notes, None)
    assert outcome.dropped == ()
    (reason,) = outcome.kept
    assert re.match(r"no_twins stays: cannot drop index no_twins because constraint no_twins .* requires it", reason)
    assert (names(conn, notes), dropped_indexes(conn, notes)) == (["no_twins"], [])


DROP = "DROP INDEX near"
RECORD = "INSERT INTO embedding_dropped_indexes VALUES ('notes', 'body_vector', 'near', 'theirs', 'their-run')"


@pytest.mark.parametrize(
    ("before", "after"),
    [(f"{DROP}; {RECORD}", "SELECT"), ("LOCK TABLE notes IN ACCESS SHARE MODE", f"{DROP}; {RECORD}")],
    ids=["before we look", "after we looked"],
)
def test_an_index_that_another_run_is_dropping_is_theirs(
    conn: connection,
    other_conn: connection,
    indexed: TextColumn,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    after: str,
) -> None:
    """Whenever the two meet: neither an error nor a second record."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT_MS", 60_000)
    found: list[BulkDrop] = []
    worker = threading.Thread(target=lambda: found.append(drop_for_bulk(conn, indexed, "our-run")))
    with other_conn.cursor() as cur:

        def our_drop_waits() -> bool:
            cur.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (conn.info.backend_pid,))
            return cur.fetchone() == (True,)

        cur.execute(f"BEGIN; {before}")
        worker.start()
        wait_until(our_drop_waits, "our drop waits for theirs")
        cur.execute(f"{after}; COMMIT")
    worker.join()
    assert found == [BulkDrop((), ())]
    assert [record.dagster_run_id for record in dropped_indexes(conn, indexed)] == ["their-run"]


def test_searches_are_told_that_an_index_is_gone_until_one_is_there(conn: connection, indexed: TextColumn) -> None:
    """A column without one for other reasons needs no such words; any new index will do."""
    execute(conn, "DROP INDEX near")
    assert exact_scan_notice(conn, indexed) is None
    execute(conn, HNSW)
    assert exact_scan_notice(conn, indexed) is None
    drop_for_bulk(conn, indexed, "a-run")
    notice = exact_scan_notice(conn, indexed)
    assert notice is not None
    assert re.fullmatch(
        r"exact scan of every row: near was dropped for bulk work on \d{4}-\d\d-\d\d\. "
        r"`steam-assets index build notes\.body_vector` builds one again",
        notice,
    )

    execute(conn, "CREATE INDEX another ON notes USING hnsw (body_vector vector_cosine_ops)")
    assert exact_scan_notice(conn, indexed) is None

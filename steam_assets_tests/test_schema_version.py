"""Databases of earlier versions are upgraded by init with every row as it was; what another version made is refused."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.initialise import initialise
from steam_assets.store.missing_index import build_after_commit
from steam_assets.store.runs import column_runs
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.store.schema_version import SCHEMA_VERSION, SchemaMismatch, schema_version
from steam_assets.store.states import join_unembeddable, names, state_of_row
from steam_assets.store.status import is_initialised
from steam_assets_tests import schema_versions
from steam_assets_tests.dagster_home import Ended, one_line
from steam_assets_tests.rows import execute, fetch
from steam_assets_tests.schema_versions.make import DIMENSION, MODEL, make
from steam_assets_tests.servers import free_port

Run = Callable[..., Ended]

KEPT = {int(file.stem.removeprefix("v")): file for file in Path(schema_versions.__file__).parent.glob("v*.sql")}

# Of the rows that make.py made.
STATES: Mapping[TextColumn, Mapping[str, set[object]]] = {
    APPLICATIONS: {
        "embedded": {60, 70, 80},
        "stale": {10, 20, 50},
        "failed": {30},
        "missing": {40, 110},
        "blank": {90, 100},
    },
    REVIEWS: {
        "embedded": {"1111", "1148", "1185", "1222", "1296", "it's 50%"},
        "stale": {"1037", "1074"},
        "failed": {"1259"},
        "missing": {"9999"},
        "blank": {"~blank", "~null"},
    },
}

CATALOG = """
    SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
           attgenerated, pg_get_expr(adbin, adrelid)
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid,
           '', '', NULL
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indrelid
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated, '', '', NULL
    FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
"""


@pytest.fixture(params=sorted(KEPT), ids=lambda version: f"v{version}")
def version(request: pytest.FixtureRequest) -> int:
    """Each of the earlier versions in turn."""
    return int(request.param)


@pytest.fixture
def older_url(version: int, empty_database_url: str) -> str:
    """A database that the earlier version of this code made."""
    restore(empty_database_url, KEPT[version])
    return empty_database_url


@pytest.fixture
def older(older_url: str) -> Iterator[connection]:
    """A connection to it."""
    with closing(psycopg2.connect(older_url)) as opened:
        yield opened


def restore(url: str, file: Path) -> None:
    """Run a dump; what it sets ends with its connection."""
    with closing(psycopg2.connect(url)) as conn:
        execute(conn, file.read_text())


def upgrade(conn: connection) -> list[str]:
    """What `steam-assets init` does, and what it says of it."""
    with conn:
        plan = initialise(conn, COLUMNS).plan
    return [statement.reason for statement in plan.statements] + list(build_after_commit(conn, plan.after_commit))


def contents(conn: connection, columns: Mapping[str, tuple[str, ...]]) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every table as they are stored, bit for bit, with their versions."""
    statement = sql.SQL("SELECT xmin::text, {} FROM {}")
    return {
        table: sorted(
            fetch(
                conn,
                statement.format(
                    sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in found),
                    sql.Identifier(table),
                ),
            ),
            key=repr,
        )
        for table, found in columns.items()
    }


def tables(conn: connection) -> dict[str, tuple[str, ...]]:
    """The columns of every table."""
    return {
        str(table): tuple(map(str, columns))
        for table, columns in fetch(
            conn,
            """
            SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position)
            FROM information_schema.columns
            WHERE table_schema = 'public'
            GROUP BY table_name
            """,
        )
        if isinstance(columns, list)
    }


def states(conn: connection, column: TextColumn) -> dict[str, set[object]]:
    """The ids of the column's rows by their state for its target run."""
    target = column_runs(conn, column).target
    assert target is not None
    statement = sql.SQL("SELECT {state}, array_agg(t.{id}) FROM {table} AS t {unembeddable} GROUP BY 1").format(
        **names(column),
        state=state_of_row(column, target.run_id),
        unembeddable=join_unembeddable(column, target.run_id),
    )
    return {str(state): set(ids) for state, ids in fetch(conn, statement) if isinstance(ids, list)}


def test_every_earlier_version_is_kept() -> None:
    """Whoever raises the version keeps a database of the one before: its upgrade is tested from then on."""
    assert sorted(KEPT) == list(range(1, SCHEMA_VERSION))


def test_an_older_database_is_upgraded_and_every_row_is_as_it_was(older: connection, version: int) -> None:
    """Vectors bit for bit, digests, runs, failures and attempts; the states follow from them; again changes nothing."""
    before = {table: columns for table, columns in tables(older).items() if table != "embedding_schema"}
    rows = contents(older, before)
    assert all(rows.values())
    assert schema_version(older) == version

    assert f"schema: version {SCHEMA_VERSION}; it was {version}" in upgrade(older)
    assert schema_version(older) == SCHEMA_VERSION
    assert is_initialised(older)
    assert contents(older, before) == rows
    for column in COLUMNS:
        assert states(older, column) == STATES[column]
    assert upgrade(older) == []
    assert contents(older, before) == rows


def test_an_upgraded_database_is_a_fresh_one(older: connection, database_url: str) -> None:
    """The same columns, indexes and constraints: no version's tables lead a life of their own."""
    upgrade(older)
    with closing(psycopg2.connect(database_url)) as fresh:
        assert set(fetch(older, CATALOG)) == set(fetch(fresh, CATALOG))


def test_an_upgrade_is_one_transaction(older: connection, version: int) -> None:
    """What ends before the commit leaves the tables of the earlier version, and the earlier version."""
    catalog = set(fetch(older, CATALOG))
    apply_schema(older, plan_schema(older, COLUMNS, DIMENSION))
    assert schema_version(older) == SCHEMA_VERSION
    older.rollback()
    assert schema_version(older) == version
    assert set(fetch(older, CATALOG)) == catalog


def test_the_version_after_this_one_can_be_tested_too(tmp_path: Path, empty_database_url: str) -> None:
    """What make.py keeps of the present version is complete, and has a row of every kind."""
    restore(empty_database_url, make(SCHEMA_VERSION, tmp_path))
    with closing(psycopg2.connect(empty_database_url)) as conn:
        assert str(plan_schema(conn, COLUMNS, DIMENSION)) == ""
        for column in COLUMNS:
            assert states(conn, column) == STATES[column]
        attempts = fetch(conn, "SELECT DISTINCT status FROM embedding_run_ranges")
        assert all(contents(conn, tables(conn)).values())
    assert {status for (status,) in attempts} == {"running", "done", "failed", "aborted", "lost"}


def test_the_predecessors_database_has_no_version(predecessor_database_url: str) -> None:
    """It is not refused as an older one: `init` has not been there."""
    with closing(psycopg2.connect(predecessor_database_url)) as conn:
        assert schema_version(conn) == 0
        assert not is_initialised(conn)


def test_a_newer_database_is_not_touched(conn: connection) -> None:
    """Neither init nor anything else works with tables whose meaning it cannot know."""
    execute(conn, "INSERT INTO embedding_schema VALUES (%(version)s)", version=SCHEMA_VERSION + 1)
    for use in (is_initialised, lambda conn: initialise(conn, COLUMNS, MODEL), lambda conn: plan_schema(conn, (), 8)):
        with pytest.raises(SchemaMismatch, match=rf"version {SCHEMA_VERSION + 1}.* up to {SCHEMA_VERSION}\. Upgrade"):
            use(conn)
        conn.rollback()


VERBS = (
    *(("load", "reviews.csv"), ("embed",), ("embed", "--dry-run"), ("status",), ("search", "a farm"), ("ranges",)),
    ("up", "--port", str(free_port())),
)


@pytest.fixture
def file(home: Path) -> None:
    """What `load` is given."""
    (home / "reviews.csv").write_text("recommendationid,appid,review_text\n1,10,good\n")


@pytest.mark.usefixtures("file")
def test_verbs_refuse_a_newer_database(conn: connection, steam_assets: Run) -> None:
    """Exit code 2 with both versions and what to upgrade; nothing is written, by `init` neither."""
    execute(conn, "INSERT INTO embedding_schema VALUES (%(version)s)", version=SCHEMA_VERSION + 1)
    for verb in (*VERBS, ("init",)):
        told = one_line(steam_assets(*verb), 2)
        assert f"of version {SCHEMA_VERSION + 1}" in told, verb
        assert "Upgrade steam-assets" in told, verb


@pytest.mark.usefixtures("file")
def test_verbs_refuse_an_older_database_until_init_has_upgraded_it(
    older_url: str, version: int, steam_assets: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 names `init`, which says each step and after which the verbs work."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", older_url)
    for verb in VERBS:
        assert "Run `steam-assets init`" in one_line(steam_assets(*verb), 2), verb
    upgraded = steam_assets("init")
    assert upgraded.code == 0, upgraded
    assert f"+ schema: version {SCHEMA_VERSION}; it was " in upgraded.out
    indexed_since = 3
    said = "+ reviews.review_embedding: an index of the rows without a vector"
    assert (said in upgraded.out) == (version < indexed_since)
    assert steam_assets("status").code == 0
    assert steam_assets("init").out.startswith("The schema is complete; nothing to do.")

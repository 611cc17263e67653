"""infra/sql/roles.sql gives an owner, a writer and a reader what they must have, and nothing else."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import errors, sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import EVERYTHING
from steam_assets.indexes.build import Wanted, build_measured_index
from steam_assets.initialise import initialise
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.failures import forget_embedded, list_failures, release
from steam_assets.store.files import find_files
from steam_assets.store.hnsw import serving_index
from steam_assets.store.hnsw_checks import IndexImpossible, check_owner
from steam_assets.store.load import load_files
from steam_assets.store.missing_index import build_after_commit, has_missing_index
from steam_assets.store.projections import current_projection
from steam_assets.store.runs import column_runs, find_or_create_run, set_serving, set_target
from steam_assets.store.status import is_initialised
from steam_assets.store.write import write_batches
from steam_assets.targets import follow_target
from steam_assets_tests.dagster_home import Ended, execute_on, fill_tables
from steam_assets_tests.psql import run_psql
from steam_assets_tests.rows import execute, fetch
from steam_assets_tests.schema_versions.make import DIMENSION, MODEL, write

ROLES_SQL = Path(__file__).parents[1] / "infra" / "sql" / "roles.sql"
LOGINS = {"t_admin": "steam_assets_owner", "t_worker": "steam_assets_writer", "t_site": "steam_assets_reader"}
Run = Callable[..., Ended]

# As pg_class and pg_attribute have them, the server's own columns among them.
RIGHTS = """
    SELECT relname::text, NULL, privilege_type
    FROM pg_class, aclexplode(relacl)
    WHERE grantee = %(role)s::regrole
    UNION ALL
    SELECT attrelid::regclass::text, attname::text, privilege_type
    FROM pg_attribute, aclexplode(attacl)
    WHERE grantee = %(role)s::regrole
"""


@pytest.fixture
def url(server: EmbeddedServer, empty_database_url: str) -> Iterator[str]:
    """A database that gives nothing to everybody, with the three roles; its tables are made by its owner."""
    name = sql.Identifier(name_of(empty_database_url))
    with closing(psycopg2.connect(empty_database_url)) as conn:
        execute(
            conn, sql.SQL("REVOKE ALL ON DATABASE {} FROM public; REVOKE ALL ON SCHEMA public FROM public").format(name)
        )
    give_rights(server, empty_database_url)
    for login, group in LOGINS.items():
        execute_on(server, f"CREATE ROLE {login} LOGIN IN ROLE {group}")
    execute_on(server, "ALTER ROLE t_admin SET role = 'steam_assets_owner'")
    try:
        with closing(psycopg2.connect(of(empty_database_url, "t_admin"))) as admin:
            with admin:
                plan = initialise(admin, COLUMNS, MODEL).plan
            assert list(build_after_commit(admin, plan.after_commit)) == []
            fill_tables(admin)
        give_rights(server, empty_database_url)
        yield empty_database_url
    finally:
        with closing(psycopg2.connect(empty_database_url)) as conn:
            every = sql.SQL(", ").join(map(sql.Identifier, (*LOGINS, *LOGINS.values())))
            execute(conn, sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(every, every))


def give_rights(server: EmbeddedServer, url: str) -> str:
    """Run the script as a superuser; what it said."""
    return run_psql(server, url, "--file", str(ROLES_SQL))


def name_of(url: str) -> str:
    """The name of the database."""
    return url.partition("?")[0].rpartition("/")[2]


def of(url: str, login: str) -> str:
    """The database as somebody else."""
    return url.replace("postgres@", f"{login}@")


@pytest.fixture
def admin(url: str) -> Iterator[connection]:
    """Who owns the tables."""
    with closing(psycopg2.connect(of(url, "t_admin"))) as opened:
        yield opened


@pytest.fixture
def worker(url: str) -> Iterator[connection]:
    """Who fills vectors."""
    with closing(psycopg2.connect(of(url, "t_worker"))) as opened:
        yield opened


@pytest.fixture
def site(url: str) -> Iterator[connection]:
    """Who searches."""
    with closing(psycopg2.connect(of(url, "t_site"))) as opened:
        yield opened


def test_tables_belong_to_the_owners_group_and_carry_the_indexes(admin: connection) -> None:
    """Every member of the group can run the next `init`, not only the one who ran the first."""
    owners = fetch(admin, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == [("steam_assets_owner",)]
    assert all(has_missing_index(admin, column) for column in COLUMNS)


def test_the_owner_loads_files(admin: connection, home: Path) -> None:
    """New rows and changed ones; load is the owner's work."""
    file = home / "reviews.jsonl"
    rows = [{"recommendationid": "new", "appid": 10, "review_text": "More leeks."}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (report,) = load_files(admin, find_files([file]))
    assert report.inserted == 1


def test_the_owner_builds_indexes_and_the_others_see_which_serve(
    url: str, admin: connection, worker: connection, site: connection
) -> None:
    """Searches of the reader go through an index that only the owner may build or drop."""
    target = column_runs(worker, REVIEWS).target
    assert target is not None
    write(worker, REVIEWS, target.run_id, {})
    as_admin = partial(psycopg2.connect, of(url, "t_admin"))
    build_measured_index(as_admin, REVIEWS, Wanted(recall=0.1), lambda _: None)
    for conn in (worker, site):
        assert serving_index(conn, REVIEWS, target.run_id) is not None
        assert current_projection(conn, REVIEWS, target.run_id) is None
        with pytest.raises(IndexImpossible, match="only steam_assets_owner may, who owns reviews"):
            check_owner(conn, REVIEWS)
        conn.rollback()


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_the_writer_fills_a_column_and_lets_searches_follow(
    admin: connection, worker: connection, column: TextColumn
) -> None:
    """Read, write, quarantine, retry, clear, and serve the run that is complete: all of it with the writer's rights."""
    target = column_runs(worker, column).target
    assert target is not None
    with admin:
        set_serving(admin, column, find_or_create_run(admin, "an earlier model", DIMENSION, True, {"revision": "1"}))
    with worker:
        assert not follow_target(worker, column)
    first = 10 if column is APPLICATIONS else "1"
    write(worker, column, target.run_id, {first: "out of memory alone"})
    with worker:
        assert follow_target(worker, column)
    with worker:
        assert column_runs(worker, column).serving == target
        (failure,) = list_failures(worker, column, target.run_id)
        assert failure.reason == "out of memory alone"
        assert release(worker, {column: target.run_id}) == {column: 1}
    written = sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(column.vector), sql.Identifier(column.table))
    assert fetch(worker, written) == [(23,)]
    write(worker, column, target.run_id, {})
    with worker:
        forget_embedded(worker, column, target.run_id)
        assert list(list_failures(worker, column, target.run_id)) == []
    assert fetch(worker, written) == [(24,)]
    execute(admin, "UPDATE applications SET name = ' ', short_description = NULL WHERE appid = 20")
    execute(admin, "UPDATE reviews SET review_text = NULL WHERE recommendationid = '2'")
    write_batches(worker, column, target.run_id, EVERYTHING, [])
    assert fetch(worker, written) == [(23,)]


def test_the_writer_runs_embed_and_the_reader_searches(
    url: str, steam_assets: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands themselves: embed, status and ranges as one, search as the other."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", of(url, "t_worker"))
    embedded = steam_assets("embed", "--json")
    assert embedded.code == 0, embedded
    assert [status["state"]["pending"] for status in json.loads(embedded.out)] == [0, 0]
    for verb in (("embed",), ("embed", "--dry-run"), ("status",), ("ranges",)):
        assert steam_assets(*verb).code == 0, verb

    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", of(url, "t_site"))
    found = steam_assets("search", "trains on time", "--in", "reviews", "--k", "1")
    assert found.code == 0, found
    assert "trains run on time" in found.out


# What a search shows of a row and filters by.
SEARCHED = {
    "applications": ("name", "type", "release_date", "is_free", "mat_final_price", "supported_languages"),
    "reviews": ("appid", "language", "voted_up"),
}
FORBIDDEN_TO_BOTH = (
    "SELECT author_steamid FROM reviews",
    "SELECT * FROM reviews",
    "SELECT detailed_description FROM applications",
    "SELECT * FROM developers",
    "UPDATE reviews SET review_text = 'other'",
    "UPDATE applications SET name = 'other'",
    "UPDATE reviews SET recommendationid = 'other'",
    "INSERT INTO reviews (recommendationid, appid) VALUES ('other', 10)",
    "DELETE FROM reviews",
    "TRUNCATE reviews",
    "DROP TABLE reviews",
    "ALTER TABLE reviews ADD COLUMN other text",
    "CREATE INDEX ON reviews (recommendationid)",
    "CREATE TABLE other (id bigint)",
    "CREATE SCHEMA other",
    "INSERT INTO embedding_runs (model_name, dimension) VALUES ('other', 8)",
    "UPDATE embedding_runs SET model_name = 'other'",
    "UPDATE embedding_columns SET target_run_id = 1",
    "DELETE FROM embedding_columns",
    "DELETE FROM embedding_run_ranges",
    "DELETE FROM embedding_schema",
    "INSERT INTO embedding_schema VALUES (99)",
    "INSERT INTO embedding_dropped_indexes VALUES ('a', 'b', 'c', 'd')",
    "SET ROLE steam_assets_owner",
    "GRANT steam_assets_owner TO CURRENT_USER",
)
FORBIDDEN_TO_THE_READER = (
    "UPDATE reviews SET review_embedding = NULL",
    "UPDATE applications SET embedding_run_id = NULL",
    "SELECT xmin FROM reviews",
    "SELECT review_embedding_source_md5 FROM reviews",
    "UPDATE embedding_columns SET serving_run_id = 1",
    "SELECT * FROM embedding_run_ranges",
    "SELECT * FROM embedding_failures",
    "DELETE FROM embedding_failures",
    "INSERT INTO embedding_run_ranges DEFAULT VALUES",
)


def refused(conn: connection, statement: str) -> bool:
    """Whether this user may not do it."""
    try:
        with conn.cursor() as cursor:
            cursor.execute(statement)
    except errors.InsufficientPrivilege:
        return True
    finally:
        conn.rollback()
    return False


def test_the_writer_can_do_nothing_else(worker: connection) -> None:
    """It reads no other column, changes no text, and adds, deletes, drops and creates nothing."""
    assert [statement for statement in FORBIDDEN_TO_BOTH if not refused(worker, statement)] == []
    assert not refused(worker, "UPDATE reviews SET review_embedding = NULL")


def test_the_reader_can_do_nothing_else(site: connection) -> None:
    """It reads what a search needs and writes nothing."""
    statements = (*FORBIDDEN_TO_BOTH, *FORBIDDEN_TO_THE_READER)
    assert [statement for statement in statements if not refused(site, statement)] == []
    assert not refused(site, "SELECT review_text, review_embedding FROM reviews")


def test_the_writer_does_not_choose_the_model(worker: connection) -> None:
    """What a column is filled with is the owner's choice, made by init and by embed --model."""
    with pytest.raises(errors.InsufficientPrivilege):
        set_target(worker, REVIEWS, 1)


def test_who_is_in_none_of_the_roles_is_told_so(server: EmbeddedServer, url: str) -> None:
    """One message that names the file with the roles, whatever was to be done."""
    execute_on(server, "REVOKE steam_assets_reader FROM t_site")
    execute_on(server, f"GRANT CONNECT ON DATABASE {name_of(url)} TO t_site")
    told = pytest.raises(SteamAssetsError, match=r"t_site may not use the tables.*permission denied.*roles\.sql")
    with closing(psycopg2.connect(of(url, "t_site"))) as stranger, told:
        is_initialised(stranger)


def test_the_script_names_the_columns_of_the_registry(url: str, admin: connection) -> None:
    """A column that columns.py gains must be given to the roles as well, and one that it loses must go."""
    for role, columns_read, columns_written in (
        ("steam_assets_writer", ("id", "text", "vector", "run", "digest"), ("vector", "run", "digest")),
        ("steam_assets_reader", ("id", "text", "vector", "run"), ()),
    ):
        expected = {
            (column.table, getattr(column, name), right)
            for column in COLUMNS
            for right, names in (("SELECT", columns_read), ("UPDATE", columns_written))
            for name in names
        }
        if role == "steam_assets_writer":
            expected |= {(column.table, "xmin", "SELECT") for column in COLUMNS}
        else:
            expected |= {(table, name, "SELECT") for table, names in SEARCHED.items() for name in names}
            expected |= {(table, None, "SELECT") for table in ("genres", "application_genres")}
        given = fetch(admin, RIGHTS, role=role)
        assert {right for right in given if not str(right[0]).startswith("embedding_")} == expected


def test_the_script_can_be_run_again(server: EmbeddedServer, url: str, admin: connection) -> None:
    """The same rights, given once, and what somebody gave besides is taken back."""
    rights = {role: sorted(fetch(admin, RIGHTS, role=role), key=repr) for role in LOGINS.values()}
    execute(admin, "GRANT ALL ON reviews TO steam_assets_reader; GRANT SELECT (xmin) ON reviews TO steam_assets_reader")
    said = give_rights(server, url)
    assert "Rights given" in said
    assert {role: sorted(fetch(admin, RIGHTS, role=role), key=repr) for role in LOGINS.values()} == rights


def test_the_script_says_that_it_must_be_run_again_after_init(server: EmbeddedServer, empty_database_url: str) -> None:
    """Before there are tables it makes the roles, pgvector, and the owner's right to create."""
    database = name_of(empty_database_url)
    said = run_psql(
        server,
        empty_database_url.replace(database, "postgres", 1),
        *("--set", f"database={database}", "--set", "schema=public", "--file", str(ROLES_SQL)),
    )
    assert f"no tables yet in {database}" in said
    with closing(psycopg2.connect(empty_database_url)) as conn:
        assert fetch(conn, "SELECT to_regtype('vector') IS NOT NULL") == [(True,)]
        assert fetch(conn, "SELECT has_schema_privilege('steam_assets_owner', 'public', 'CREATE')") == [(True,)]
        execute(conn, "DROP OWNED BY steam_assets_owner, steam_assets_writer, steam_assets_reader")
        execute(conn, "DROP ROLE steam_assets_owner, steam_assets_writer, steam_assets_reader")

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
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.evaluation.known_items import Sampling, known_items
from steam_assets.evaluation.rankings import How
from steam_assets.evaluation.score import evaluate, evaluate_all, say_nothing
from steam_assets.evaluation.side import search_all
from steam_assets.evaluation.stored import record
from steam_assets.exports.export import export_column
from steam_assets.id_range import EVERYTHING
from steam_assets.indexes.build import Wanted, build_measured_index
from steam_assets.initialise import initialise
from steam_assets.pictures.points import read_points
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.evaluations import newest_evaluations
from steam_assets.store.failures import forget_embedded, list_failures, release
from steam_assets.store.files import find_files
from steam_assets.store.hnsw import serving_index
from steam_assets.store.hnsw_checks import IndexImpossible, check_owner
from steam_assets.store.item_texts import has_item_texts
from steam_assets.store.load import load_files
from steam_assets.store.missing_index import build_after_commit, has_missing_index
from steam_assets.store.projections import current_projection
from steam_assets.store.runs import column_runs, find_or_create_run, set_serving, set_target
from steam_assets.store.status import is_initialised
from steam_assets.store.telemetry import rows_by_state
from steam_assets.store.write import write_batches
from steam_assets.targets import follow_target
from steam_assets_tests.dagster_home import Ended, fill_tables
from steam_assets_tests.databases import all_dropped, execute_on, new_database
from steam_assets_tests.hash_encoder import hash_encoder
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


# A copy of a database has no rights on itself.
RIGHTS_ON_DATABASE = """
    SELECT format('GRANT %%s ON DATABASE %%I TO %%I', privilege_type, current_database(), grantee::regrole::text)
    FROM pg_database, aclexplode(datacl)
    WHERE datname = %(template)s
"""


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> Iterator[str]:
    """A database that gives nothing to everybody, with the three roles; its tables are made by its owner."""
    with new_database(server) as made:
        with closing(psycopg2.connect(made)) as conn:
            give_nothing_to_everybody(conn)
            execute(conn, "REVOKE ALL ON SCHEMA public FROM public")
        give_rights(server, made)
        for login, group in LOGINS.items():
            execute_on(server, f"CREATE ROLE {login} LOGIN IN ROLE {group}")
        execute_on(server, "ALTER ROLE t_admin SET role = 'steam_assets_owner'")
        try:
            with closing(psycopg2.connect(of(made, "t_admin"))) as admin:
                with admin:
                    plan = initialise(admin, COLUMNS, MODEL).plan
                assert list(build_after_commit(admin, plan.after_commit)) == []
                fill_tables(admin)
            give_rights(server, made)
            yield name_of(made)
        finally:
            all_dropped()
            with closing(psycopg2.connect(made)) as conn:
                every = sql.SQL(", ").join(map(sql.Identifier, (*LOGINS, *LOGINS.values())))
                execute(conn, sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(every, every))


@pytest.fixture
def url(server: EmbeddedServer, template: str) -> Iterator[str]:
    """One like it of the test's own."""
    with new_database(server, template) as made:
        with closing(psycopg2.connect(made)) as conn:
            give_nothing_to_everybody(conn)
            for (grant,) in fetch(conn, RIGHTS_ON_DATABASE, template=template):
                execute(conn, str(grant))
        yield made


def give_nothing_to_everybody(conn: connection) -> None:
    """Else whoever can log in may connect, and make temporary tables."""
    execute(conn, sql.SQL("REVOKE ALL ON DATABASE {} FROM public").format(sql.Identifier(conn.info.dbname)))


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


KNOWN_ITEM = """
    UPDATE applications
    SET short_description = 'A quiet walk along river number ' || appid,
        about_the_game = 'Bridges, herons and ' || repeat('rain ', 30) || appid
    WHERE appid <= 240
"""


def test_the_writer_evaluates_and_draws_maps(url: str, admin: connection, worker: connection) -> None:
    """As the assets of a web UI that it runs do: of known items, and stored; with names and genres."""
    execute(admin, KNOWN_ITEM)
    as_worker = partial(psycopg2.connect, of(url, "t_worker"))
    target = column_runs(worker, APPLICATIONS).target
    assert target is not None
    write(worker, APPLICATIONS, target.run_id, {})
    ways: list[How] = ["exact", "hybrid"]
    for done in evaluate_all(as_worker, APPLICATIONS, hash_encoder, ways, sampling=Sampling(3, 5)):
        with worker:
            record(worker, APPLICATIONS, done)
    assert len(newest_evaluations(worker, APPLICATIONS)) == 3
    drawn = read_points(as_worker, APPLICATIONS, None, lambda line: None)
    assert (len(drawn), drawn.group_noun) == (24, "genre")


def test_the_reader_exports_compares_and_counts(
    url: str, admin: connection, worker: connection, site: connection, tmp_path: Path
) -> None:
    """What its verbs read; an evaluation, which it could not store, is refused before any model is loaded."""
    execute(admin, KNOWN_ITEM)
    as_site = partial(psycopg2.connect, of(url, "t_site"))
    target = column_runs(worker, APPLICATIONS).target
    assert target is not None
    write(worker, APPLICATIONS, target.run_id, {})
    site.autocommit = True
    assert export_column(site, APPLICATIONS, target, tmp_path, "npy").rows == 24
    assert rows_by_state(site, APPLICATIONS, target.run_id)["embedded"] == 24
    items = known_items(as_site, APPLICATIONS, Sampling(3, 5))
    assert evaluate(as_site, APPLICATIONS, items, hash_encoder).documents == 5
    assert search_all(as_site, APPLICATIONS, ["herons"], hash_encoder, say_nothing).costs.vectors == 24
    assert len(read_points(as_site, APPLICATIONS, None, lambda line: None)) == 24

    def load(model: Model) -> Encoder:
        raise AssertionError("a model was asked for")

    with pytest.raises(SteamAssetsError, match=r"t_site may not store evaluations: .* INSERT ON .*roles\.sql"):
        list(evaluate_all(as_site, APPLICATIONS, load, ["exact"]))
    execute(admin, "REVOKE SELECT (name) ON applications FROM steam_assets_reader")
    assert has_item_texts(site, APPLICATIONS)  # it has a name, if not for everyone


# What a search shows of a row and filters by, and what known items are made of.
DESCRIBED = ("name", "short_description", "about_the_game", "detailed_description")
SEARCHED = {
    "applications": (*DESCRIBED, "type", "release_date", "is_free", "mat_final_price", "supported_languages"),
    "reviews": ("appid", "language", "voted_up"),
}
FORBIDDEN_TO_BOTH = (
    "SELECT author_steamid FROM reviews",
    "SELECT * FROM reviews",
    "SELECT header_image FROM applications",
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
    "UPDATE embedding_evaluations SET metrics = NULL",
    "SELECT * FROM embedding_promotions",
    "SET ROLE steam_assets_owner",
    "GRANT steam_assets_owner TO CURRENT_USER",
)
FORBIDDEN_TO_THE_READER = (
    "UPDATE reviews SET review_embedding = NULL",
    "UPDATE applications SET embedding_run_id = NULL",
    "SELECT xmin FROM reviews",
    "SELECT * FROM embedding_evaluations",
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
    execute_on(server, "CREATE ROLE t_nobody LOGIN", f"GRANT CONNECT ON DATABASE {name_of(url)} TO t_nobody")
    told = pytest.raises(SteamAssetsError, match=r"t_nobody may not use the tables.*permission denied.*roles\.sql")
    try:
        with closing(psycopg2.connect(of(url, "t_nobody"))) as nobody, told:
            is_initialised(nobody)
    finally:
        execute_on(server, f"REVOKE ALL ON DATABASE {name_of(url)} FROM t_nobody", "DROP ROLE t_nobody")


def test_the_script_names_the_columns_of_the_registry(url: str, admin: connection) -> None:
    """A column that columns.py gains must be given to the roles as well, and one that it loses must go."""
    for role, columns_read, columns_written in (
        ("steam_assets_writer", ("id", "text", "vector", "run", "digest"), ("vector", "run", "digest")),
        ("steam_assets_reader", ("id", "text", "vector", "run", "digest"), ()),
    ):
        expected = {
            (column.table, getattr(column, name), right)
            for column in COLUMNS
            for right, names in (("SELECT", columns_read), ("UPDATE", columns_written))
            for name in names
        }
        if role == "steam_assets_writer":
            expected |= {(column.table, "xmin", "SELECT") for column in COLUMNS}
            expected |= {("applications", name, "SELECT") for name in DESCRIBED}
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


def test_the_script_says_that_it_must_be_run_again_after_init(
    server: EmbeddedServer, template: str, empty_database_url: str
) -> None:
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

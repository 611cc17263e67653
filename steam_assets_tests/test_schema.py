"""What init plans: everything on an empty database, only what is missing elsewhere, and nothing the second time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.database import DatabaseUnavailable, connect, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.schema import DimensionMismatch, SchemaPlan, apply_schema, plan_schema
from steam_assets_tests.psql import run_psql

PUBLISHED_TABLES = {
    *("applications", "reviews", "genres", "categories", "developers", "publishers", "platforms"),
    *("application_genres", "application_categories", "application_developers", "application_publishers"),
    "application_platforms",
}
OUR_TABLES = {
    *("embedding_runs", "embedding_columns", "embedding_run_ranges", "embedding_failures"),
    *("embedding_dropped_indexes", "embedding_schema", "embedding_indexes", "embedding_projections"),
    *("embedding_variants", "embedding_evaluations", "embedding_promotions"),
}

NOTES = TextColumn(
    table="Support Notes", schema="Help Desk", id="No", text='Body "raw"', vector="Body Vector", run="Body Run"
)


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[connection]:
    with closing(connect(find_database(empty_database_url))) as conn:
        yield conn


@pytest.fixture
def predecessor(predecessor_database_url: str) -> Iterator[connection]:
    with closing(connect(find_database(predecessor_database_url))) as conn:
        yield conn


def query(conn: connection, question: str, *values: object) -> list[tuple[object, ...]]:
    with conn.cursor() as cursor:
        cursor.execute(question, values)
        return list(cursor.fetchall()) if cursor.description else []


def init(conn: connection, columns: tuple[TextColumn, ...] = COLUMNS, dimension: int = 1024) -> SchemaPlan:
    plan = plan_schema(conn, columns, dimension)
    apply_schema(conn, plan)
    conn.commit()
    return plan


def tables(conn: connection) -> set[object]:
    return {name for (name,) in query(conn, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")}


def column_types(conn: connection, table: str) -> dict[object, object]:
    question = """
        SELECT attname::text, format_type(atttypid, atttypmod)
        FROM pg_attribute
        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    """
    return dict(query(conn, question, table))  # type: ignore[arg-type]  # rows of two


def contents(conn: connection, table: str, columns: str) -> object:
    """A digest of all rows, vectors and row versions included."""
    question = sql.SQL("SELECT md5(string_agg(md5((xmin, {})::text), '' ORDER BY md5((xmin, {})::text))) FROM {}")
    return query(conn, question.format(sql.SQL(columns), sql.SQL(columns), sql.Identifier(table)).as_string(conn))


def test_an_empty_database_gets_the_published_tables_and_ours(empty: connection) -> None:
    """All twelve tables of the published package, eleven of ours, and each column's vector, run and digest."""
    init(empty)
    assert tables(empty) == PUBLISHED_TABLES | OUR_TABLES
    applications = column_types(empty, "applications")
    assert applications["description_embedding"] == "vector(1024)"
    assert applications["embedding_run_id"] == "bigint"
    assert applications["description_embedding_source_md5"] == "uuid"
    assert column_types(empty, "reviews")["review_embedding"] == "vector(1024)"


def test_a_fresh_table_has_the_predecessors_columns(empty: connection, predecessor: connection) -> None:
    """58 and 25 columns of the same names and types; ours are added to them, and nothing else."""
    init(empty)
    for table, column, count in (("applications", APPLICATIONS, 58), ("reviews", REVIEWS, 25)):
        before, fresh = column_types(predecessor, table), column_types(empty, table)
        assert len(before) == count
        assert fresh.pop(column.digest) == "uuid"
        assert fresh == before


def test_combined_text_is_made_by_the_database_as_the_predecessor_made_it(
    empty: connection, predecessor: connection
) -> None:
    """The same expression: name, short description and about, with a space between, absent ones empty."""
    init(empty)
    question = """
        SELECT pg_get_expr(adbin, adrelid)
        FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
        WHERE adrelid = 'applications'::regclass AND attname = 'combined_text'
    """
    assert query(empty, question) == query(predecessor, question)


@pytest.mark.parametrize("columns", [COLUMNS, (APPLICATIONS,), (REVIEWS,)])
def test_a_second_plan_is_empty(empty: connection, columns: tuple[TextColumn, ...]) -> None:
    """Init again finds everything there and has nothing to do and nothing to say."""
    assert init(empty, columns).statements
    again = plan_schema(empty, columns, 1024)
    assert again.statements == ()
    assert again.notices == ()
    assert "table embedding_runs" in again.found


def test_reviews_alone_bring_the_applications_they_refer_to(empty: connection) -> None:
    """A review names its application by foreign key; the vector column is added to reviews only."""
    init(empty, (REVIEWS,))
    assert "description_embedding" not in column_types(empty, "applications")
    assert "review_embedding" in column_types(empty, "reviews")


def test_a_plan_is_a_script_that_does_what_init_does(
    server: EmbeddedServer, empty_database_url: str, predecessor_database_url: str
) -> None:
    """What --dry-run prints is for psql, with reasons; run by hand it leaves nothing for init to do."""
    for url in (empty_database_url, predecessor_database_url):
        with closing(connect(find_database(url))) as conn:
            plan = plan_schema(conn, COLUMNS, 1024)
            assert all(step.reason in str(plan) for step in (*plan.statements, *plan.after_commit))
            conn.rollback()
            run_psql(server, url, script=str(plan))
            assert str(plan_schema(conn, COLUMNS, 1024)) == ""


def test_a_plan_changes_nothing_by_itself(empty: connection) -> None:
    """--dry-run may be asked of any database."""
    plan_schema(empty, COLUMNS, 1024)
    empty.commit()
    assert tables(empty) == set()


def test_the_predecessors_database_is_completed_and_keeps_every_row(predecessor: connection) -> None:
    """Only what is missing is added: rows, row versions, vectors, run and indexes are what they were."""
    before = {
        table: contents(predecessor, table, columns)
        for table, columns in (
            ("applications", "appid, combined_text, embedding_run_id, description_embedding, updated_at"),
            ("reviews", "recommendationid, review_text, embedding_run_id, review_embedding, updated_at"),
            ("embedding_runs", "run_id, model_name, dimension, normalized, created_at, notes"),
        )
    }
    indexes = {name for (name,) in query(predecessor, "SELECT indexname::text FROM pg_indexes")}
    plan = init(predecessor)
    assert before == {
        table: contents(predecessor, table, columns)
        for table, columns in (
            ("applications", "appid, combined_text, embedding_run_id, description_embedding, updated_at"),
            ("reviews", "recommendationid, review_text, embedding_run_id, review_embedding, updated_at"),
            ("embedding_runs", "run_id, model_name, dimension, normalized, created_at, notes"),
        )
    }
    left = {name for (name,) in query(predecessor, "SELECT indexname::text FROM pg_indexes")}
    assert indexes - left == {"uq_embedding_run"}
    assert tables(predecessor) == {"applications", "reviews"} | OUR_TABLES
    assert [s.sql for s in plan.statements if "DROP" in s.sql] == [
        'ALTER TABLE public.embedding_runs DROP CONSTRAINT "uq_embedding_run"'
    ]
    assert plan_schema(predecessor, COLUMNS, 1024).statements == ()


def test_the_predecessors_runs_can_have_a_second_recipe(predecessor: connection) -> None:
    """Its narrow UNIQUE gives way and new runs are numbered above the old ones; both are reported."""
    plan = init(predecessor)
    assert [notice for notice in plan.notices if "uq_embedding_run" in notice]
    assert [notice for notice in plan.notices if "numbered from 8" in notice]
    insert = """
        INSERT INTO embedding_runs (model_name, dimension, normalized, recipe_digest)
        VALUES ('BAAI/bge-m3', 1024, true, %s) RETURNING run_id
    """
    assert query(predecessor, insert, "a") + query(predecessor, insert, "b") == [(8,), (9,)]
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(predecessor, insert, "b")


def test_a_unique_index_without_a_constraint_gives_way_too(predecessor: connection) -> None:
    """Some made it with CREATE UNIQUE INDEX, in another order."""
    query(predecessor, "ALTER TABLE embedding_runs DROP CONSTRAINT uq_embedding_run")
    query(predecessor, 'CREATE UNIQUE INDEX "One Run" ON embedding_runs (normalized, model_name, dimension)')
    plan = init(predecessor)
    assert 'DROP INDEX public."One Run"' in str(plan)
    assert plan_schema(predecessor, COLUMNS, 1024).statements == ()


def test_another_dimension_is_refused_and_both_are_named(predecessor: connection) -> None:
    """A vector column is never altered; the message says what the column holds, what the model gives, and a way out."""
    with pytest.raises(
        DimensionMismatch, match=r"applications\.description_embedding holds vectors of 1024.*gives 384.*columns\.py"
    ):
        plan_schema(predecessor, COLUMNS, 384)


def test_a_half_precision_column_has_a_dimension_too(predecessor: connection) -> None:
    """A user may have made the column halfvec."""
    query(predecessor, "DROP INDEX idx_applications_description_embedding_hnsw")
    query(predecessor, "ALTER TABLE applications ALTER COLUMN description_embedding TYPE halfvec(1024)")
    init(predecessor)
    with pytest.raises(DimensionMismatch, match="1024"):
        plan_schema(predecessor, COLUMNS, 512)


def make_notes(conn: connection, id_type: str = "integer PRIMARY KEY", text_type: str = "text") -> None:
    query(conn, 'CREATE SCHEMA IF NOT EXISTS "Help Desk"')
    make = sql.SQL('CREATE TABLE "Help Desk"."Support Notes" ("No" {}, "Body ""raw""" {})')
    query(conn, make.format(sql.SQL(id_type), sql.SQL(text_type)).as_string(conn))
    conn.commit()


def test_a_table_of_the_users_own_gets_three_columns_and_nothing_else(empty: connection) -> None:
    """Any schema, any names: vector, run and digest are added; the run must exist; no Steam table comes."""
    make_notes(empty)
    init(empty, (NOTES,), 384)
    assert column_types(empty, '"Help Desk"."Support Notes"') == {
        "No": "integer",
        'Body "raw"': "text",
        "Body Vector": "vector(384)",
        "Body Run": "bigint",
        "Body Vector_source_md5": "uuid",
    }
    assert tables(empty) == OUR_TABLES
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        query(empty, """INSERT INTO "Help Desk"."Support Notes" ("No", "Body Run") VALUES (1, 99)""")
    empty.rollback()
    assert plan_schema(empty, (NOTES,), 384).statements == ()


def test_a_second_vector_column_of_a_table_has_its_own_run_and_digest(empty: connection) -> None:
    """Two models side by side on one table."""
    make_notes(empty)
    second = TextColumn(
        table=NOTES.table, schema=NOTES.schema, id="No", text=NOTES.text, vector="small", run="small_run_id"
    )
    init(empty, (NOTES,), 1024)
    init(empty, (second,), 384)
    found = column_types(empty, '"Help Desk"."Support Notes"')
    assert (found["Body Vector"], found["small"]) == ("vector(1024)", "vector(384)")
    assert {"Body Run", "Body Vector_source_md5", "small_run_id", "small_source_md5"} < set(found)


def test_a_run_column_without_a_foreign_key_gets_one(empty: connection) -> None:
    """The rows that are there are left to the provenance check; new ones must name a run that exists."""
    make_notes(empty)
    query(empty, 'ALTER TABLE "Help Desk"."Support Notes" ADD COLUMN "Body Run" bigint')
    query(empty, 'INSERT INTO "Help Desk"."Support Notes" ("No", "Body Run") VALUES (1, 99)')
    init(empty, (NOTES,), 384)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        query(empty, """INSERT INTO "Help Desk"."Support Notes" ("No", "Body Run") VALUES (2, 99)""")
    empty.rollback()
    assert plan_schema(empty, (NOTES,), 384).statements == ()


@pytest.mark.parametrize("id_type", ["smallint", "integer", "bigint", "text", "varchar(40)"])
def test_integer_and_text_keys_will_do(empty: connection, id_type: str) -> None:
    """Every key that can be cut into ranges and compared."""
    make_notes(empty, f"{id_type} PRIMARY KEY")
    kind = "bigint" if "int" in id_type else "text"
    column = TextColumn(
        table=NOTES.table,
        schema=NOTES.schema,
        id="No",
        text=NOTES.text,
        vector="v",
        id_type=kind,  # type: ignore[arg-type]
    )
    init(empty, (column,), 384)


Spoil = Callable[[connection], None]


def notes_and(statement: str) -> Spoil:
    """Make the notes, then run ``statement``."""

    def prepare(conn: connection) -> None:
        make_notes(conn)
        query(conn, statement)

    return prepare


TABLE = '"Help Desk"."Support Notes"'


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda conn: None, r"there is no table Help Desk\.Support Notes.*Create it"),
        (lambda conn: make_notes(conn, "uuid PRIMARY KEY"), r"Support Notes\.No is uuid.*bigint, text"),
        (lambda conn: make_notes(conn, "text PRIMARY KEY"), r"is text.*id_type='bigint'.*Write id_type='text'"),
        (lambda conn: make_notes(conn, "integer"), r"is not unique by itself.*CREATE UNIQUE INDEX"),
        (lambda conn: make_notes(conn, text_type="jsonb"), r"is jsonb; expected text"),
        (notes_and(f'ALTER TABLE {TABLE} RENAME "No" TO "Nr"'), r"has no column 'No'; it has Nr, Body"),
        (
            notes_and(f'ALTER TABLE {TABLE} RENAME "Body ""raw""" TO body'),
            r"has no column 'Body \"raw\"'; it has No, body",
        ),
        (
            notes_and(f'ALTER TABLE {TABLE} ADD "Body Vector" real[]'),
            r"Body Vector is real\[\]; expected vector\(384\)",
        ),
        (notes_and(f'ALTER TABLE {TABLE} ADD "Body Run" integer'), r"Body Run is integer; expected bigint"),
        (notes_and(f'ALTER TABLE {TABLE} ADD "Body Vector_source_md5" text'), r"is text; expected uuid"),
        (notes_and(f'ALTER TABLE {TABLE} RENAME TO old; CREATE VIEW {TABLE} AS SELECT 1 AS "No"'), r"is a view"),
        (
            notes_and("CREATE TABLE embedding_runs (note text)"),
            r"embedding_runs without dimension, model_name, run_id; it has note",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(empty: connection, prepare: Spoil, message: str) -> None:
    """Found, expected, and what to do; before anything is changed."""
    prepare(empty)
    with pytest.raises(SteamAssetsError, match=message):
        plan_schema(empty, (NOTES,), 384)


def test_an_id_that_may_be_null_is_mentioned(empty: connection) -> None:
    """A unique column lets NULLs through; those rows are never embedded, and init says so."""
    make_notes(empty, "integer UNIQUE")
    assert "may be NULL" in init(empty, (NOTES,), 384).notices[0]


@pytest.mark.parametrize("dimension", [0, 16_001])
def test_a_dimension_no_vector_has_is_refused(empty: connection, dimension: int) -> None:
    """pgvector holds 1 to 16,000 numbers."""
    with pytest.raises(SteamAssetsError, match=f"1 to 16000 numbers; found {dimension}"):
        plan_schema(empty, COLUMNS, dimension)


def test_a_server_without_pgvector_is_named(empty: connection) -> None:
    """The message says what to install."""
    query(empty, "SET extension_control_path = '/nowhere'")
    with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL 18\.\d+, has no pgvector.*postgresql-18-pgvector"):
        plan_schema(empty, COLUMNS, 384)


@pytest.fixture
def guest(server: EmbeddedServer, empty_database_url: str) -> Iterator[connection]:
    """A connection of a user who owns nothing."""
    with closing(psycopg2.connect(server.dsn("postgres"))) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute("CREATE ROLE guest LOGIN")
        with closing(connect(find_database(empty_database_url.replace("postgres@", "guest@")))) as conn:
            yield conn
        cursor.execute("DROP ROLE guest")


def test_who_may_not_create_is_told_what_to_do(guest: connection) -> None:
    """The step, the reason, and the SQL to hand to the owner; nothing is left half-done."""
    plan = plan_schema(guest, COLUMNS, 384)
    with pytest.raises(SteamAssetsError, match=r"pgvector.*permission denied.*init --dry-run"):
        apply_schema(guest, plan)
    guest.rollback()
    assert tables(guest) == set()


def test_two_inits_at_once_do_not_meet(empty: connection, empty_database_url: str) -> None:
    """The second waits for the first, and then finds nothing to do."""
    plan = plan_schema(empty, COLUMNS, 384)
    seen: list[int] = []

    def second() -> None:
        with closing(connect(find_database(empty_database_url))) as conn:
            seen.append(len(plan_schema(conn, COLUMNS, 384).statements))

    other = threading.Thread(target=second)
    other.start()
    apply_schema(empty, plan)
    assert seen == []
    empty.commit()
    other.join(timeout=30)
    assert seen == [0]


def test_a_locked_table_is_not_waited_for_without_end(predecessor: connection, predecessor_database_url: str) -> None:
    """Somebody else's long transaction: init gives up with a message instead of blocking the table's readers."""
    with closing(connect(find_database(predecessor_database_url))) as other:
        query(other, "LOCK TABLE applications")
        query(predecessor, "SET lock_timeout = '200ms'")
        plan = plan_schema(predecessor, COLUMNS, 1024)
        with pytest.raises(SteamAssetsError, match="Another session holds a lock"):
            apply_schema(predecessor, plan)


def test_each_column_gets_the_dimension_of_its_own_model(empty: connection) -> None:
    """Two columns of one table may differ, and one that does not fit is named."""
    narrow = replace(APPLICATIONS, vector="narrow_embedding", run="narrow_run_id")
    columns = (APPLICATIONS, narrow)
    apply_schema(empty, plan_schema(empty, columns, {APPLICATIONS: 1024, narrow: 64}))
    empty.commit()
    types = column_types(empty, "applications")
    assert (types["description_embedding"], types["narrow_embedding"]) == ("vector(1024)", "vector(64)")
    with pytest.raises(DimensionMismatch, match="holds vectors of 64 numbers, and the model gives 32"):
        plan_schema(empty, columns, {APPLICATIONS: 1024, narrow: 32})
    with pytest.raises(SteamAssetsError, match="1 to 16000 numbers; found 0"):
        plan_schema(empty, columns, {APPLICATIONS: 1024, narrow: 0})

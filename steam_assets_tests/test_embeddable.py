"""What cannot be embedded is refused by name before anything is changed, and what is odd is mentioned."""

from collections.abc import Sequence

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets_tests.rows import DIMENSION, NUMBERED, execute


def init(conn: connection, column: TextColumn) -> Sequence[str]:
    """What `steam-assets init` does to a table, and what it says."""
    plan = plan_schema(conn, [column], DIMENSION)
    apply_schema(conn, plan)
    conn.commit()
    return plan.notices


def test_an_unlogged_table_is_mentioned(conn: connection) -> None:
    """A crash of the server would empty it, hours of work on a GPU with it."""
    execute(conn, "CREATE UNLOGGED TABLE numbered (id bigint PRIMARY KEY, body text)")
    assert [notice for notice in init(conn, NUMBERED) if "unlogged" in notice and "SET LOGGED" in notice]


GOOD = "CREATE TABLE numbered (id bigint PRIMARY KEY, body text)"


REFUSED = (
    ("CREATE VIEW numbered AS SELECT 1::bigint AS id, '' AS body", "numbered is a view.*Name the table itself"),
    ("CREATE MATERIALIZED VIEW numbered AS SELECT 1::bigint AS id, '' AS body", "is a materialized view"),
    (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE numbered (id bigint, body text) SERVER s",
        "is a foreign table",
    ),
    ("CREATE SEQUENCE numbered", "is a sequence"),
    ("CREATE TYPE numbered AS (id bigint, body text)", "is not a table"),
    (
        "CREATE TABLE whole (id bigint PRIMARY KEY, body text) PARTITION BY HASH (id);"
        "CREATE TABLE numbered PARTITION OF whole FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "numbered is a partition of whole.*Name that table",
    ),
    (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE TABLE numbered (id bigint, body text) PARTITION BY LIST (id);"
        "CREATE FOREIGN TABLE far PARTITION OF numbered FOR VALUES IN (1) SERVER s",
        "partitions on other servers: far.*Detach",
    ),
    (
        'CREATE TABLE numbered (id bigint PRIMARY KEY, body text); CREATE TABLE "A child" () INHERITS (numbered)',
        'inherit from it, "A child".*partition them',
    ),
    (
        f"{GOOD}; CREATE RULE quiet AS ON UPDATE TO numbered DO INSTEAD NOTHING",
        "has the rule quiet.*Drop the rule",
    ),
    (f"{GOOD}; DROP TABLE numbered", "there is no table numbered"),
    ("CREATE TABLE numbered (id numeric PRIMARY KEY, body text)", "id is numeric; an id is"),
    ("CREATE TABLE numbered (id uuid PRIMARY KEY, body text)", "id is uuid; an id is"),
    ("CREATE TABLE numbered (id bigint, body text)", "is not unique by itself.*CREATE UNIQUE INDEX"),
    (
        "CREATE TABLE numbered (id bigint, body text, PRIMARY KEY (id, body))",
        "is not unique by itself.*CREATE UNIQUE INDEX",
    ),
    (
        "CREATE TABLE numbered (id bigint, body text); CREATE UNIQUE INDEX ON numbered (id) WHERE body <> ''",
        "is not unique by itself",
    ),
    ("CREATE TABLE numbered (id bigint PRIMARY KEY)", "has no column 'body'; it has id"),
    ("CREATE TABLE numbered (id bigint PRIMARY KEY, body bytea)", "body is bytea; expected text"),
    (f"{GOOD}; ALTER TABLE numbered ADD body_vector bytea", r"is bytea; expected vector\(8\)"),
    (f"{GOOD}; ALTER TABLE numbered ADD body_vector vector(9)", "holds vectors of 9 numbers.*model gives 8"),
    (f"{GOOD}; ALTER TABLE numbered ADD body_vector vector", "is vector of any dimension.*ALTER TABLE"),
    (
        f"{GOOD}; ALTER TABLE numbered ADD body_vector vector(8) GENERATED ALWAYS AS ('[1,0,0,0,0,0,0,0]') STORED",
        "body_vector is generated.*Name another",
    ),
    (
        f"{GOOD}; ALTER TABLE numbered ADD embedding_run_id bigint GENERATED ALWAYS AS (id) STORED",
        "embedding_run_id is generated.*Name another",
    ),
    (
        f"{GOOD}; ALTER TABLE numbered ADD body_vector_source_md5 uuid NOT NULL",
        "body_vector_source_md5 is NOT NULL.*Name another",
    ),
)


def test_what_cannot_be_embedded_is_refused_by_name(conn: connection) -> None:
    """By `init`, before anything is changed: what was found, what was expected, and what to do."""
    for statements, message in REFUSED:
        with conn.cursor() as cursor:
            cursor.execute(statements)
        with pytest.raises(SteamAssetsError, match=message):
            init(conn, NUMBERED)
        conn.rollback()

"""The mark by which `demo` knows its own tables."""

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, TextColumn
from steam_assets.store.database import connect, find_database
from steam_assets.store.demo_mark import foreign_tables, mark_tables
from steam_assets_tests.rows import execute


def test_an_empty_database_has_no_foreign_tables(empty_database_url: str) -> None:
    """A demo may begin there."""
    conn = connect(find_database(empty_database_url))
    assert foreign_tables(conn, COLUMNS) == []
    conn.close()


def test_tables_without_the_mark_are_somebody_elses(conn: connection) -> None:
    """Whatever made them; one that is marked is ours, and the mark can be set again."""
    assert foreign_tables(conn, COLUMNS) == ["applications", "reviews"]
    mark_tables(conn, [APPLICATIONS])
    mark_tables(conn, [APPLICATIONS])
    assert foreign_tables(conn, COLUMNS) == ["reviews"]


def test_a_table_with_a_comment_of_its_own_is_somebody_elses(conn: connection) -> None:
    """Also when a demo had marked it before."""
    mark_tables(conn, COLUMNS)
    execute(conn, "COMMENT ON TABLE reviews IS 'ours now'")
    assert foreign_tables(conn, COLUMNS) == ["reviews"]


def test_names_that_need_quotes_are_found(conn: connection) -> None:
    """Schema and table are taken as they are written."""
    column = TextColumn(schema='My "Shop"', table="Order Lines%s", id="id", text="t", vector="v")
    schema, table = sql.Identifier(column.schema), sql.Identifier(column.schema, column.table)
    execute(conn, sql.SQL("CREATE SCHEMA {}").format(schema))
    assert foreign_tables(conn, [column]) == []
    execute(conn, sql.SQL("CREATE TABLE {} (id bigint)").format(table))
    assert foreign_tables(conn, [column]) == ['"My ""Shop"""."Order Lines%s"']
    mark_tables(conn, [column])
    assert foreign_tables(conn, [column]) == []

"""Two vector columns of one text: that of the notes, which serves, and a rival with made-up vectors of another run.

A challenger of the applications is a column that no test's database has at first.
"""

from dataclasses import replace

from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.store.runs import column_runs
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets_tests.rows import DIMENSION, NOTES, add_rows, change_recipe, embed, make_table

RIVAL = replace(NOTES, vector="rival_vector", run="rival_vector_run_id")
BOTH = (NOTES, RIVAL)
CHALLENGER = replace(
    APPLICATIONS,
    vector="description_embedding_b",
    run="description_embedding_b_run_id",
    model="all-MiniLM-L6-v2",
    preparation="plain",
)
TEXTS = {"a": "an apple", "b": "a boat", "c": "a cloud", "blank": " "}


def add_rival(conn: connection, column: TextColumn, revision: str) -> int:
    """Another vector column of a table that is there, with a run to fill it and none to serve; committed."""
    apply_schema(conn, plan_schema(conn, [column], DIMENSION))
    return change_recipe(conn, column, revision)


def make_rivals(conn: connection, complete: bool = True) -> tuple[int, int]:
    """Three notes and a blank one, their column complete and serving, and a rival beside it; the runs of the two."""
    make_table(conn, NOTES, "text")
    add_rows(conn, NOTES, TEXTS)
    embed(conn, NOTES)
    rival_run = add_rival(conn, RIVAL, "rival")
    if complete:
        embed(conn, RIVAL)
    return runs_of(conn, NOTES)[0] or 0, rival_run


def runs_of(conn: connection, column: TextColumn) -> tuple[int | None, int | None]:
    """The ids of the column's target and serving run; nothing is left open."""
    runs = column_runs(conn, column)
    conn.rollback()
    target, serving = (None if run is None else run.run_id for run in (runs.target, runs.serving))
    return target, serving

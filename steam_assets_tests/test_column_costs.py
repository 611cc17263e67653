"""What a run's vectors cost is read from the database: rows, bytes, index and time."""

from psycopg2.extensions import connection

from steam_assets.store.column_costs import ColumnCosts, column_costs
from steam_assets.store.runs import finish_range, start_range
from steam_assets_tests.rivals import RIVAL, make_rivals
from steam_assets_tests.rows import DIMENSION, NOTES, execute

INDEX_RECORD = """
    INSERT INTO embedding_indexes (table_name, vector_column, variant, run_id, index_name, m, ef_construction,
                                   ef_search, recall, rows, bytes, seconds)
    VALUES ('notes', 'rival_vector', 'vector', %(run)s, 'rival_hnsw', 16, 64, 40, %(recall)s, 3, 12345, 1)
"""


def test_vectors_of_a_run_are_counted_with_the_bytes_they_are_stored_in(conn: connection) -> None:
    """Four for each number and a few more; those of another run are not among them."""
    first, rival_run = make_rivals(conn)
    found = column_costs(conn, RIVAL, rival_run)
    assert found.vectors == 3
    assert 3 * 4 * DIMENSION < found.vector_bytes <= 3 * (4 * DIMENSION + 8)
    assert column_costs(conn, RIVAL, first) == ColumnCosts(0, 0, None, 0, 0.0)


def test_time_is_that_of_finished_attempts_of_the_column_s_run(conn: connection) -> None:
    """A failed one wrote nothing that counts, and the other column's are its own."""
    first, rival_run = make_rivals(conn)
    with conn:
        for column, run_id, status in (
            (RIVAL, rival_run, "done"),
            (RIVAL, rival_run, "done"),
            (RIVAL, rival_run, "failed"),
            (RIVAL, first, "done"),
            (NOTES, first, "done"),
        ):
            attempt = start_range(conn, column, run_id, "~:~", "a run", "cpu", "fp32")
            finish_range(conn, attempt, status, rows_written=2, seconds=1.5)  # type: ignore[arg-type]
    found = column_costs(conn, RIVAL, rival_run)
    assert (found.rows_encoded, found.embed_seconds) == (4, 3.0)


def test_an_index_counts_when_searches_go_through_it(conn: connection) -> None:
    """Measured, and there."""
    _, rival_run = make_rivals(conn)
    execute(conn, INDEX_RECORD, run=rival_run, recall=0.99)
    assert column_costs(conn, RIVAL, rival_run).index_bytes is None
    execute(conn, "CREATE INDEX rival_hnsw ON notes USING hnsw (rival_vector vector_cosine_ops)")
    assert column_costs(conn, RIVAL, rival_run).index_bytes == 12345
    execute(conn, "UPDATE embedding_indexes SET recall = NULL")
    assert column_costs(conn, RIVAL, rival_run).index_bytes is None

"""A projection is used while it has every row as it is, and not a moment longer."""

from contextlib import closing

import numpy as np
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection, cursor

from steam_assets.columns import TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.errors import SteamAssetsError
from steam_assets.id_range import EVERYTHING
from steam_assets.indexes.pca import ensure_projection
from steam_assets.pipeline import fill_range
from steam_assets.store import projections as module
from steam_assets.store.projections import Fitted, current_projection, newest_projection, record_projection
from steam_assets.store.runs import finish_range, start_range
from steam_assets.store.session import RunSession
from steam_assets.store.variants import find_variant
from steam_assets.stream import open_stream
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.made_up_vectors import BY_NAME, BY_NUMBER, NUMBERS, clustered, make_vectors, put_vectors
from steam_assets_tests.rows import Connect, add_reviews, execute, fetch, target_of

VECTORS = clustered(60)


def test_a_stored_projection_is_read_back_as_it_was_fitted(conn: connection, connect: Connect) -> None:
    """Another process projects a query with the same matrix, bit for bit."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    made = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    module._matrices.clear()
    read = current_projection(conn, BY_NUMBER, run.run_id)
    assert read is not None
    assert (read.projection_id, read.fitted.rows) == (made.projection_id, 60)
    assert read.fitted.matrix.tobytes() == made.fitted.matrix.tobytes()
    assert read.project(VECTORS[3].tolist()) == made.project(VECTORS[3].tolist())
    assert len(read.project(VECTORS[3].tolist())) == find_variant("pca").indexed_dimension(NUMBERS)


@pytest.mark.parametrize("ids", [[60], [7]], ids=["a new row", "a row with another vector"])
def test_a_projection_is_out_of_date_once_a_vector_was_written(
    conn: connection, connect: Connect, ids: list[int]
) -> None:
    """A row that the side table lacks, or has as it was, would be missed without a word."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    first = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    assert current_projection(conn, BY_NUMBER, run.run_id) is not None
    put_vectors(conn, BY_NUMBER, run.run_id, ids, clustered(1, seed=5))
    assert current_projection(conn, BY_NUMBER, run.run_id) is None

    second = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    assert second.projection_id > first.projection_id
    assert current_projection(conn, BY_NUMBER, run.run_id) is not None
    of_second = "SELECT rows FROM embedding_projections WHERE projection_id = %(second)s"
    assert fetch(conn, of_second, second=second.projection_id) == [(len({*range(60), *ids}),)]


def test_the_pipeline_s_own_writes_put_a_projection_out_of_date_before_the_first_is_seen(
    conn: connection, connect: Connect, reviews: TextColumn, minilm: Model
) -> None:
    """The attempt is on record before its first vector, so no search finds the one without the other.

    One that finds nothing to do leaves it as it is.
    """
    encoder: Encoder = hash_encoder(minilm)
    current: list[bool] = []

    def fill() -> None:
        stream = open_stream(reviews, [EVERYTHING], lambda model: encoder, connect)
        with RunSession(connect, "dagster-run") as session:
            fill_range(session, stream, EVERYTHING, SystemMonitor("cpu", lambda line: None), lambda line: None)

    fill()
    run_id = target_of(conn, reviews)
    ensure_projection(connect, reviews, run_id, minilm.dimension)
    fill()
    assert current_projection(conn, reviews, run_id) is not None
    conn.rollback()
    add_reviews(conn, {"new": "a farm that nobody has projected"})
    vectors_of = encoder.backend.start

    def looking(pack: object) -> object:
        with closing(connect()) as other:
            current.append(current_projection(other, reviews, run_id) is not None)
        return vectors_of(pack)  # type: ignore[arg-type]

    encoder.backend.start = looking  # type: ignore[method-assign,assignment]
    fill()
    assert current == [False]
    assert current_projection(conn, reviews, run_id) is None


def test_an_attempt_that_encoded_counts_whatever_it_says_it_wrote(conn: connection, connect: Connect) -> None:
    """The server may have kept a chunk and been lost before it said so; who encoded nothing wrote nothing."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    with conn:
        attempt = start_range(conn, BY_NUMBER, run.run_id, "~:~", "a run", "cpu", "fp32")
    for forwards, is_current in ((0, True), (1, False)):
        with conn:
            finish_range(conn, attempt, "done", details={"forwards": forwards}, rows_written=0)
            assert (current_projection(conn, BY_NUMBER, run.run_id) is not None) == is_current


def test_vectors_taken_over_from_another_tool_put_a_projection_out_of_date(conn: connection, connect: Connect) -> None:
    """They come without an attempt; the run's notes say that they came."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    execute(conn, "UPDATE embedding_runs SET notes = 'adopted' WHERE run_id = %(run)s", run=run.run_id)
    assert current_projection(conn, BY_NUMBER, run.run_id) is None


def test_an_attempt_with_an_earlier_number_that_is_seen_late_counts(conn: connection, connect: Connect) -> None:
    """Two runs began at once; the later one's record was committed first."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    with closing(connect()) as other:
        start_range(other, BY_NUMBER, run.run_id, "~:~", "early", "cpu", "fp32")
        put_vectors(conn, BY_NUMBER, run.run_id, [61], clustered(1, seed=6))
        ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
        assert current_projection(conn, BY_NUMBER, run.run_id) is not None
        conn.rollback()
        other.commit()
    assert current_projection(conn, BY_NUMBER, run.run_id) is None


def test_a_column_that_a_living_run_writes_to_is_not_projected(conn: connection, connect: Connect) -> None:
    """Rows would come after they were looked for; one that died does not count."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    with conn:
        start_range(conn, BY_NUMBER, run.run_id, "~:~", "at it", "cpu", "fp32")
    with RunSession(connect, "at it"), pytest.raises(SteamAssetsError, match=r"is being written by a run"):
        ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    assert ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS).projection_id


def test_a_run_that_begins_at_the_last_moment_is_seen(
    conn: connection, other_conn: connection, connect: Connect
) -> None:
    """Whether anybody writes and what was written so far are of one moment: none lies between."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)

    class Late(cursor):
        def execute(self, query: str | bytes | sql.Composable, vars: object = None) -> None:  # noqa: A002 (psycopg2's)
            if "INSERT INTO public.embedding_projections" in str(query):
                start_range(other_conn, BY_NUMBER, run.run_id, "~:~", "late", "cpu", "fp32")
            super().execute(query, vars)  # type: ignore[arg-type]

    conn.autocommit = True
    conn.cursor_factory = Late
    fitted = Fitted(np.eye(NUMBERS, dtype=np.float32)[:4], 60, 1.0)
    with RunSession(connect, "late"), pytest.raises(SteamAssetsError, match=r"is being written by a run"):
        record_projection(conn, BY_NUMBER, run.run_id, fitted)


def test_a_projection_whose_table_somebody_dropped_is_not_current(conn: connection, connect: Connect) -> None:
    """Searches compare every row then."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    made = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    execute(conn, f"DROP TABLE {made.table}")
    assert current_projection(conn, BY_NUMBER, run.run_id) is None


def test_searches_keep_to_the_projection_that_their_index_is_over(conn: connection, connect: Connect) -> None:
    """A newer one has another matrix, and no index until that is built."""
    run = make_vectors(conn, BY_NUMBER, VECTORS)
    first = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    execute(
        conn,
        """
        INSERT INTO embedding_indexes (table_name, vector_column, variant, run_id, index_name, projection_id, m,
                                       ef_construction, ef_search, rows, bytes, seconds)
        VALUES (%(table)s, %(vector)s, 'pca', %(run)s, 'near', %(projection)s, 16, 64, 40, 60, 1, 1)
        """,
        table=BY_NUMBER.qualified_table,
        vector=BY_NUMBER.vector,
        run=run.run_id,
        projection=first.projection_id,
    )
    put_vectors(conn, BY_NUMBER, run.run_id, [60], clustered(1, seed=5))
    second = ensure_projection(connect, BY_NUMBER, run.run_id, NUMBERS)
    newest = newest_projection(conn, BY_NUMBER, run.run_id)
    assert newest is not None
    assert newest.projection_id == second.projection_id
    assert current_projection(conn, BY_NUMBER, run.run_id) is None
    conn.rollback()
    execute(conn, "UPDATE embedding_indexes SET projection_id = %(p)s", p=second.projection_id)
    current = current_projection(conn, BY_NUMBER, run.run_id)
    assert current is not None
    assert current.projection_id == second.projection_id


def test_a_matrix_that_was_changed_in_the_database_is_refused(conn: connection, connect: Connect) -> None:
    """Queries projected otherwise than the rows find nothing that is near."""
    run = make_vectors(conn, BY_NAME, VECTORS, [f"id {n}" for n in range(60)])
    made = ensure_projection(connect, BY_NAME, run.run_id, NUMBERS)
    zeros = np.zeros_like(made.fitted.matrix).tobytes()
    execute(conn, "UPDATE embedding_projections SET matrix = %(zeros)s", zeros=zeros)
    module._matrices.clear()
    with pytest.raises(SteamAssetsError, match=r"is not the one that was stored"):
        current_projection(conn, BY_NAME, run.run_id)
    conn.rollback()
    assert fetch(conn, "SELECT count(*) FROM embedding_projections") == [(1,)]

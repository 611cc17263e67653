"""Shape, memory and workers of a build follow from the rows, the machine and the server's settings."""

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.store import hnsw_size
from steam_assets.store.hnsw_size import MANY_ROWS, graph_bytes, is_here, settings_for
from steam_assets.store.variants import find_variant
from steam_assets_tests.rows import execute

VECTOR, HALFVEC, BIT = map(find_variant, ("vector", "halfvec", "bit"))


def test_a_row_s_memory_is_what_was_measured() -> None:
    """64 MB held 13,928 vectors of 1,024 numbers with m 16 (research/postgres.md 3): 4.8 KB each, and not above 5."""
    assert 64 * 2**20 / 13_928 < graph_bytes(VECTOR, 1024, 16) < 5_000


def test_smaller_values_take_less_memory_and_more_neighbours_more() -> None:
    """Half the numbers' bytes, an eighth of a byte for a bit; the graph itself stays."""
    sizes = [graph_bytes(variant, 1024, 16) for variant in (VECTOR, HALFVEC, BIT)]
    assert sizes[0] - sizes[1] == 2 * 1024
    assert sizes[0] - sizes[2] == 4 * 1024 - 128
    assert graph_bytes(BIT, 1024, 32) > 1.5 * graph_bytes(BIT, 1024, 16)


def test_memory_is_what_the_graph_needs_and_never_less_than_the_server_gives(conn: connection) -> None:
    """A hundred rows need nothing; a hundred thousand half a gigabyte."""
    few, some = (settings_for(conn, VECTOR, 1024, rows, None, None) for rows in (100, 100_000))
    assert few.memory_bytes == 64 * 2**20 > few.needed_bytes
    assert some.memory_bytes == some.needed_bytes > 480_000_000


def test_memory_ends_where_a_setting_says(conn: connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """STEAM_ASSETS_INDEX_MEMORY_MB is the most that a build takes, also where the server would give more."""
    for megabytes in (100, 10):
        monkeypatch.setenv("STEAM_ASSETS_INDEX_MEMORY_MB", str(megabytes))
        settings = settings_for(conn, VECTOR, 1024, 1_000_000, None, None)
        assert settings.memory_bytes == megabytes * 2**20 < settings.needed_bytes


def test_a_server_elsewhere_is_judged_by_its_settings(conn: connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its machine nothing is known here: as much as its shared buffers, and its own number of workers."""
    assert is_here(conn)
    monkeypatch.setattr(hnsw_size, "is_here", lambda _: False)
    execute(conn, "SET max_parallel_maintenance_workers = 1")
    settings = settings_for(conn, VECTOR, 1024, 1_000_000, None, None)
    with conn.cursor() as cursor:
        cursor.execute("SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'")
        assert cursor.fetchone() == (settings.memory_bytes,)
    assert settings.workers == 1


def test_many_rows_get_a_wider_graph(conn: connection) -> None:
    """Recall falls as rows get many; a person's word goes before that."""
    few, many = (settings_for(conn, HALFVEC, 384, rows, None, None) for rows in (1_000, MANY_ROWS))
    assert (few.m, few.ef_construction) == (16, 64)
    assert (many.m, many.ef_construction) == (24, 128)
    asked = settings_for(conn, HALFVEC, 384, MANY_ROWS, 40, None)
    assert (asked.m, asked.ef_construction) == (40, 128)
    assert few.workers == 0


@pytest.mark.parametrize(("m", "ef_construction"), [(1, None), (101, None), (16, 31), (16, 1001)])
def test_a_shape_that_pgvector_does_not_build_is_refused(conn: connection, m: int, ef_construction: int | None) -> None:
    """Before anything begins, with its limits."""
    with pytest.raises(SteamAssetsError, match=r"pgvector wants m from 2 to 100, and ef_construction from 2 m, here"):
        settings_for(conn, HALFVEC, 384, 100, m, ef_construction)


def test_what_we_call_allowed_pgvector_builds(conn: connection) -> None:
    """The limits are its own."""
    execute(conn, "CREATE TABLE v (v vector(3)); INSERT INTO v VALUES ('[1,2,3]')")
    for m, ef_construction in ((2, 4), (100, 200), (100, 1000)):
        execute(
            conn,
            sql.SQL("CREATE INDEX ON v USING hnsw (v vector_cosine_ops) WITH (m = {}, ef_construction = {})").format(
                sql.Literal(m), sql.Literal(ef_construction)
            ),
        )

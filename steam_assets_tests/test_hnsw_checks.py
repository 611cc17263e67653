"""What cannot be indexed is refused before anything begins, with what can be done."""

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.store.hnsw_checks import IndexImpossible, check_buildable, check_dimension
from steam_assets.store.variants import VARIANTS, find_variant
from steam_assets.store.vector_indexes import drop_for_bulk, dropped_indexes
from steam_assets_tests.indexed_rows import HALFVEC, fill, measured
from steam_assets_tests.rows import DIMENSION, NUMBERED, Connect, execute
from steam_assets_tests.servers import stranger

VECTOR = find_variant("vector")


@pytest.mark.parametrize(("variant", "limit"), [("vector", 2_000), ("halfvec", 4_000), ("bit", 64_000)])
def test_the_limits_are_pgvector_s(conn: connection, variant: str, limit: int) -> None:
    """As many numbers as we allow it indexes, and not one more."""
    chosen = find_variant(variant)
    check_dimension(NUMBERED, limit, chosen)
    kind = {"vector": "vector", "halfvec": "halfvec", "bit": "bit"}[variant]
    index = f"CREATE INDEX ON v USING hnsw (v {chosen.operator_class})"
    execute(conn, f"CREATE TABLE v (v {kind}({limit})); {index}")
    execute(conn, f"DROP TABLE v; CREATE TABLE v (v {kind}({limit + 1 if variant != 'bit' else limit + 8}))")
    with pytest.raises(psycopg2.Error):
        execute(conn, index)
    with pytest.raises(IndexImpossible):
        check_dimension(NUMBERED, limit + 1, chosen)


def test_a_vector_that_is_too_long_is_refused_with_the_variants_that_take_it() -> None:
    """3,072 numbers, as OpenAI's large model gives."""
    with pytest.raises(
        IndexImpossible, match=r"at most 2,000 numbers.*have 3,072\. Build another: --variant halfvec, "
    ):
        check_dimension(NUMBERED, 3_072, VECTOR)
    for variant in VARIANTS[1:]:
        check_dimension(NUMBERED, 3_072, variant)


def test_whoever_does_not_own_the_table_is_told_who_does(conn: connection, numbered: TextColumn) -> None:
    """PostgreSQL gives the right to build an index to nobody else."""
    with stranger(conn) as name:
        execute(conn, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}; SET ROLE {name}")
        with pytest.raises(IndexImpossible, match=r"only postgres may, who owns numbered.*infra/sql/roles\.sql"):
            check_buildable(conn, numbered, HALFVEC, DIMENSION)
        conn.rollback()
        execute(conn, f"RESET ROLE; ALTER TABLE numbered OWNER TO {name}; REVOKE ALL ON embedding_indexes FROM {name}")
        execute(conn, f"SET ROLE {name}")
        with pytest.raises(IndexImpossible, match=r"may not write public\.embedding_indexes"):
            check_buildable(conn, numbered, HALFVEC, DIMENSION)


def test_somebody_else_s_index_of_the_same_name_stays(conn: connection, numbered: TextColumn) -> None:
    """Existing data is never dropped, and an index is no exception."""
    fill(conn, numbered, 5)
    execute(conn, "CREATE INDEX numbered_body_vector_halfvec_hnsw ON numbered (likes)")
    with pytest.raises(IndexImpossible, match="numbered_body_vector_halfvec_hnsw that steam-assets has not built"):
        check_buildable(conn, numbered, HALFVEC, DIMENSION)
    check_buildable(conn, numbered, VECTOR, DIMENSION)


def test_our_own_index_is_replaced_also_when_it_was_built_by_hand_again(
    conn: connection, connect: Connect, numbered: TextColumn
) -> None:
    """From the definition that was recorded when it was dropped."""
    measured(conn, connect, numbered, fill(conn, numbered, 5))
    drop_for_bulk(conn, numbered, "bulk")
    (record,) = dropped_indexes(conn, numbered)
    execute(conn, record.definition)
    check_buildable(conn, numbered, HALFVEC, DIMENSION)


def test_a_partitioned_table_is_refused(conn: connection) -> None:
    """PostgreSQL builds nothing concurrently on one."""
    column = TextColumn(table="parts", id="id", text="body", vector="v")
    execute(conn, "CREATE TABLE parts (id bigint PRIMARY KEY, body text) PARTITION BY RANGE (id)")
    with pytest.raises(IndexImpossible, match="parts is partitioned"):
        check_buildable(conn, column, HALFVEC, DIMENSION)


def test_a_table_that_is_not_there_is_said(conn: connection) -> None:
    """Another database, or no init yet."""
    with pytest.raises(IndexImpossible, match="no table nowhere"):
        check_buildable(conn, TextColumn("nowhere", "id", "t", "v"), HALFVEC, DIMENSION)

"""What building an HNSW index takes: its shape for so many rows, memory, and workers. Building is hnsw_build.py's."""

import os
from dataclasses import dataclass

from psycopg2.extensions import connection

from steam_assets.errors import SteamAssetsError
from steam_assets.settings import integer_setting
from steam_assets.store.variants import Variant

# pgvector's own defaults; its documentation asks for more of both where recall falls short as rows get many.
M, M_OF_MANY = 16, 24
EF_CONSTRUCTION, EF_CONSTRUCTION_OF_MANY = 64, 128
MANY_ROWS = 50_000
"""On 100,000 rows of 1,024 numbers a halfvec index finds 0.9995 of the ten nearest with ef_search 64 and p95 4.6 ms
then, and takes 156 s to build; with the defaults 0.997 with ef_search 200 and 8.3 ms, and 58 s (2026-11, two cores)."""
MOST_M, MOST_EF_CONSTRUCTION = 100, 1_000

# pgvector keeps the graph in memory while it is built (src/hnsw.h): for each row a HnswElementData and its value, and
# for each layer an array of candidates of 16 bytes, 2 m of them in the lowest; 1/m of the rows are in the next. With
# m 16 and 1,024 numbers of 4 bytes that is 4.8 KB, as 64 MB held 13,928 rows (research/postgres.md 3); with 384 numbers
# of 2 bytes 1,520 where pgvector 0.8.5 took 1,483, with 8 of them 768 and 732, and with m 24 then 1,024 and 986.
ELEMENT_BYTES = 200
CANDIDATE_BYTES = 16
BYTES_OF_A_NUMBER = {"vector_cosine_ops": 4.0, "halfvec_cosine_ops": 2.0, "bit_hamming_ops": 1 / 8}
VALUE_HEADER_BYTES = 8
HEADROOM = 1.1
BLOCK_BYTES = 2 << 20
"""It is taken in blocks of a megabyte."""

SHARE_OF_FREE_MEMORY = 0.5
"""Of a machine that serves others meanwhile."""

FEW_ROWS = 10_000
"""A worker starts in milliseconds, and so many rows of 1,024 numbers take 12 s (postgres.md 3)."""

SETTINGS = """
    SELECT name, setting::bigint * CASE unit WHEN 'kB' THEN 1024 WHEN '8kB' THEN 8192 ELSE 1 END
    FROM pg_settings
    WHERE name IN ('maintenance_work_mem', 'shared_buffers', 'max_parallel_maintenance_workers',
                   'max_parallel_workers', 'max_worker_processes')
"""


@dataclass(frozen=True)
class BuildSettings:
    """How an index is built: its shape, and what the server may use; ``needed_bytes`` would hold the whole graph."""

    m: int
    ef_construction: int
    memory_bytes: int
    needed_bytes: int
    workers: int


def settings_for(
    conn: connection, variant: Variant, dimension: int, rows: int, m: int | None, ef_construction: int | None
) -> BuildSettings:
    """The settings for so many rows of ``dimension`` numbers; the shape where it is not asked for.

    Raises SteamAssetsError for a shape that pgvector does not build.
    """
    many = rows >= MANY_ROWS
    m = m or (M_OF_MANY if many else M)
    ef_construction = ef_construction or max(EF_CONSTRUCTION_OF_MANY if many else EF_CONSTRUCTION, 2 * m)
    if not (2 <= m <= MOST_M and 2 * m <= ef_construction <= MOST_EF_CONSTRUCTION):
        raise SteamAssetsError(
            f"m is {m} and ef_construction {ef_construction}; pgvector wants m from 2 to {MOST_M}, and ef_construction "
            f"from 2 m, here {2 * m}, to {MOST_EF_CONSTRUCTION}."
        )
    server = _server_settings(conn)
    needed = int(rows * graph_bytes(variant, dimension, m) * HEADROOM) + BLOCK_BYTES
    memory = min(max(server["maintenance_work_mem"], needed), most_memory(conn, server))
    return BuildSettings(m, ef_construction, memory, needed, _workers(conn, rows, server))


def graph_bytes(variant: Variant, dimension: int, m: int) -> float:
    """Memory that a row takes while the graph is built: 4,848 for a vector of 1,024 numbers with m 16."""
    value = VALUE_HEADER_BYTES + BYTES_OF_A_NUMBER[variant.operator_class] * variant.indexed_dimension(dimension)
    return value + ELEMENT_BYTES + CANDIDATE_BYTES * 2 * m * (1 + 1 / m)


def most_memory(conn: connection, server: dict[str, int]) -> int:
    """What a build may take: half of what is free on this machine, or what a server elsewhere has been given.

    Of another machine only its settings are known; shared_buffers is a quarter of its memory by PostgreSQL's advice.
    It is never less than the server's maintenance_work_mem, unless ``STEAM_ASSETS_INDEX_MEMORY_MB`` says so.
    """
    if (megabytes := integer_setting("STEAM_ASSETS_INDEX_MEMORY_MB")) is not None:
        return megabytes << 20
    if not is_here(conn):
        return max(server["maintenance_work_mem"], server["shared_buffers"])
    import psutil

    return max(server["maintenance_work_mem"], int(SHARE_OF_FREE_MEMORY * psutil.virtual_memory().available))


def is_here(conn: connection) -> bool:
    """Whether the server runs on this machine, as far as its address tells."""
    host = conn.info.host or ""
    return host.startswith("/") or host in ("", "localhost", "127.0.0.1", "::1")


def _workers(conn: connection, rows: int, server: dict[str, int]) -> int:
    """Processes beside the leader; the planner takes fewer for a small table or little memory."""
    if rows < FEW_ROWS:
        return 0
    allowed = (os.cpu_count() or 1) - 1 if is_here(conn) else server["max_parallel_maintenance_workers"]
    return min(allowed, server["max_parallel_workers"], server["max_worker_processes"])


def _server_settings(conn: connection) -> dict[str, int]:
    with conn.cursor() as cursor:
        cursor.execute(SETTINGS)
        return {name: int(value) for name, value in cursor.fetchall()}

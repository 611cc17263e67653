"""How a vector column can be indexed and asked, a row for each variant. Building: hnsw_build.py, asking: search.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg2 import sql

from steam_assets.columns import TextColumn
from steam_assets.errors import SteamAssetsError
from steam_assets.store.states import names

SHORT_DIMENSION = 256
"""Numbers of a shortened vector: a quarter of 1,024, which costs little recall (research/encoder.md 6)."""

MAX_EF_SEARCH = 1_000  # pgvector's


@dataclass(frozen=True)
class Variant:
    """What an HNSW index holds of a vector, and how it is asked.

    ``expression`` makes that of a ``{value}`` of ``{dimension}`` numbers, in the index and in the query alike.
    At least ``oversample`` candidates are fetched for each hit and ordered again by the stored vectors;
    ``max_dimension`` is pgvector's for the type. A ``projected`` variant indexes rows of a projection (projections.py),
    not the column's.
    """

    name: str
    expression: sql.SQL
    operator_class: str
    operator: Literal["<=>", "<~>"]
    oversample: int
    max_dimension: int
    is_short: bool = False
    projected: bool = False

    def indexed_dimension(self, dimension: int) -> int:
        """How many numbers or bits of a vector the index holds."""
        return short_dimension(dimension) if self.is_short else dimension

    def key(self, value: sql.Composable, dimension: int) -> sql.Composed:
        """What the index holds of ``value``: a vector of ``dimension`` numbers, or the projection of such a one."""
        return self.expression.format(value=value, dimension=sql.Literal(self.indexed_dimension(dimension)))


VARIANTS: tuple[Variant, ...] = (
    Variant("vector", sql.SQL("({value}::vector({dimension}))"), "vector_cosine_ops", "<=>", 1, 2_000),
    Variant("halfvec", sql.SQL("({value}::halfvec({dimension}))"), "halfvec_cosine_ops", "<=>", 1, 4_000),
    Variant("bit", sql.SQL("(binary_quantize({value})::bit({dimension}))"), "bit_hamming_ops", "<~>", 10, 64_000),
    Variant(
        *("pca", sql.SQL("({value}::halfvec({dimension}))"), "halfvec_cosine_ops", "<=>", 5, 4_000),
        is_short=True,
        projected=True,
    ),
    # What not to do with a model that was not trained for it: kept to show what PCA is worth.
    Variant(
        *("truncated", sql.SQL("(subvector({value}, 1, {dimension})::halfvec({dimension}))"), "halfvec_cosine_ops"),
        *("<=>", 5, 4_000),
        is_short=True,
    ),
)
DEFAULT_VARIANT = "halfvec"


def find_variant(name: str) -> Variant:
    """The variant of this name; raises SteamAssetsError with the names there are."""
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    raise SteamAssetsError(
        f"{name!r} is no variant of an index; expected one of: {', '.join(v.name for v in VARIANTS)}."
    )


def short_dimension(dimension: int) -> int:
    """Numbers of the shortened vectors of a column: 1024 -> 256, 384 -> 256, 32 -> 16."""
    return SHORT_DIMENSION if dimension > SHORT_DIMENSION else max(1, dimension // 2)


@dataclass(frozen=True)
class SearchIndex:
    """An index that searches of a run may go through; ``projection`` is the table a projected variant asks."""

    name: str
    variant: Variant
    ef_search: int
    projection: str | None = None

    def candidates(self, k: int) -> int:
        """Rows to fetch for ``k`` hits; where they are ordered again, all that the index looks at anyway."""
        oversample = self.variant.oversample
        return k if oversample == 1 else max(k * oversample, self.ef_search)

    def least_ef_search(self, k: int) -> int:
        """The hnsw.ef_search for ``k`` hits: without an iterative scan an index gives no more rows than that."""
        return min(MAX_EF_SEARCH, max(self.ef_search, self.candidates(k)))


ALL_ROWS = sql.SQL("TRUE")

# Plus 0: no index gives this order, so every row is compared.
EXACT = sql.SQL("""
    SELECT t.{id}::text AS id,
           1 - (t.{vector}::vector <=> {query}) AS cosine
    FROM {table} AS t
    WHERE t.{run} = {run_id}
      AND t.{vector} IS NOT NULL
      AND {condition}
    ORDER BY (t.{vector}::vector <=> {query}) + 0, t.{id}
    LIMIT {k}
""")

# The index is partial, of one run: its order is that of the ``key``, the answer's that of the stored vectors.
THROUGH_INDEX = sql.SQL("""
    WITH near AS MATERIALIZED (
        SELECT t.{id} AS id,
               t.{vector}::vector AS vector
        FROM {source}
        WHERE t.{run} = {run_id}
          AND {condition}
        ORDER BY {key} {operator} {key_of_query}
        LIMIT {candidates}
    )
    SELECT id::text,
           1 - distance AS cosine
    FROM (
        SELECT id, vector <=> {query} AS distance
        FROM near) AS compared
    ORDER BY distance, id
    LIMIT {k}
""")


def nearest_exactly(
    column: TextColumn, run_id: int, query: Sequence[float], k: int, condition: sql.Composable = ALL_ROWS
) -> sql.Composed:
    """The statement for ids and cosines of the ``k`` rows of a run nearest to ``query``, by comparing every row.

    ``condition`` is on the table ``t``.
    """
    return EXACT.format(
        **names(column), run_id=sql.Literal(run_id), query=vector_literal(query), k=sql.Literal(k), condition=condition
    )


def nearest_through(
    index: SearchIndex,
    column: TextColumn,
    run_id: int,
    query: Sequence[float],
    k: int,
    condition: sql.Composable = ALL_ROWS,
    projected_query: Sequence[float] | None = None,
) -> sql.Composed:
    """The same through an index; ``projected_query`` is the query as a projected variant has it.

    The caller sets hnsw.ef_search, and hnsw.iterative_scan where candidates or a condition go beyond it.
    """
    variant, dimension = index.variant, len(query)
    asked = query if projected_query is None else projected_query
    if variant.projected:
        assert index.projection is not None
        assert projected_query is not None
        source = sql.SQL("{projection} AS p JOIN {table} AS t ON t.{id} = p.id").format(
            projection=sql.Identifier("public", index.projection), **names(column)
        )
        value: sql.Composable = sql.SQL("p.projected")
    else:
        source = sql.SQL("{table} AS t").format(**names(column))
        value = sql.SQL("t.{vector}").format(**names(column))
    return THROUGH_INDEX.format(
        **names(column),
        source=source,
        run_id=sql.Literal(run_id),
        condition=condition,
        key=variant.key(value, dimension),
        operator=sql.SQL(variant.operator),
        key_of_query=variant.key(vector_literal(asked), dimension),
        query=vector_literal(query),
        candidates=sql.Literal(index.candidates(k)),
        k=sql.Literal(k),
    )


def vector_literal(numbers: Sequence[float]) -> sql.Composed:
    """A vector of SQL with these numbers; its type says how many they are, as the index's expression does."""
    # Nine digits are all of a float32, and half of what repr has; one formatting takes a third of the time.
    text = ",".join(["%.9g"] * len(numbers)) % tuple(numbers)
    return sql.SQL("{}::vector({})").format(sql.Literal(f"[{text}]"), sql.Literal(len(numbers)))

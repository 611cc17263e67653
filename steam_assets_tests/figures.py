"""Figures of made-up measurements of a column's variants: exact search, and indexes that are quick, small or late."""

from dataclasses import replace

from steam_assets.store.variant_records import VariantFigures

EXACT = VariantFigures("exact", None, 900, 32, 100, 1.0, 1.0, 4.0, 5.0, 250.0, 8, 400.0)
SLOW_EXACT = replace(EXACT, ms_p95=60.0)
HALFVEC = VariantFigures(
    *("halfvec", 40, 900, 32, 100, 0.995, 0.97, 1.0, 2.0, 900.0, 8, 1500.0),
    bytes=90_000,
    seconds=0.5,
    m=16,
    ef_construction=64,
)
VECTOR = replace(HALFVEC, variant="vector", recall_10=0.996, bytes=180_000)
BIT_EARLY = replace(HALFVEC, variant="bit", ef_search=100, recall_10=0.96, bytes=20_000)
BIT = replace(BIT_EARLY, ef_search=400, recall_10=0.991, ms_p95=6.0)
TRUNCATED = replace(HALFVEC, variant="truncated", recall_10=0.999, bytes=10_000)

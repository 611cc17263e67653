"""Several comparisons of one text are told apart by the column that is compared."""

from dataclasses import replace

from steam_assets.defs.comparison_metadata import comparison_metadata
from steam_assets.evaluation.compare import Comparison


def test_each_of_several_comparisons_has_its_own_entries(compared: Comparison) -> None:
    """One alone needs no prefix; p-values and differences are numbers that the web UI plots over time."""
    alone = comparison_metadata([compared])
    assert {"verdict", "columns", "plot", "overlap_at_10", "comparison"} < set(alone)
    assert alone["ndcg_at_10_p_value"].value == compared.differences["ndcg@10"].p_value
    third = replace(compared, second=replace(compared.second, column="notes.third vector"))
    both = comparison_metadata([compared, third])
    assert set(both) == {f"{name}_{entry}" for name in ("rival_vector", "third_vector") for entry in alone}

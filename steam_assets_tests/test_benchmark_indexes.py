"""The benchmark of indexes: synthetic rows have the rank they should, and a small run has what its JSON promises."""

import json
from pathlib import Path

import numpy as np
import pytest

from steam_assets.indexes import timing
from steam_assets_tests.benchmarks import indexes
from steam_assets_tests.benchmarks.synthetic import Mixture, effective_rank, power_law, spectrum


@pytest.mark.parametrize("rank", [10.0, 40.0])
def test_synthetic_rows_have_about_the_effective_rank_they_are_given(rank: float) -> None:
    """And unit length, and the same numbers each time."""
    mixture = Mixture(4_000, 64, rank)
    rows = np.concatenate(list(mixture.pages()))
    assert effective_rank(power_law(64, rank)) == pytest.approx(rank, rel=0.01)
    assert effective_rank(spectrum(rows)) == pytest.approx(rank, rel=0.35)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-5
    assert rows.tobytes() == np.concatenate(list(mixture.pages())).tobytes()


def test_the_effective_rank_of_equal_eigenvalues_is_how_many_they_are() -> None:
    """And of one alone it is one."""
    assert effective_rank(np.full(16, 1 / 16)) == pytest.approx(16)
    assert effective_rank(np.array([1.0, 0.0])) == pytest.approx(1)


@pytest.mark.slow
def test_a_small_run_writes_rows_with_the_predecessor_among_them(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, ratios, targets and the shape of the rows; sizes of few rows say nothing, and are judged all the same."""
    monkeypatch.setattr(timing, "CLIENTS_S", 0.05)
    monkeypatch.setattr(indexes, "EF_SEARCH", (40, 100))
    file, plot = home / "indexes.json", home / "indexes.png"
    given = ["--real", "--rows", "1500", "--dimension", "32", "--rank", "12", "--json", str(file), "--plot", str(plot)]
    indexes.main(given)

    found = json.loads(file.read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["predecessor"]["ratio_to_predecessor"] == 1
    assert (rows["predecessor"]["variant"], rows["predecessor"]["ef_search"]) == ("vector", 40)
    assert {"exact", "ours halfvec, ef_search 40", "ours bit, ef_search 100", "ours pca, ef_search 50"} <= set(rows)
    assert all(row["corpus"] == "synthetic, 1,500 x 32" for row in rows.values())
    assert rows["ours halfvec, ef_search 100"]["recall_10"] > 0.95
    verdicts = {target["what"]: target["verdict"] for target in found["targets"]}
    assert all(verdict == "not applicable here" for what, verdict in verdicts.items() if "recall" in what)
    assert 5 < found["shapes"]["synthetic, 1,500 x 32"]["effective_rank"] < 24
    assert plot.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "| predecessor" in said
    assert "effective rank" in said

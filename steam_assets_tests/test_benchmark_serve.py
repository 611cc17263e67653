"""The benchmark of the service asks what it times: a small run through real processes, and its verdicts."""

import json
from pathlib import Path

import pytest

from steam_assets_tests.benchmarks import serve
from steam_assets_tests.benchmarks.corpus import read_corpora
from steam_assets_tests.benchmarks.serve import CLIENTS, ServeRow

NO_DATA = Path("no such directory")


@pytest.mark.slow
def test_every_way_to_search_is_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over HTTP with and without the index, alone and together, and as a command; a table too small is named."""
    monkeypatch.setattr(serve, "COMMANDS", 1)
    path = home / "serve.json"
    serve.main(["--rows", "30", "--queries", "3", "--data", str(NO_DATA), "--json", str(path)])
    found = json.loads(path.read_text())
    assert [(row["clients"], row["searches"]) for row in found["rows"]] == [
        *((1, 3), (CLIENTS, 3 * CLIENTS)),
        *((1, 3), (CLIENTS, 3 * CLIENTS)),
        (0, 1),
        *((1, 3), (CLIENTS, 3 * CLIENTS)),
        *((0, 1), (0, 1)),
    ]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in found["rows"])
    assert found["corpus_rows"] == 30
    assert "no figure is one of the index" in capsys.readouterr().err


def test_no_query_is_asked_twice() -> None:
    """An answer from memory would be no search."""
    (corpus,) = read_corpora(["applications"], 50, NO_DATA)
    queries = serve.queries_of(corpus, 200)
    assert len(set(queries)) == 200
    assert all(queries)


def test_the_slowest_and_what_the_model_costs_decide_the_verdicts() -> None:
    """p95 of four clients through the index; a command beside its imports; what was not measured is said to be so."""
    rows = [
        ServeRow("ours over HTTP, 4 clients, through the index", CLIENTS, 4, 10.0, 49.0, 90.0),
        ServeRow("ours as a command through a running serve", 0, 5, 2_100.0, 2_200.0, 0.5),
        ServeRow("ours as a command", 0, 5, 9_000.0, 9_100.0, 0.1),
        ServeRow("imports of that", 0, 5, 7_500.0, 7_600.0, 0.1),
    ]
    assert [target.verdict for target in serve.targets(rows)] == ["met", "missed", "met"]
    assert [target.verdict for target in serve.targets([])] == ["not measured"] * 3

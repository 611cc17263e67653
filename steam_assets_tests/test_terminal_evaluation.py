"""Evaluations as a person reads them, on a terminal, in the web UI and as a picture."""

import struct
from dataclasses import replace

import pytest

from steam_assets.evaluation.plot import evaluations_png
from steam_assets.store.evaluations import StoredEvaluation
from steam_assets.terminal_evaluation import cost_lines, evaluation_lines, evaluations_table, history_lines
from steam_assets_tests.scored import FIRST, SET, evaluation, stored


def test_an_evaluation_is_told_with_intervals_groups_and_notices() -> None:
    """Who was asked what, and how sure the numbers are."""
    lines = evaluation_lines(FIRST).splitlines()
    assert lines[0] == (
        "applications.description_embedding, run 4 (some/model): farms, exact; 3 queries among 3 documents, 1.5 min"
    )
    assert lines[2].split()[:2] == ["queries", "3"]
    assert "0.500 [0.000, 1.000]" in lines[2]
    groups = [line.split("  ")[0] for line in lines]
    assert "language" in groups
    assert "Latin script" in groups
    assert "51 to 150" in groups
    assert lines[-1] == "  (One was left out.)"


def test_scores_of_the_column_s_own_rows_are_not_taken_for_a_model_s() -> None:
    """Their texts hold the queries."""
    told = evaluation_lines(replace(FIRST, query_set="known-items-in-column", documents=None))
    assert "3 queries among the column's rows" in told
    assert told.splitlines()[-1] == "  (the rows' texts may hold the queries: compare ways to search here, not models)"


def test_what_another_way_to_search_costs_is_told_as_a_difference() -> None:
    """Against exact search, with its interval."""
    lines = cost_lines(FIRST, evaluation(["d"], [], [], how="index")).splitlines()
    assert lines[0] == "index against exact"
    mrr = next(line for line in lines if line.startswith("mrr@10"))
    assert mrr.split() == ["mrr@10", "-0.1667", "-0.5000", "to", "+0.0000"]


def test_history_has_a_line_for_each_evaluation() -> None:
    """Newest first, with the digest's beginning, so that what does not compare is seen."""
    lines = history_lines([stored(FIRST, 2), stored(FIRST, 1)]).splitlines()
    assert lines[1].startswith(f"2026-11-23 01:02  farms {SET.digest[:8]}  exact  4 some/model")
    assert lines[2].startswith("2026-11-23 01:01")
    assert history_lines([]) == "Nothing has been evaluated yet. Run `steam-assets evaluate`."


def test_the_web_ui_shows_a_table() -> None:
    """One row for each evaluation; a | in a set's name ends no cell."""
    named = replace(FIRST, query_set="farms|cows")
    lines = evaluations_table([named, evaluation([], [], [], how="index")]).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("| query set | how | queries | ndcg@10 | mrr@10")
    assert lines[1].startswith("| --- | --- | ---: | ---: |")
    assert lines[2].startswith(r"| farms\|cows | exact | 3 | ")
    assert lines[3].startswith("| farms | index | 3 | 0.000 [0.000, 0.000]")


@pytest.mark.parametrize("history", [[], [stored(FIRST, 1)], [stored(FIRST, 3), stored(FIRST, 2)]], ids=len)
def test_scores_and_their_history_are_one_picture(history: list[StoredEvaluation]) -> None:
    """Also the first time, when there is no history; small enough for an event."""
    file = evaluations_png([FIRST, evaluation(["d"], [], [], how="index")], history)
    assert struct.unpack(">II", file[16:24]) == (1100, 440)
    assert len(file) < 200_000

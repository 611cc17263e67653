"""The benchmark of several devices goes through Dagster's queue and processes, and notices a device that was shared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from steam_assets_tests.benchmarks import scaling
from steam_assets_tests.benchmarks.scaling import Attempt, beside_one, require_apart, summed_up, targets

FIRST = Attempt("a:b", "done", "run 1", "hashes (cpu#0)", 100, 10.0, 20.0)
SECOND = Attempt("b:c", "done", "run 2", "hashes (cpu#1)", 100, 14.0, 24.0)
KEYS = ["a:b", "b:c"]


def test_runs_that_share_a_device_or_a_range_are_found_out() -> None:
    """So are a range that nobody filled, and one that took two attempts."""
    require_apart([FIRST, SECOND], 2, KEYS)
    for found in (
        [FIRST, replace(SECOND, device=FIRST.device)],
        [FIRST, replace(SECOND, range_key="a:b")],
        [FIRST, replace(SECOND, status="failed")],
        [FIRST, SECOND, replace(SECOND, status="failed")],
        [FIRST],
    ):
        with pytest.raises(RuntimeError):
            require_apart(found, 2, KEYS)


def test_figures_are_of_the_runs_and_of_all_from_first_to_last() -> None:
    """Two runs that begin four seconds apart work six seconds together."""
    one = summed_up(1, 10.0, 8.0, [FIRST])
    two = summed_up(2, 10.0, 8.0, [FIRST, SECOND])
    assert (one.launch_s, one.rows_per_s, one.runs_rows_per_s) == (2.0, 10.0, 10.0)
    assert (two.all_at_work_s, two.rows, two.runs_rows_per_s) == (6.0, 200, 20.0)
    assert two.rows_per_s == pytest.approx(200 / 14)
    assert [target.verdict for target in targets(beside_one([one, two]))] == ["met"]
    assert [target.verdict for target in targets(beside_one([one, replace(two, runs_rows_per_s=17.9)]))] == ["missed"]


@pytest.mark.slow
def test_two_devices_fill_ranges_of_their_own(home: Path) -> None:
    """Through Dagster's queue and launcher, with a process each; the file is as the design says."""
    path = home / "scaling.json"
    arguments = ["--devices", "1", "2", "--rate", "100", "--seconds", "2", "--data", "no such directory"]
    scaling.main([*arguments, "--json", str(path)])
    one, two = json.loads(path.read_text())["rows"]
    assert (one["name"], two["name"]) == ("ours, 1 device", "ours, 2 devices")
    assert (one["rows"], two["rows"]) == (200, 400)
    assert one["ratio_to_one"] == 1

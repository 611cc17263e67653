"""What is printed is aligned, says 100 % only when it is, and leaves nothing out that a person should know."""

import itertools
import json

import pytest

from steam_assets.columns import REVIEWS
from steam_assets.defs.range_status import ColumnRanges, RangeStatus
from steam_assets.defs.recut import NewCut
from steam_assets.estimate import Estimate
from steam_assets.progress import Progress, report
from steam_assets.store.failures import FailedRow, FailureState
from steam_assets.store.load import LoadReport
from steam_assets.terminal import (
    duration,
    embedding_bar,
    estimate_lines,
    failure_lines,
    json_array,
    load_lines,
    on_one_line,
    percent,
    ranges_line,
    ranges_table,
    recut_lines,
    recut_question,
    table,
)


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100 %"), (0.999999, "99.99 %"), (0.5, "50.00 %"), (0.0, "0.00 %"), (124_999 / 125_000, "99.99 %")],
)
def test_coverage_says_100_only_when_every_row_is_there(share: float, text: str) -> None:
    """One row missing in a million is not 100 %; the predecessor's bar was forced to it."""
    assert percent(share) == text


def test_a_table_is_aligned_and_groups_thousands() -> None:
    """Words to the left, numbers to the right, no blanks at the end of a line."""
    assert table(("name", "rows"), [("a", 1_234_567), ("long name", 5)]) == (
        "name            rows\na          1,234,567\nlong name          5"
    )


@pytest.mark.parametrize(("seconds", "text"), [(5400, "1.5 h"), (90, "1.5 min"), (59.9, "59.9 s"), (0, "0.0 s")])
def test_durations_are_said_in_the_unit_that_fits(seconds: float, text: str) -> None:
    """Hours from an hour on, minutes from a minute on."""
    assert duration(seconds) == text


def failed(number: int, state: FailureState = "failed", reason: str = "too large") -> FailedRow:
    """A record of a row, and how it stands."""
    return FailedRow("c", str(number), 1, state, reason, 2, "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")


def test_failures_are_listed_with_their_number_and_what_to_do() -> None:
    """Those of deleted rows and earlier recipes are counted only."""
    rows = [failed(1), failed(2, "released"), failed(3, "changed"), failed(4, "gone"), failed(5, "other run")]
    header, first, second, third, summary, hint = failure_lines(rows)[0].splitlines() + failure_lines(rows)[1:]
    assert header.split() == ["column", "id", "state", "attempts", "last", "tried", "reason"]
    assert first.split() == ["c", "1", "failed", "2", "2026-01-02T00:00:00+00:00", "too", "large"]
    assert (second.split()[2], third.split()[2]) == ("released", "changed")
    assert summary == (
        "1 failed, 2 to be tried by the next `steam-assets embed`, 2 of deleted rows or earlier recipes (not shown)."
    )
    assert "`steam-assets retry`" in hint


def test_a_million_failures_are_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows and their number; where nothing failed there is nothing to retry."""
    monkeypatch.setattr("steam_assets.terminal.FAILURES_SHOWN", 3)
    shown, summary, cut, _ = failure_lines(failed(n) for n in range(1_234))
    assert len(shown.splitlines()) == 1 + 3
    assert summary.startswith("1,234 failed, ")
    assert cut == "The first 3 are shown; --json has all."
    assert [line.partition(",")[0] for line in failure_lines([])] == ["0 failed"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [("a b", "a b"), ("", "''"), (" ", "' '"), ("a\nb", r"'a\nb'"), ("x" * 50, "x" * 37 + "..."), ("日本", "日本")],
)
def test_odd_ids_take_one_line(text: str, seen: str) -> None:
    """Quoted where one would not see them as they are, and cut where they are long."""
    assert on_one_line(text, 40) == seen


def test_a_json_array_is_written_a_value_at_a_time() -> None:
    """What comes out is JSON, also of nothing."""
    for values in ([], [1], [{"a": "b"}, None]):
        assert json.loads("\n".join(json_array(values))) == values
    endless = json_array(itertools.count())
    assert [next(endless), next(endless)] == ["[0", ",1"]


def test_a_load_s_warnings_and_rejects_file_are_told_below_its_counts() -> None:
    """A person sees where the rejected rows are, and which columns were not used."""
    loaded = LoadReport(
        file="games.csv", table="applications", read=3, inserted=1, updated=0, unchanged=1, repeated=0, rejected=1,
        ignored_columns=("colour",), rejects_file="games.csv.rejects", warnings=("no date was understood",),
    )  # fmt: skip
    *_, warning, ignored, rejects = load_lines([loaded]).splitlines()
    assert warning == "games.csv: no date was understood"
    assert ignored == "games.csv: columns ignored: colour"
    assert rejects == "games.csv: rejected rows are in games.csv.rejects"


def test_an_estimate_tells_rows_tokens_time_and_disk() -> None:
    """The histogram has a line per power of two, its longest bar for the most texts."""
    found = Estimate("c", "m", 30, 500, 2, {8: 10, 16: 20}, 60.0, 90.0, 1_500_000)
    first, eight, sixteen, last = estimate_lines(found).splitlines()
    assert first == "c with m: 30 rows to encode, 500 tokens, 2 texts truncated"
    assert (eight.count("#"), sixteen.count("#")) == (20, 40)
    assert last == "  1.0 min to 1.5 min on this device, 1.5 MB of disk"


def test_away_from_a_terminal_progress_is_a_plain_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logs of cron and CI hold no carriage returns, and no line per batch."""
    monkeypatch.setattr("steam_assets.terminal.PLAIN_EVERY_S", 0.0)
    said: list[str] = []
    with embedding_bar(100, said.append):
        report(Progress("c", 40, "CPU: 12.0%"))
        report(Progress("c", 60, "CPU: 13.0%"))
    assert [line.partition(" rows/s")[0].rpartition(",")[0] for line in said] == [
        "c: 40 of 100 rows",
        "c: 100 of 100 rows",
    ]
    assert said[1].endswith("rows/s | CPU: 13.0%")
    assert "\r" not in capsys.readouterr().err

    monkeypatch.setattr("steam_assets.terminal.PLAIN_EVERY_S", 3600.0)
    with embedding_bar(100, said.append):
        report(Progress("c", 40, ""))
    assert len(said) == 2


def ranges_of(*rows: int, beyond: int = 0) -> ColumnRanges:
    """A column with so many rows in its ranges, the first of them filled a while ago."""
    ranges = [RangeStatus(f"{n}:{n + 1}", count, count, 5400.0 if n == 0 else None) for n, count in enumerate(rows)]
    return ColumnRanges("t.v", "t_id_range", tuple(ranges), beyond)


def test_ranges_are_listed_with_their_age_and_summed_up() -> None:
    """Rows, what is pending, and how long ago; what was never filled says so."""
    assert ranges_table([ranges_of(1_000, 1_200)]) == (
        "column  range   rows  pending  filled\n"
        "t.v     0:1    1,000    1,000   1.5 h\n"
        "t.v     1:2    1,200    1,200   never\n"
        "t.v: 2 ranges (t_id_range), 2,200 rows, 2,200 pending; skew 1.1 (the fullest has 1,200 rows, the median "
        "1,100; 1 to 2 is normal)"
    )


def test_the_line_of_a_column_s_ranges_names_the_command_where_something_is_to_be_done() -> None:
    """A new cut where ranges have become uneven, and rows that no range has yet."""
    assert "--recut" not in ranges_line(ranges_of(5_000, 9_000))
    assert ranges_line(ranges_of(5_000, 5_000, 90_000)).endswith("Cut them anew: `steam-assets ranges --recut t.v`")
    assert "7 rows have come behind the last range" in ranges_line(ranges_of(5, beyond=7))
    assert ranges_line(ranges_of()) == "t.v: no ranges yet; its table is empty."


def test_a_recut_says_what_it_keeps_what_it_costs_and_what_comes_next() -> None:
    """Before it is done, and after."""
    question = recut_question(REVIEWS, "reviews_id_range")
    assert "Cut reviews into even ranges again? No vector is touched." in question
    assert "history as reviews_id_range." in question
    assert "10 s for each 100" in question
    assert recut_lines([NewCut("reviews.review_embedding", "reviews_id_range_v2", 1_200)]).startswith(
        "reviews.review_embedding: 1,200 new ranges, reviews_id_range_v2. Next: `steam-assets embed "
        "reviews.review_embedding`; in a web UI"
    )

"""A red check says what is wrong, of which rows, why, and which command shows more; how bad it is goes by threshold."""

import re
import shlex

import dagster as dg
import pytest

from steam_assets.cli import cli
from steam_assets.columns import REVIEWS
from steam_assets.defs.rules import metadata, severity
from steam_assets.rules import (
    OFFENCES,
    RULES,
    Finding,
    Rule,
    broken_blocking_rules,
    description,
    passed,
    remedy,
)
from steam_assets.store.failures import FAILED_ROWS_ALLOWED
from steam_assets.store.states import OFFENCES as OFFENCES_COUNTED
from steam_assets.store.states import Offence, RangeState

ROWS = 10_000
FORGIVEN = int(FAILED_ROWS_ALLOWED * ROWS)


def found(failed: int = 0, missing: int = 0, reasons: dict[str, str] | None = None, **offences: int) -> Finding:
    """A range of ROWS rows with so many that failed or are missing, and that break other rules."""
    counts = {"failed": failed, "pending": missing, **offences}
    state = RangeState(
        total=ROWS,
        blank=0,
        failed=failed,
        embedded=ROWS - failed - missing,
        stale=0,
        missing=missing,
        offences={
            name: Offence(counts.get(name, 0), tuple(f"{name}-{n}" for n in range(min(5, counts.get(name, 0)))))
            for name in OFFENCES_COUNTED
        },
    )
    return Finding(state, reasons or {})


def rule(name: str) -> Rule:
    """The rule of this name."""
    (wanted,) = (rule for rule in RULES if rule.name == name)
    return wanted


@pytest.mark.parametrize(
    ("finding", "coverage", "complete"),
    [
        (found(), "green", "green"),
        (found(failed=FORGIVEN), "WARN", "green"),
        (found(failed=FORGIVEN + 1), "ERROR", "ERROR"),
        (found(missing=1), "ERROR", "ERROR"),
        (found(failed=1, missing=1), "ERROR", "ERROR"),
    ],
)
def test_coverage_warns_of_a_few_failed_rows_and_is_an_error_for_more_or_for_pending_ones(
    finding: Finding, coverage: str, complete: str
) -> None:
    """Up to the allowed share nothing is stopped; `complete` is never a mere warning."""
    for name, expected in (("coverage", coverage), ("complete", complete)):
        colour = "green" if passed(rule(name), finding.state) else severity(rule(name), [finding]).value
        assert colour == expected


def test_one_range_with_too_many_failures_makes_a_run_s_coverage_an_error() -> None:
    """The share is each range's own: a good neighbour does not make up for a bad one."""
    bad, good = found(failed=FORGIVEN + 1), found()
    assert severity(rule("coverage"), [good, bad, good, good]) is dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize(
    ("finding", "red"),
    [
        (found(failed=FORGIVEN, norm=1, drift=1), []),
        (found(missing=1), ["complete"]),
        (found(dimension=1), ["dimension"]),
        (found(provenance=1), ["provenance"]),
    ],
)
def test_downstream_waits_for_pending_rows_dimension_and_provenance_only(finding: Finding, red: list[str]) -> None:
    """A few failures, a vector of another length and one of an older text are shown, and stop nothing."""
    assert [rule.name for rule in broken_blocking_rules(finding)] == red


def test_a_red_check_names_rows_their_reasons_and_a_command() -> None:
    """The first five rows that failed, each with what went wrong, on one line."""
    one = found(failed=7, missing=1, reasons={"failed-0": "NaN\nin layer 3", "failed-1": "x" * 999})
    said = description(rule("coverage"), REVIEWS, [one])
    assert said is not None
    assert said.startswith("1 row pending (pending-0): `steam-assets embed reviews.review_embedding` fills them")
    assert "7 rows could not be embedded (first of them failed-0 ('NaN\\nin layer 3'), failed-1 (xxx" in said
    assert "failed-4): `steam-assets failures reviews.review_embedding` lists them" in said
    assert "\n" not in said
    assert len(said) < 700
    shown = {name: value.value for name, value in metadata(rule("coverage"), REVIEWS, [one]).items()}
    assert shown["failed_rows"] == 7
    assert shown["first_failed_ids"] == "failed-0, failed-1, failed-2, failed-3, failed-4"
    assert str(shown["first_reasons"]).splitlines()[0] == "failed-0 ('NaN\\nin layer 3')"
    assert shown["pending_remedy"] == remedy(REVIEWS, "pending")


def test_ranges_are_added_up_and_the_first_of_their_rows_named() -> None:
    """A run over several ranges has one answer besides theirs."""
    findings = [found(norm=2), found(), found(norm=1)]
    said = description(rule("norm"), REVIEWS, findings)
    assert said is not None
    assert said.startswith("3 rows with a vector that is not finite or not of unit length (norm-0, norm-1, norm-0): ")
    assert metadata(rule("norm"), REVIEWS, findings)["total"].value == 3 * ROWS


@pytest.mark.parametrize("name", [rule.name for rule in RULES])
def test_a_green_check_has_nothing_to_say(name: str) -> None:
    """No description, no first ids."""
    assert description(rule(name), REVIEWS, [found()]) is None
    assert not any(key.startswith("first_") for key in metadata(rule(name), REVIEWS, [found()]))


@pytest.mark.parametrize("offence", OFFENCES_COUNTED)
def test_every_command_that_a_red_check_names_exists(offence: str) -> None:
    """The command line takes it as it stands there."""
    commands = [shlex.split(command) for command in re.findall(r"`([^`]+)`", remedy(REVIEWS, offence))]
    assert commands
    for program, verb, *arguments in commands:
        assert program == "steam-assets"
        cli.commands[verb].make_context(verb, arguments)


def test_every_rule_s_offences_are_counted_and_explained() -> None:
    """No check is red for something that no message speaks of."""
    assert {offence for rule in RULES for offence in rule.offences} == set(OFFENCES) == set(OFFENCES_COUNTED)

"""The rules that rows are held to, and what each says of scanned ranges. defs/rules.py tells Dagster of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from steam_assets.columns import TextColumn
from steam_assets.store.failures import FAILED_ROWS_ALLOWED
from steam_assets.store.states import OFFENDERS_SHOWN, RangeState
from steam_assets.terminal import on_one_line


@dataclass(frozen=True)
class Rule:
    """A check: its name, what it says, whether downstream waits for it, and the offences of states.py that break it."""

    name: str
    description: str
    blocking: bool
    offences: tuple[str, ...]


RULES = (
    Rule("complete", "Nothing is pending and at most 0.1 % of the rows failed.", True, ("pending", "failed")),
    Rule(
        "coverage",
        "Every row that can have a vector has one of the current run and text.",
        False,
        ("pending", "failed"),
    ),
    Rule("dimension", "Every vector has the run's dimension.", True, ("dimension",)),
    Rule("norm", "Every vector is finite and of unit length.", False, ("norm",)),
    Rule("provenance", "Every vector has a run, of its dimension and of the current recipe.", True, ("provenance",)),
    Rule("drift", "Every vector was made from the text that is stored now.", False, ("drift",)),
)


class Wrong(NamedTuple):
    """What is wrong with a row that breaks a rule, and what shows more or mends it."""

    wrong: str
    remedy: str


ANEW = "set their {vector} to NULL, and `steam-assets embed {column}` makes them anew"
FILLS = "`steam-assets embed {column}` fills them, `steam-assets ranges {column}` shows where they are"
FAILED = "`steam-assets failures {column}` lists them, `steam-assets retry --column {column}` has them tried again"
OFFENCES = {
    "pending": Wrong("pending", FILLS),
    "failed": Wrong("could not be embedded", FAILED),
    "dimension": Wrong("with a vector of another dimension than the run's", ANEW),
    "norm": Wrong("with a vector that is not finite or not of unit length", ANEW),
    "provenance": Wrong("with a vector of no run, of another run or of another dimension than its run's", FILLS),
    "drift": Wrong("with a vector that was made from another text", FILLS),
}


@dataclass(frozen=True)
class Finding:
    """What a scan of a range found, and why the failed rows that it names failed."""

    state: RangeState
    reasons: Mapping[str, str]


def passed(rule: Rule, state: RangeState) -> bool:
    """Whether the rule holds in a range; `complete` alone forgives a few failed rows."""
    if rule.name == "complete":
        return state.pending == 0 and few_failed(state)
    return all(state.offences[offence].rows == 0 for offence in rule.offences)


def few_failed(state: RangeState) -> bool:
    """Whether no more rows failed than may be forgiven."""
    return state.failed <= FAILED_ROWS_ALLOWED * state.total


def broken_blocking_rules(finding: Finding) -> list[Rule]:
    """The rules for which what is downstream of this range has to wait."""
    return [rule for rule in RULES if rule.blocking and not passed(rule, finding.state)]


def description(rule: Rule, column: TextColumn, findings: Sequence[Finding]) -> str | None:
    """What is wrong: rows, the first ids, reasons, and the command that shows more; None where nothing is."""
    if all(passed(rule, finding.state) for finding in findings):
        return None
    return " ".join(
        f"{rows:,} {'row' if rows == 1 else 'rows'} {OFFENCES[offence].wrong} "
        f"({'first of them ' if rows > len(ids) else ''}{', '.join(named(findings, offence, ids))}): "
        f"{remedy(column, offence)}."
        for offence in rule.offences
        for rows, ids in [offenders(findings, offence)]
        if rows
    )


def offenders(findings: Sequence[Finding], offence: str) -> tuple[int, list[str]]:
    """Rows that break a rule in any of the ranges, and the first ids in the table's order."""
    found = [finding.state.offences[offence] for finding in findings]
    return sum(one.rows for one in found), [id_ for one in found for id_ in one.first_ids][:OFFENDERS_SHOWN]


def named(findings: Sequence[Finding], offence: str, ids: Sequence[str]) -> list[str]:
    """Rows as a message names them, those that failed with their reason: 70 -> 70 (the model gave NaN)."""
    if offence != "failed":
        return list(ids)
    reasons = {id_: reason for finding in findings for id_, reason in finding.reasons.items()}
    return [f"{id_} ({on_one_line(reasons[id_])})" if id_ in reasons else id_ for id_ in ids]


def remedy(column: TextColumn, offence: str) -> str:
    """The command that shows more of such rows, or mends them."""
    return OFFENCES[offence].remedy.format(column=column, vector=column.vector)

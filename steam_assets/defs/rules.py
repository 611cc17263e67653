"""The rules as Dagster's checks tell them: severity and metadata. The rules themselves are steam_assets/rules.py."""

from collections.abc import Sequence

import dagster as dg

from steam_assets.columns import TextColumn
from steam_assets.rules import Finding, Rule, few_failed, named, offenders, remedy

STATES = ("total", "blank", "failed", "embedded", "stale", "missing")


def severity(rule: Rule, findings: Sequence[Finding]) -> dg.AssetCheckSeverity:
    """A warning where only a few failed rows are missing from the coverage, which stop nothing; else an error."""
    forgiven = all(finding.state.pending == 0 and few_failed(finding.state) for finding in findings)
    return dg.AssetCheckSeverity.WARN if rule.name == "coverage" and forgiven else dg.AssetCheckSeverity.ERROR


def metadata(rule: Rule, column: TextColumn, findings: Sequence[Finding]) -> dict[str, dg.MetadataValue]:
    """Counts per state, coverage, and of the rows that break the rule their number, first ids and reasons."""
    counts = {name: sum(getattr(finding.state, name) for finding in findings) for name in STATES}
    embeddable = counts["total"] - counts["blank"]
    found: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
    found["coverage_percent"] = dg.MetadataValue.float(100 * counts["embedded"] / embeddable if embeddable else 100.0)
    for offence in rule.offences:
        rows, ids = offenders(findings, offence)
        if not rows:
            continue
        found[f"{offence}_rows"] = dg.MetadataValue.int(rows)
        found[f"first_{offence}_ids"] = dg.MetadataValue.text(", ".join(ids))
        found[f"{offence}_remedy"] = dg.MetadataValue.text(remedy(column, offence))
        if offence == "failed":
            found["first_reasons"] = dg.MetadataValue.text("\n".join(named(findings, offence, ids)))
    return found

"""Asset checks: what is true of a range or a whole column, read back from the database by store/states.py."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import op_name, table_key, vector_key
from steam_assets.defs.partitions import partitions_of
from steam_assets.defs.resources import DatabaseResource
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.store.failures import FAILED_ROWS_ALLOWED
from steam_assets.store.locks import living_run
from steam_assets.store.states import RangeState, range_state
from steam_assets.targets import target_run


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


def build_range_checks(column: TextColumn) -> dg.AssetChecksDefinition:
    """The rules for id ranges, run with every materialization: one scan of a range answers all of them."""

    @dg.multi_asset_check(
        name=f"{op_name(column)}_checks",
        specs=[
            dg.AssetCheckSpec(
                rule.name,
                asset=vector_key(column),
                description=rule.description,
                blocking=rule.blocking,
                partitions_def=partitions_of(column),
            )
            for rule in RULES
        ],
        can_subset=True,
    )
    def range_checks(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource
    ) -> Iterator[dg.AssetCheckResult]:
        keys = context.op_execution_context.partition_keys
        selected = {key.name for key in context.selected_asset_check_keys}
        rules = [rule for rule in RULES if rule.name in selected]
        id_ranges = [IdRange.from_key(key, column.id_type) for key in keys]
        states = scan(database, column, id_ranges, context.op_execution_context.run.run_id)
        if len(keys) > 1:
            for key, state in zip(keys, states, strict=True):
                log_range_evaluations(context, column, key, rules, state)
        for rule in rules:
            yield result(rule, states, vector_key(column), rule.name)

    return range_checks


def build_column_checks(column: TextColumn) -> dg.AssetChecksDefinition:
    """The rules for the whole column, on demand: they belong to the table, so that no range's run repeats them."""

    @dg.multi_asset_check(
        name=f"{op_name(column)}_column_checks",
        specs=[
            dg.AssetCheckSpec(
                column_check_name(column, rule),
                asset=table_key(column),
                description=f"{column}: {rule.description}",
            )
            for rule in RULES
        ],
        can_subset=True,
    )
    def column_checks(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        states = scan(database, column, [EVERYTHING], context.op_execution_context.run.run_id)
        for rule in RULES:
            name = column_check_name(column, rule)
            if name in selected:
                yield result(rule, states, table_key(column), name)

    return column_checks


def column_check_name(column: TextColumn, rule: Rule) -> str:
    """The name of a rule's check for the whole column, unique on the table's asset."""
    return f"{vector_key(column).path[-1]}_{rule.name}"


def scan(
    database: DatabaseResource, column: TextColumn, id_ranges: Sequence[IdRange], dagster_run_id: str
) -> list[RangeState]:
    """The state of each range for the column's target run, one scan each; the run's lock is held meanwhile."""
    with living_run(database.connect, dagster_run_id) as conn:
        run = target_run(conn, column)
        return [range_state(conn, column, run.run_id, run.dimension, id_range) for id_range in id_ranges]


def passed(rule: Rule, state: RangeState) -> bool:
    """Whether the rule holds in a range; `complete` alone forgives a few failed rows."""
    if rule.name == "complete":
        return state.pending == 0 and state.failed <= FAILED_ROWS_ALLOWED * state.total
    return all(state.offences[offence].rows == 0 for offence in rule.offences)


def metadata(rule: Rule, states: Sequence[RangeState]) -> dict[str, dg.MetadataValue]:
    """Counts per state, coverage, and the first ids that break the rule."""
    counts = {
        name: sum(getattr(state, name) for state in states)
        for name in ("total", "blank", "failed", "embedded", "stale", "missing")
    }
    embeddable = counts["total"] - counts["blank"]
    found: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
    found["coverage_percent"] = dg.MetadataValue.float(100 * counts["embedded"] / embeddable if embeddable else 100.0)
    for offence in rule.offences:
        first_ids = [id_ for state in states for id_ in state.offences[offence].first_ids]
        if first_ids:
            found[f"first_{offence}_ids"] = dg.MetadataValue.text(", ".join(first_ids[:5]))
            found[f"{offence}_rows"] = dg.MetadataValue.int(sum(state.offences[offence].rows for state in states))
    return found


def result(rule: Rule, states: Sequence[RangeState], asset_key: dg.AssetKey, name: str) -> dg.AssetCheckResult:
    """The answer for all scanned ranges together."""
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=name,
        passed=all(passed(rule, state) for state in states),
        metadata=metadata(rule, states),
    )


def log_range_evaluations(
    context: dg.AssetCheckExecutionContext, column: TextColumn, key: str, rules: Sequence[Rule], state: RangeState
) -> None:
    """Record one range's answers in a run of several ranges.

    Dagster 1.13 stores the result of such a run without a partition, and counts an evaluation for its partition only
    when it names the materialization it looked at; the class for that is not exported.
    """
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=vector_key(column), asset_partitions=[key]), limit=1
    ).records
    target = (
        AssetCheckEvaluationTargetMaterializationData(
            storage_id=records[0].storage_id,
            run_id=records[0].event_log_entry.run_id,
            timestamp=records[0].timestamp,
        )
        if records
        else None
    )
    for rule in rules:
        context.op_execution_context.log_event(
            dg.AssetCheckEvaluation(  # type: ignore[arg-type]  # not in the annotation, and the only way to name a partition
                asset_key=vector_key(column),
                check_name=rule.name,
                passed=passed(rule, state),
                metadata=metadata(rule, [state]),
                partition=key,
                target_materialization_data=target,
                blocking=rule.blocking,
            )
        )

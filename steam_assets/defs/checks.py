"""Asset checks: what is true of ranges or a whole column, read back from the database. The rules are rules.py's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from steam_assets.columns import TextColumn
from steam_assets.defs.assets import op_name, table_key, vector_key
from steam_assets.defs.partitions import partitions_of, registered_ranges, requested_ranges
from steam_assets.defs.resources import DatabaseResource
from steam_assets.defs.rules import metadata, severity
from steam_assets.id_range import EVERYTHING, IdRange
from steam_assets.indexes.ready import finding_of
from steam_assets.rules import RULES, Finding, Rule, description, passed
from steam_assets.store.locks import living_run
from steam_assets.targets import target_run


def build_range_checks(column: TextColumn) -> dg.AssetChecksDefinition:
    """The rules for id ranges, run with every materialization: one scan of a range answers all of them."""

    @dg.multi_asset_check(
        name=range_checks_name(column),
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
        op, step = context.op_execution_context, context.op_execution_context.get_step_execution_context()
        selected = {key.name for key in context.selected_asset_check_keys}
        rules = [rule for rule in RULES if rule.name in selected]
        id_ranges = chosen_ranges(op, column)
        findings = scan(database, column, id_ranges, op.run.run_id)
        if not op.has_partition_key:
            tell_what_is_new(step, column, id_ranges, findings, rules)
        if not step.has_partitions:
            # As the Execute button launches it: Dagster 1.13 then fails for want of a partition to look up.
            step._data_version_cache.input_asset_version_info[vector_key(column)] = None
        for rule in rules:
            yield result(rule, column, findings, vector_key(column), rule.name)

    return range_checks


def build_column_checks(column: TextColumn) -> dg.AssetChecksDefinition:
    """The rules for the whole column, on demand: they belong to the table, so that no range's run repeats them."""

    @dg.multi_asset_check(
        name=column_checks_name(column),
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
        known = _just_scanned.get(column)
        run_id = context.op_execution_context.run.run_id
        findings = scan(database, column, [EVERYTHING], run_id) if known is None else [known]
        for rule in RULES:
            name = column_check_name(column, rule)
            if name in selected:
                yield result(rule, column, findings, table_key(column), name)

    return column_checks


_just_scanned: dict[TextColumn, Finding] = {}


@contextmanager
def just_scanned(findings: Mapping[TextColumn, Finding]) -> Iterator[None]:
    """Let checks of whole columns in this process answer by scans of a moment ago, after which it wrote nothing."""
    _just_scanned.update(findings)
    try:
        yield
    finally:
        for column in findings:
            _just_scanned.pop(column, None)


def range_checks_name(column: TextColumn) -> str:
    """The step that checks ranges."""
    return f"{op_name(column)}_checks"


def column_checks_name(column: TextColumn) -> str:
    """The step that checks the whole column."""
    return f"{op_name(column)}_column_checks"


def column_check_name(column: TextColumn, rule: Rule) -> str:
    """The name of a rule's check for the whole column, unique on the table's asset."""
    return f"{vector_key(column).path[-1]}_{rule.name}"


def scan(
    database: DatabaseResource, column: TextColumn, id_ranges: Sequence[IdRange], dagster_run_id: str
) -> list[Finding]:
    """What is true of each range for the column's target run, one scan each; the run's lock is held meanwhile."""
    with living_run(database.connect, dagster_run_id) as conn:
        run = target_run(conn, column)
        return [finding_of(conn, column, run, id_range) for id_range in id_ranges]


def chosen_ranges(context: dg.OpExecutionContext, column: TextColumn) -> list[IdRange]:
    """The ranges that a run was launched for; all registered ones where it was launched for none in particular."""
    if context.has_partition_key or context.has_partition_key_range:
        return requested_ranges(context, column)
    return registered_ranges(context.instance, column)


def result(
    rule: Rule, column: TextColumn, findings: Sequence[Finding], asset_key: dg.AssetKey, name: str
) -> dg.AssetCheckResult:
    """The answer for all scanned ranges together."""
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=name,
        passed=all(passed(rule, finding.state) for finding in findings),
        severity=severity(rule, findings),
        description=description(rule, column, findings),
        metadata=metadata(rule, column, findings),
    )


def tell_of_range(
    step: StepExecutionContext, column: TextColumn, key: str, finding: Finding, rules: Iterable[Rule] = RULES
) -> None:
    """Record a range's answers at once, in a run of any ranges.

    Dagster 1.13 stores what a check step returns in a run of several ranges without a partition, and counts an
    evaluation for its partition only when it names the newest materialization; the class for that is not exported.
    """
    records = step.instance.fetch_materializations(
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
    _tell(step, column, [finding], rules, key, target)


def tell_of_run(step: StepExecutionContext, column: TextColumn, findings: Sequence[Finding]) -> None:
    """Record the answers for all ranges of a run together, which the asset's page shows, where no check step will."""
    _tell(step, column, findings, RULES, None, None)


def _tell(
    step: StepExecutionContext,
    column: TextColumn,
    findings: Sequence[Finding],
    rules: Iterable[Rule],
    key: str | None,
    target: AssetCheckEvaluationTargetMaterializationData | None,
) -> None:
    for rule in rules:
        answer = result(rule, column, findings, vector_key(column), rule.name)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=vector_key(column),
            check_name=rule.name,
            passed=answer.passed,
            severity=answer.severity,
            description=answer.description,
            metadata=answer.metadata,
            partition=key,
            target_materialization_data=target,
            blocking=rule.blocking,
        )
        dg.DagsterEvent.asset_check_evaluation(step, evaluation)  # which writes it


def tell_what_is_new(
    step: StepExecutionContext,
    column: TextColumn,
    id_ranges: Sequence[IdRange],
    findings: Sequence[Finding],
    rules: Sequence[Rule],
) -> None:
    """Record the answers of each range, but for those that were green when this run had filled it, and still are."""
    told = told_green(step.instance, column, step.run_id, rules)
    for green in (True, False):  # the red ones last: the asset's page shows what was told last
        for id_range, finding in zip(id_ranges, findings, strict=True):
            new = [
                rule
                for rule in rules
                if passed(rule, finding.state) is green and not (green and (rule.name, id_range.key) in told)
            ]
            if new:
                tell_of_range(step, column, id_range.key, finding, new)


def told_green(
    instance: dg.DagsterInstance, column: TextColumn, run_id: str, rules: Sequence[Rule]
) -> set[tuple[str, str]]:
    """Names of rules and keys of ranges for which this run has recorded a green answer already."""
    found = instance.event_log_storage.get_asset_check_partition_info(
        [dg.AssetCheckKey(vector_key(column), rule.name) for rule in rules]
    )
    return {
        (info.check_key.name, info.partition_key)
        for info in found
        if info.partition_key is not None
        and info.latest_planned_run_id == run_id
        and info.latest_execution_status is AssetCheckExecutionRecordStatus.SUCCEEDED
        and info.is_current
    }

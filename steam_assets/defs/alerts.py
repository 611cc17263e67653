"""Sensors that tell a webhook of failed runs and red checks. What is sent, and how, is steam_assets/alerts.py."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.events import JobFailureData
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from steam_assets.alerts import URL, Alert, Webhook, webhook_from_environment
from steam_assets.columns import TextColumn
from steam_assets.defs.assets import op_name, vector_key
from steam_assets.defs.runs import root_error
from steam_assets.settings import setting

BATCH = 5_000
"""Events of a tick: a backfill of 500 ranges has 3,000 evaluations."""
SETTLING_S = 2.0
"""An event's number is taken a moment before others can see it; one that is so young may not be the next."""
TOLD_AGAIN_AFTER_S = 24 * 3600.0
FORGOTTEN_AFTER_S = 30 * 24 * 3600.0
"""A check that was not evaluated for so long belongs to a range that is no more."""
EVERY_S = 30


class WebhookResource(dg.ConfigurableResource[Webhook]):
    """The webhook of the environment; it has no fields, so no page of the UI can show its address."""

    def webhook(self) -> Webhook | None:
        """Where alerts go; None without an address."""
        return webhook_from_environment()


@dataclass(frozen=True)
class News:
    """What a tick has to tell, and the cursor that says it was told."""

    alerts: Sequence[Alert]
    cursor: str


def build_alert_sensors(columns: Sequence[TextColumn]) -> list[dg.SensorDefinition]:
    """Both sensors: they run where the environment names a webhook, and can be switched on and off in the UI."""
    status = dg.DefaultSensorStatus.RUNNING if setting(URL) else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="alert_failed_runs",
        default_status=status,
        minimum_interval_seconds=EVERY_S,
        description=f"Tells {URL} of runs that failed, those among them whose process had died.",
    )
    def alert_failed_runs(context: dg.SensorEvaluationContext, webhook: WebhookResource) -> dg.SensorResult:
        return tell(webhook, lambda: failed_runs(context, columns))

    @dg.sensor(
        name="alert_red_checks",
        default_status=status,
        minimum_interval_seconds=EVERY_S,
        description=f"Tells {URL} of checks that turn red, once until they are green again or a day later.",
    )
    def alert_red_checks(context: dg.SensorEvaluationContext, webhook: WebhookResource) -> dg.SensorResult:
        return tell(webhook, lambda: red_checks(context, columns))

    return [alert_failed_runs, alert_red_checks]


def tell(webhook: WebhookResource, find: Callable[[], News]) -> dg.SensorResult:
    """Send what is new; where that fails the tick does, keeps its cursor, and the next one sends it.

    Raises AlertNotSent. A daemon that dies between sending and noting it tells the same again.
    """
    receiver = webhook.webhook()
    if receiver is None:
        return dg.SensorResult(skip_reason=f"Alerts are off. Set {URL} to have them sent.")
    news = find()
    if news.alerts:
        receiver.send(news.alerts)
    told = f"{len(news.alerts)} told to {receiver.place}." if news.alerts else "Nothing new."
    return dg.SensorResult(skip_reason=told, cursor=news.cursor)


def failed_runs(context: dg.SensorEvaluationContext, columns: Sequence[TextColumn]) -> News:
    """Failures since the cursor, of runs of this code location and of the command line; at first, none."""
    instance = context.instance
    if context.cursor is None:
        newest = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
        return News((), str(newest[0].storage_id if newest else 0))
    found = instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=int(context.cursor)),
        limit=BATCH,
        ascending=True,
    ).records
    records = settled(found)
    if not records:
        return News((), context.cursor)
    ids = {record.event_log_entry.run_id for record in records}
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=sorted(ids)))}
    here = context.code_location_origin.location_name if context.code_location_origin else None
    alerts = [
        run_alert(run, record.event_log_entry, columns)
        for record in records
        if (run := runs.get(record.event_log_entry.run_id)) is not None and location_of(run) in (None, here)
    ]
    return News(alerts, str(records[-1].storage_id))


def red_checks(context: dg.SensorEvaluationContext, columns: Sequence[TextColumn]) -> News:
    """Checks that are red since the cursor and were not told to be, and those that are green again; at first, none."""
    storage, evaluation = context.instance.event_log_storage, dg.DagsterEventType.ASSET_CHECK_EVALUATION
    if context.cursor is None:
        newest = storage.get_event_records(dg.EventRecordsFilter(evaluation), limit=1)
        return News((), check_cursor(newest[0].storage_id if newest else 0, {}))
    before = json.loads(context.cursor)
    found = storage.get_event_records(
        dg.EventRecordsFilter(evaluation, after_cursor=before["after"]), limit=BATCH, ascending=True
    )
    records = settled(found)
    if not records:
        return News((), context.cursor)
    ours = None if context.repository_def is None else context.repository_def.asset_graph.asset_check_keys
    ranges = {vector_key(column) for column in columns}
    newest_of: dict[tuple[str, str], dg.EventLogEntry] = {}
    for record in records:
        check = evaluation_of(record.event_log_entry)
        # A run of several ranges has an evaluation of each, and one of all of them that belongs to none.
        if (ours is None or check.asset_check_key in ours) and (check.partition or check.asset_key not in ranges):
            key = f"{check.asset_key.to_user_string()}:{check.check_name}", check.partition or ""
            newest_of[key] = record.event_log_entry
    told: dict[str, dict[str, float]] = before["red"]
    alerts = []
    for (name, partition), entry in newest_of.items():
        check = evaluation_of(entry)
        told_at = told.get(name, {}).pop(partition, None)
        repeated = told_at is not None and abs(entry.timestamp - told_at) < TOLD_AGAIN_AFTER_S
        if not check.passed:
            told.setdefault(name, {})[partition] = told_at if told_at is not None and repeated else entry.timestamp
        if (check.passed and told_at is not None) or not (check.passed or repeated):
            alerts.append(check_alert(check, entry.run_id, columns))
    return News(alerts, check_cursor(records[-1].storage_id, told))


def settled(records: Sequence[dg.EventLogRecord]) -> Sequence[dg.EventLogRecord]:
    """Records up to the first that is too young to be sure of; one of the future is of a clock that was set back."""
    now = time.time()
    young = (n for n, record in enumerate(records) if abs(now - record.event_log_entry.timestamp) < SETTLING_S)
    return records[: next(young, len(records))]


def check_cursor(after: int, told: Mapping[str, Mapping[str, float]]) -> str:
    """The last event's number, and when which check of which range was told to be red."""
    oldest = time.time() - FORGOTTEN_AFTER_S
    kept = {
        name: {partition: round(at) for partition, at in partitions.items() if at > oldest}
        for name, partitions in told.items()
    }
    return json.dumps({"after": after, "red": {name: partitions for name, partitions in kept.items() if partitions}})


def run_alert(run: dg.DagsterRun, failure: dg.EventLogEntry, columns: Sequence[TextColumn]) -> Alert:
    """What a person needs of a failed run: the column, its ranges, and what went wrong first."""
    keys = run.asset_selection or frozenset()
    names = [str(column) for column in columns if vector_key(column) in keys or run.job_name.endswith(op_name(column))]
    single = run.tags.get(PARTITION_NAME_TAG)
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, single)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, single)
    return Alert(
        event="run_failed",
        column=", ".join(names) or run.job_name,
        partition=f"{first}...{last}"
        if first and last and first != last
        else first or run.tags.get(PARTITION_NAME_TAG),
        description=failure_reason(failure),
        run_id=run.run_id,
        page=f"/runs/{run.run_id}",
    )


def failure_reason(failure: dg.EventLogEntry) -> str:
    """What went wrong first in the first step that failed, or what was said of the run."""
    event = failure.dagster_event
    of_run = None if event is None else event.event_specific_data
    step = of_run.first_step_failure_event if isinstance(of_run, JobFailureData) else None
    of_step = None if step is None else step.event_specific_data
    if isinstance(of_step, StepFailureData) and of_step.error is not None:
        return root_error(of_step.error).message.strip()
    return (event.message if event is not None else None) or failure.user_message


def check_alert(check: dg.AssetCheckEvaluation, run_id: str, columns: Sequence[TextColumn]) -> Alert:
    """What a person needs of a check: where it is, how severe, and what it says or counted."""
    names = {vector_key(column): str(column) for column in columns}
    counted = {name: value.value for name, value in check.metadata.items() if name.endswith(("_rows", "_ids"))}
    said = check.description or ", ".join(f"{name} {value}" for name, value in sorted(counted.items()))
    return Alert(
        event="check_green" if check.passed else "check_red",
        column=names.get(check.asset_key, check.asset_key.to_user_string()),
        description="" if check.passed else said,
        partition=check.partition,
        check=check.check_name,
        severity=None if check.passed else check.severity.value,
        run_id=run_id,
        page=f"/assets/{check.asset_key.to_user_string()}?view=checks&checkDetail={check.check_name}",
    )


def evaluation_of(entry: dg.EventLogEntry) -> dg.AssetCheckEvaluation:
    """The evaluation that an event records."""
    event = entry.dagster_event
    assert event is not None
    return event.asset_check_evaluation_data


def location_of(run: dg.DagsterRun) -> str | None:
    """The code location that a run was launched from; None for one of the command line."""
    origin = run.remote_job_origin
    return None if origin is None else origin.repository_origin.code_location_origin.location_name

"""What Dagster is told of each range of a run: how far it is, and as soon as it is done, what is true of it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from steam_assets.columns import TextColumn
from steam_assets.defs.checks import tell_of_range, tell_of_run
from steam_assets.id_range import IdRange
from steam_assets.indexes.ready import finding_of
from steam_assets.progress import Progress, watching
from steam_assets.rules import Finding, broken_blocking_rules, description
from steam_assets.store.runs import EmbeddingRun
from steam_assets.store.session import RunSession

OBSERVED_EVERY_S = 60.0
RANGES_NAMED = 10

Metadata = Mapping[str, dg.MetadataValue]


class RangeEvents:
    """Tells of each range of a run when it is done: a materialization where downstream may go on, and its checks.

    Such a materialization outlives a run that dies in a later range. A range with a red blocking check gets none, only
    an observation, so that neither the run nor its backfill ends as a success.
    """

    def __init__(
        self, context: dg.OutputContext, session: RunSession, column: TextColumn, run: EmbeddingRun, ranges: int
    ) -> None:
        self._context, self._session, self._column, self._run, self._ranges = context, session, column, run, ranges
        self._findings: dict[IdRange, Finding] = {}

    @contextmanager
    def observing(self, id_range: IdRange) -> Iterator[None]:
        """Record an observation of how far a range is, once a minute."""
        started = observed = time.monotonic()
        rows = 0

        def observe(progress: Progress) -> None:
            nonlocal observed, rows
            rows += progress.rows
            now = time.monotonic()
            if now - observed >= OBSERVED_EVERY_S:
                observed = now
                self._log(
                    dg.AssetObservation,
                    id_range,
                    {
                        "rows_so_far": dg.MetadataValue.int(rows),
                        "rows_per_s": dg.MetadataValue.float(round(rows / (now - started), 2)),
                        "machine": dg.MetadataValue.text(progress.stats),
                    },
                )

        with watching(observe):
            yield

    def tell(self, id_range: IdRange, metadata: Metadata) -> None:
        """Look at a range in the database and record what is true of it.

        Green checks of a run's only range are left to the check step, which comes next.
        """
        finding = self._session.transact(lambda conn: finding_of(conn, self._column, self._run, id_range))
        self._findings[id_range] = finding
        red = broken_blocking_rules(finding)
        self._log(dg.AssetObservation if red else dg.AssetMaterialization, id_range, metadata)
        if red or self._ranges > 1:
            tell_of_range(self._context.step_context, self._column, id_range.key, finding)

    def end(self) -> None:
        """Fail the run when a range is not complete; otherwise leave Dagster nothing to add."""
        red = [self._said(id_range) for id_range, finding in self._findings.items() if broken_blocking_rules(finding)]
        if red:
            if self._ranges > 1:
                tell_of_run(self._context.step_context, self._column, list(self._findings.values()))
            lines = [
                f"{self._column}: {len(red)} of {self._ranges} ranges have red blocking checks.",
                *red[:RANGES_NAMED],
            ]
            if len(red) > RANGES_NAMED:
                lines.append(f"And {len(red) - RANGES_NAMED} more.")
            raise dg.Failure("\n".join(lines), allow_retries=False)
        # Dagster would materialize every range once more at the end of the step, all with new ids, and so make the
        # evaluations of each range those of an older materialization. 1.13 has no public way of declining that; it
        # adds nothing to an output that has no asset's name.
        self._context._asset_key = None

    def _said(self, id_range: IdRange) -> str:
        finding = self._findings[id_range]
        red = broken_blocking_rules(finding)
        why = dict.fromkeys(filter(None, (description(rule, self._column, [finding]) for rule in red)))
        return f"{id_range.key}: {', '.join(rule.name for rule in red)}. {' '.join(why)}"

    def _log(
        self, kind: type[dg.AssetMaterialization] | type[dg.AssetObservation], id_range: IdRange, metadata: Metadata
    ) -> None:
        self._context.log_event(
            kind(
                asset_key=self._context.asset_key,
                partition=id_range.key,
                metadata=metadata,
                # Another run may have changed any row: what is downstream of an earlier version is out of date.
                tags={DATA_VERSION_TAG: self._context.run_id} if kind is dg.AssetMaterialization else None,
            )
        )

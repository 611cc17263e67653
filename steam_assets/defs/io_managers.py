"""Streams of embeddings into vector columns, with the metadata an operator reads. The work is pipeline.py's."""

import logging
from dataclasses import asdict

import dagster as dg

from steam_assets.attempt import RangeReport
from steam_assets.columns import TextColumn
from steam_assets.defs.range_events import RangeEvents
from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.id_range import IdRange
from steam_assets.logs import Pace, about
from steam_assets.pipeline import fill_range
from steam_assets.store.read import sample_rows
from steam_assets.store.session import RangeTaken, RunSession
from steam_assets.stream import EmbeddingStream
from steam_assets.targets import follow_target
from steam_assets.upkeep import clear_the_way, tidy_up

logger = logging.getLogger(__name__)
"""dagster.yaml sends this logger's lines to the run's events too, and `embed` to a file."""

GIB = 1 << 30


class VectorColumnIOManager(dg.ConfigurableIOManager):
    """Consumes an EmbeddingStream while it is produced; each range is committed, recorded and materialized alone."""

    database: dg.ResourceDependency[DatabaseResource]
    gpu: dg.ResourceDependency[GpuResource]

    def handle_output(self, context: dg.OutputContext, obj: EmbeddingStream) -> None:
        """Write every range of the stream; the first error, or Terminate, ends it after the last committed chunk."""
        column, options = obj.column, obj.options
        with RunSession(self.database.connect, context.run_id) as session:
            conn, run_id, dagster_run_id = session.conn, obj.run.run_id, session.dagster_run_id
            clear_the_way(conn, column, run_id, options.drop_index, logger.info, dagster_run_id, options.limit)
            events = RangeEvents(context, session, column, obj.run, len(obj.id_ranges))
            remaining = options.limit
            skipped: dict[IdRange, str] = {}
            pace = Pace()
            for id_range in obj.id_ranges:
                say = pace.of(about(logger, run=context.run_id, column=str(column), range=id_range.key).info)
                monitor = self.gpu.monitor(obj.encoder, say)
                try:
                    with events.observing(id_range):
                        done = fill_range(session, obj, id_range, monitor, say, remaining)
                except RangeTaken as taken:
                    skipped[id_range] = str(taken)
                    logger.warning(skipped[id_range])
                    continue
                remaining = None if remaining is None else remaining - done.counts.handled
                events.tell(id_range, range_metadata(session, obj, id_range, done))
            for id_range, why in skipped.items():  # the other run may have filled it meanwhile
                events.tell(id_range, {"skipped": dg.MetadataValue.text(why)})
            session.transact(lambda conn: follow_target(conn, column))
            dead = tidy_up(session, column, options.vacuum, logger.info)
            context.add_output_metadata({"dead_rows": dead.dead, "dead_rows_percent": round(100 * dead.share, 2)})
            events.end()

    def load_input(self, context: dg.InputContext) -> None:
        """Refuse: a million vectors do not belong in memory; downstream assets say ``deps=`` and use SQL."""
        raise NotImplementedError("Vector columns are read with SQL. Use deps=, not an argument, for this asset.")


def range_metadata(
    session: RunSession, stream: EmbeddingStream, id_range: IdRange, done: RangeReport
) -> dict[str, dg.MetadataValue]:
    """What an operator would ask of a range; numbers are plotted over time by the UI."""
    counts, monitor, encoder = done.counts, done.monitor, stream.encoder
    numbers: dict[str, float | int | None] = {
        "rows": counts.written,
        "rows_per_s": round(done.rows_per_s, 2),
        "tokens": counts.tokens,
        "tokens_per_s": round(done.tokens_per_s, 1),
        "seconds": round(done.seconds, 3),
        "truncated_texts": counts.truncated,
        "quarantined_rows": counts.failed,
        "changed_meanwhile": counts.changed,
        "gone_meanwhile": counts.gone,
        "cleared_blank": counts.cleared,
        "memory_errors": len(done.memory_events),
        "forwards": done.work.forwards,
        "padding_percent": round(100 * done.work.padding_share, 2),
        "batch_tokens": encoder.budget.tokens,
        "peak_memory_gib": None if done.peak_memory_bytes is None else round(done.peak_memory_bytes / GIB, 3),
        "cpu_percent_mean": monitor.cpu_percent_mean,
        "gpu_util_percent_mean": monitor.gpu_util_percent_mean,
        "gpu_util_percent_peak": monitor.gpu_util_percent_peak,
        "gpu_memory_percent_peak": monitor.gpu_memory_percent_peak,
        "gpu_energy_wh": monitor.gpu_energy_wh,
        "wh_per_1000_rows": done.wh_per_1000_rows,
        **{f"{stage}_seconds": round(seconds, 3) for stage, seconds in asdict(done.stages).items()},
    }
    words = {
        "model": stream.run.model_name,
        "device": stream.device,
        "dtype": encoder.backend.dtype,
        "backend": encoder.backend.name,
    }
    if stream.precision is not None:
        numbers |= {
            "cosine_mean_to_fp32": stream.precision.cosine_mean,
            "cosine_min_to_fp32": stream.precision.cosine_min,
            "recall_at_10_to_fp32": stream.precision.recall_at_10,
        }
    if done.memory_events:
        words["memory_events"] = "\n".join(map(str, done.memory_events))
    return {
        **{name: dg.MetadataValue.float(float(value)) for name, value in numbers.items() if value is not None},
        **{name: dg.MetadataValue.text(value) for name, value in words.items()},
        "embedding_run": dg.MetadataValue.int(stream.run.run_id),
        "sample": sample_table(session, stream.column, id_range),
    }


def sample_table(session: RunSession, column: TextColumn, id_range: IdRange) -> dg.TableMetadataValue:
    """A few embedded rows of a range, to look at."""
    rows = session.transact(lambda conn: sample_rows(conn, column, id_range))
    return dg.MetadataValue.table(
        records=[dg.TableRecord({"id": row.id, "text": row.text, "vector": row.vector}) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("id", "text", "vector")]),
    )

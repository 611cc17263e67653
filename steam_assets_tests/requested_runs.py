"""Runs that sensors ask for, carried out in this process with the encoder of hashes, or left as the queue has them."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from steam_assets.columns import TextColumn
from steam_assets.defs.in_progress import ranges_of_tags
from steam_assets.defs.jobs import column_job_name
from steam_assets.defs.resources import GpuResource
from steam_assets.defs.runs import QUIET
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.id_range import IdRange
from steam_assets_tests.hash_encoder import hash_encoder


class HashGpu(GpuResource):
    """Hands out the encoder of hashes for whatever model is asked for."""

    def encoder(self, model: Model) -> Encoder:
        """Without loading anything."""
        return hash_encoder(model)


def asked_for(result: dg.SensorResult, id_ranges: Sequence[IdRange]) -> list[list[IdRange]]:
    """The ranges of each run that a tick asks for."""
    return [ranges_of_tags(request.tags, id_ranges) for request in result.run_requests or ()]


def carry_out(
    instance: dg.DagsterInstance, definitions: dg.Definitions, column: TextColumn, result: dg.SensorResult
) -> list[dg.DagsterRunStatus]:
    """Do all that a tick asks for, as the daemon would have it done; how each run ended."""
    job = definitions.resolve_job_def(column_job_name(column))
    ended = []
    for request in result.run_requests or ():
        done = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config=QUIET,
            tags=dict(request.tags),
            partition_key=request.partition_key,
        )
        ended.append(status_of(instance, done.run_id))
    return ended


def enqueue(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    column: TextColumn,
    tags: dict[str, str],
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED,
) -> dg.DagsterRun:
    """A run of the column's job that goes no further."""
    job = definitions.resolve_job_def(column_job_name(column))
    # A queued run has to say which code location would start it.
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("steam_assets"), "__repository__")
    origin = RemoteJobOrigin(repository, job.name)
    return instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=origin)


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    """How a run stands."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status

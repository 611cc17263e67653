"""The pool `gpu` has as many slots as this home has devices; which run gets which device is device_lease.py's."""

import dagster as dg

GPU_POOL = "gpu"


def fit_pool(instance: dg.DagsterInstance, slots: int) -> bool:
    """Give the pool so many slots, and say whether that is a change; runs beyond them wait in the queue.

    dagster.yaml's default of one is not enough: before Dagster 1.13 has seen a pool once, it starts all that is queued.
    """
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    if limits.get(GPU_POOL) == slots:
        return False
    instance.event_log_storage.set_concurrency_slots(GPU_POOL, slots)
    return True

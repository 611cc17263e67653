"""The device a process works on, which it shares with no other: devices and leases meet. No Dagster.

Whoever fills a column leases one. Searches, estimates and `doctor` do not: they take seconds and little memory, and are
not to wait for a backfill.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from psycopg2.extensions import connection

from steam_assets.encoder.device import why_no_cuda
from steam_assets.encoder.devices import Device, count_devices, cpu_workers, find_devices
from steam_assets.encoder.loading import EncoderSettings
from steam_assets.settings import integer_setting
from steam_assets.store.leases import WAIT_S, Lease, take_lease

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceLease:
    """A device, and the lease that keeps other processes from it; both end with the process at the latest."""

    device: Device
    lease: Lease

    def __enter__(self) -> "DeviceLease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def renew(self) -> None:
        """Take the device again where the connection was lost; raises LeaseLost when another process has it by now."""
        self.lease.renew()

    def close(self) -> None:
        """Give the device back; what runs around in this process may have it still."""
        self.lease.close()


def lease_device(
    connect: Callable[[], connection],
    settings: EncoderSettings,
    tell: Callable[[str], None] = logger.info,
    within_s: float = WAIT_S,
) -> DeviceLease | None:
    """The first free device of those that the settings allow, waiting until there is one; None with an endpoint.

    Raises DeviceUnavailable where there is no such device at all, and NothingFree after ``within_s``.
    """
    if settings.endpoint is not None:
        return None  # whose server shares itself out
    requested = "cpu" if settings.backend == "openvino" else settings.device
    leased = _lease_one(connect, find_devices(requested), tell, within_s)
    if requested == "auto" and leased.device.torch_name != "cpu":
        reason = why_no_cuda(leased.device.torch_name)
        if reason is not None:
            leased.close()
            logger.info("Using the CPU: %s.", reason)
            return _lease_one(connect, cpu_workers(), tell, within_s)
    return leased


def device_slots(settings: EncoderSettings) -> int:
    """How many runs can work at once: ``STEAM_ASSETS_GPU_SLOTS``, else as many as there are devices to lease."""
    if (asked := integer_setting("STEAM_ASSETS_GPU_SLOTS")) is not None:
        return asked
    if settings.endpoint is not None:
        return 1
    return count_devices("cpu" if settings.backend == "openvino" else settings.device)


def _lease_one(
    connect: Callable[[], connection], devices: list[Device], tell: Callable[[str], None], within_s: float
) -> DeviceLease:
    by_identity = {device.identity: device for device in devices}
    lease = take_lease(connect, list(by_identity), tell, within_s)
    device = by_identity[lease.name]
    logger.info("Leased %s.", device)
    return DeviceLease(device, lease)

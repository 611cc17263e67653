"""A process gets a device that nobody else has, of those that its settings allow."""

import logging

import pytest
from psycopg2.extensions import connection

from steam_assets import device_lease
from steam_assets.columns import TextColumn
from steam_assets.device_lease import DeviceLease, device_slots, lease_device
from steam_assets.encoder import devices
from steam_assets.encoder.devices import Device, this_host
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets.id_range import EVERYTHING
from steam_assets.pipeline import fill_range
from steam_assets.store import leases
from steam_assets.store.leases import LeaseLost, holders
from steam_assets.store.session import RunSession
from steam_assets.stream import open_stream
from steam_assets_tests.models import CPU
from steam_assets_tests.rows import Connect, execute, fetch

LOCK = "steam_assets device"
GPUS = [Device("cuda:0", "GPU-aaaa"), Device("cuda:1", "GPU-bbbb")]


def held(conn: connection) -> list[str]:
    """The devices that somebody has."""
    names = [device.identity for device in GPUS] + [f"cpu#{n} of {this_host()}" for n in range(2)]
    return [holder.name for holder in holders(conn, names)]


def test_a_cpu_worker_is_leased_for_as_long_as_it_is_used(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whichever backend works on the CPU, though there are GPUs."""
    monkeypatch.setattr(devices, "cuda_devices", lambda: GPUS)
    monkeypatch.setattr(device_lease, "why_no_cuda", lambda _device: None)
    for settings in (CPU, EncoderSettings(backend="openvino")):
        with lease_device(connect, settings) or pytest.fail("no device") as leased:
            assert (leased.device.torch_name, leased.device.name) == ("cpu", "cpu#0")
            assert held(conn) == [f"cpu#0 of {this_host()}"]
            leased.renew()


def test_a_server_of_embeddings_is_not_leased(connect: Connect) -> None:
    """It takes requests of many, and which device it has is its own affair."""
    assert lease_device(connect, EncoderSettings(endpoint="http://127.0.0.1:1/v1")) is None


@pytest.mark.parametrize(("requested", "expected"), [("cuda", "cuda:1"), ("auto", "cuda:1"), ("cuda:1", "cuda:1")])
def test_the_first_free_gpu_is_taken(
    requested: str, expected: str, conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is with another process here."""
    monkeypatch.setattr(devices, "cuda_devices", lambda: GPUS)
    monkeypatch.setattr(device_lease, "why_no_cuda", lambda _device: None)
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"{LOCK} GPU-aaaa",))
    with lease_device(connect, EncoderSettings(device=requested)) or pytest.fail("no device") as leased:
        assert leased.device.torch_name == expected
        assert held(conn) == ["GPU-aaaa", "GPU-bbbb"]


def test_a_gpu_that_does_not_compute_is_given_back_for_the_cpu(
    conn: connection, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`auto` says why, and whoever can use that GPU has it."""
    monkeypatch.setattr(devices, "cuda_devices", lambda: GPUS)
    monkeypatch.setattr(device_lease, "why_no_cuda", lambda device: f"no kernel image for {device}")
    with caplog.at_level(logging.INFO), lease_device(connect, EncoderSettings()) or pytest.fail("none") as leased:
        assert leased.device.name == "cpu#0"
        assert held(conn) == [f"cpu#0 of {this_host()}"]
    assert "Using the CPU: no kernel image for cuda:0." in caplog.text


def test_who_waits_is_told_for_whom(conn: connection, connect: Connect) -> None:
    """And has the device when it is given back."""
    name = f"cpu#0 of {this_host()}"
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"{LOCK} {name}",))
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        conn.close()

    with lease_device(connect, CPU, tell) or pytest.fail("no device"):
        pass
    assert [line.partition(" since")[0] for line in told] == [f"Waiting for {name}. {name} is with steam_assets"]


END_LEASES = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'steam_assets process%%'
"""


def fill(reviews: TextColumn, encoder: Encoder, connect: Connect, leased: DeviceLease) -> None:
    """Fill the whole table as a run does."""
    stream = open_stream(reviews, [EVERYTHING], lambda model: encoder, connect, lease=leased)
    with RunSession(connect, "a run") as session:
        fill_range(session, stream, EVERYTHING, SystemMonitor("cpu", lambda _: None), lambda _: None)


def test_a_range_is_filled_on_the_device_though_its_lease_was_lost(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """It is taken again before anything is read, and the record says which one it was."""
    with lease_device(connect, CPU) or pytest.fail("no device") as leased:
        execute(conn, END_LEASES)
        assert held(conn) == []
        fill(reviews, minilm_encoder, connect, leased)
        assert held(conn) == [f"cpu#0 of {this_host()}"]
    ((status, device),) = fetch(conn, "SELECT status, device FROM embedding_run_ranges")
    assert (status, device) == ("done", f"{minilm_encoder.backend.device_name} (cpu#0)")


def test_a_device_that_another_process_has_by_now_is_left_to_it(
    conn: connection, connect: Connect, reviews: TextColumn, minilm_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The range fails without a row, and its record says why."""
    monkeypatch.setattr(leases, "RETURNING_S", 0.0)
    with lease_device(connect, CPU) or pytest.fail("no device") as leased:
        execute(conn, END_LEASES)
        with conn.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"{LOCK} cpu#0 of {this_host()}",))
        conn.commit()
        with pytest.raises(LeaseLost, match="was taken: cpu#0"):
            fill(reviews, minilm_encoder, connect, leased)
    ((status, rows, error),) = fetch(conn, "SELECT status, rows_written, error FROM embedding_run_ranges")
    assert (status, rows) == ("failed", 0)
    assert str(error).startswith("LeaseLost: ")


def test_a_home_has_as_many_slots_as_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is told how many; a server of embeddings takes one run at a time until then."""
    remote = EncoderSettings(endpoint="http://127.0.0.1:1/v1")
    assert device_slots(CPU) == device_slots(remote) == 1
    monkeypatch.setenv("STEAM_ASSETS_CPU_WORKERS", "3")
    assert device_slots(CPU) == device_slots(EncoderSettings(backend="openvino")) == 3
    assert device_slots(remote) == 1
    monkeypatch.setattr(devices, "cuda_devices", lambda: GPUS)
    assert device_slots(EncoderSettings()) == 2
    assert device_slots(EncoderSettings(device="cuda:1")) == 1
    monkeypatch.setenv("STEAM_ASSETS_GPU_SLOTS", "4")
    assert device_slots(CPU) == device_slots(remote) == 4

"""Resources carry settings and hand out plain objects; the UI shows no secret of theirs."""

import threading

import pytest
from psycopg2.extensions import connection

from steam_assets.defs.resources import DatabaseResource, GpuResource
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import load_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.monitor import SystemMonitor
from steam_assets_tests.models import CPU


def test_the_database_resource_opens_what_the_environment_names(
    named_database: str, conn: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection is new, and to the database of the test."""
    opened = DatabaseResource().connect()
    try:
        assert opened is not conn
        assert opened.info.dbname == conn.info.dbname
    finally:
        opened.close()


def test_the_database_resource_has_nothing_to_show() -> None:
    """No field can hold a password, so no page of the UI can print one."""
    assert DatabaseResource.model_fields == {}


def test_the_encoder_is_loaded_once_per_process(minilm: Model) -> None:
    """Two runs in one process, and the command line, share the model."""
    first = GpuResource(device="cpu").encoder(minilm)
    assert GpuResource(device="cpu").encoder(minilm) is first
    assert load_encoder(minilm, CPU) is first


def test_the_monitor_watches_the_encoder_s_device_and_leaves_no_thread(minilm_encoder: Encoder) -> None:
    """It samples while a range is filled, and is gone at once after it."""
    lines: list[str] = []
    before = threading.active_count()
    with GpuResource(device="cpu", stats_every_s=0.05).monitor(minilm_encoder, lines.append) as monitor:
        assert isinstance(monitor, SystemMonitor)
        assert "CPU" in monitor.stats_line()
    assert threading.active_count() == before

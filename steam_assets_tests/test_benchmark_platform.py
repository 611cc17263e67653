"""The benchmarks of the whole platform do the work they time: small runs, read back from the database."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from steam_assets.columns import COLUMNS
from steam_assets.store.states import range_state
from steam_assets.targets import target_run
from steam_assets_tests.benchmarks import pipeline, platform, scale
from steam_assets_tests.benchmarks.platform import Platform
from steam_assets_tests.benchmarks.scale import ScaleRow

pytestmark = pytest.mark.slow  # whole runs through Dagster

TEXTS = {"reviews": ["good", "bad", "a farm"], "applications": ["Lantern Valley", "Deep Water"]}
NO_DATA = Path("no such directory")


@pytest.fixture
def small() -> Iterator[Platform]:
    """Twelve reviews and four applications."""
    with platform.platform(TEXTS, 16) as made:
        yield made


def embedded(made: Platform) -> list[int]:
    """Rows of each table that have their vector."""
    with closing(made.connect()) as conn:
        runs = [target_run(conn, column) for column in COLUMNS]
        return [
            range_state(conn, column, run.run_id, run.dimension).embedded
            for column, run in zip(COLUMNS, runs, strict=True)
        ]


def test_ours_goes_through_dagster_and_again_does_nothing(small: Platform) -> None:
    """Every range has its record, and a second run none."""
    assert embedded(small) == [0, 0]
    small.embed()
    assert embedded(small) == [4, 12]
    with closing(small.connect()) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT sum(rows_written), count(*) FROM embedding_run_ranges")
        ((written, attempts),) = cursor.fetchall()
        assert written == 16
        small.embed()
        cursor.execute("SELECT count(*) FROM embedding_run_ranges")
        assert cursor.fetchall() == [(attempts,)]


def test_the_predecessor_writes_the_same_rows_without_digests(small: Platform) -> None:
    """All are there, and ours calls them stale: nobody knows which text they are of."""
    small.embed_as_the_predecessor()
    with closing(small.connect()) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT count(review_embedding), count(review_embedding_source_md5) FROM reviews")
        assert cursor.fetchall() == [(12, 0)]


def test_the_pipeline_s_file_is_as_the_design_says(home: Path) -> None:
    """The predecessor's row is named so, ours begin with ours, and the encoder's share is one."""
    path = home / "pipeline.json"
    pipeline.main(["--shape", "reviews", "--rounds", "1", "--rates", "40", "--data", str(NO_DATA), "--json", str(path)])
    found = json.loads(path.read_text())
    assert [row["name"] for row in found["rows"]] == ["predecessor", "ours"]
    assert found["rows"][0]["ratio_to_predecessor"] == 1
    assert all(0 < row["busy_share"] <= 1 and row["rows_per_s"] <= 41 for row in found["rows"])
    assert "--rates 40" in found["command"]


def test_the_platform_s_file_holds_every_round(home: Path) -> None:
    """Medians and the seconds they are of, with the fixed ones apart."""
    path = home / "platform.json"
    platform.main(["--rows", "16", "--rounds", "1", "--data", str(NO_DATA), "--json", str(path)])
    predecessor, ours = json.loads(path.read_text())["rows"]
    assert (predecessor["name"], ours["name"]) == ("predecessor", "ours")
    assert len(ours["seconds"]) == ours["rounds"] == 1
    assert ours["fixed_s"] > 0


def test_every_work_of_a_size_is_measured() -> None:
    """With the partial index of `init`, and memory in bytes."""
    found = scale.measure(TEXTS, 16)
    assert found.partial_index
    assert all(getattr(found, name) > 0 for name in ("read_s", "embed_s", "fill_s", "status_s", "no_op_s", "probe_ms"))
    assert found.fill_s < found.embed_s


def test_growth_and_limits_decide_the_verdicts() -> None:
    """A cost that grows is missed, as is a slow answer at the largest size."""
    small = ScaleRow("ours", 10_000, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0, 10**8, partial_index=True)
    large = ScaleRow("ours", 1_000_000, 100.0, 300.0, 130.0, 100.0, 11.0, 49.0, 2 * 10**9, partial_index=True)
    verdicts = {target.what: target.verdict for target in scale.targets([small, large])}
    assert [verdict for what, verdict in verdicts.items() if what.startswith(("no-op", "memory", "fill"))] == [
        *("missed", "missed", "missed"),
    ]
    assert [verdict for what, verdict in verdicts.items() if what.startswith(("new-row", "read", "status"))] == [
        *("met", "met", "met"),
    ]

"""`steam-assets up` as a process of its own, and what the web UI asks it through GraphQL. For tests and benchmarks."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCATION = {"repositoryLocationName": "steam_assets", "repositoryName": "__repository__"}
READY_S = 120.0
POLL_S = 0.1

LAUNCH_BACKFILL = """
    mutation Launch($backfill: LaunchBackfillParams!) {
      launchPartitionBackfill(backfillParams: $backfill) {
        __typename
        ... on LaunchBackfillSuccess { backfillId }
        ... on PythonError { message }
      }
    }
"""
TERMINATE = """
    mutation Terminate($run: String!) {
      terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } ... on PythonError { message } }
    }
"""
# The queries of an asset's page, its partitions and its checks.
ASSET_PAGE = """
    query AssetPage($asset: AssetKeyInput!) {
      assetNodeOrError(assetKey: $asset) {
        ... on AssetNode {
          id
          partitionKeys
          partitionStats { numMaterialized numFailed numMaterializing numPartitions }
          assetPartitionStatuses {
            ... on DefaultPartitionStatuses { materializedPartitions failedPartitions unmaterializedPartitions }
          }
          assetMaterializations(limit: 100) { partition timestamp runId }
          assetChecksOrError {
            ... on AssetChecks { checks { name executionForLatestMaterialization { status } } }
          }
        }
      }
    }
"""
SENSORS = """
    query Sensors($repository: RepositorySelector!) {
      sensorsOrError(repositorySelector: $repository) {
        ... on Sensors { results { name sensorState { status } } }
      }
    }
"""


@dataclass(frozen=True)
class WebUi:
    """A web UI that answers at ``url``; ``up`` is the process that serves it."""

    url: str
    up: subprocess.Popen[Any]

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The answer's data; raises on errors."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  (our own server)
            found = json.load(answer)
        if found.get("errors"):
            raise RuntimeError(found["errors"][0]["message"])
        data: dict[str, Any] = found["data"]
        return data

    def launch_backfill(self, asset: Sequence[str], keys: Sequence[str]) -> str:
        """Ask for the materialization of these partitions, as the dialog does; the backfill's id."""
        backfill = {"assetSelection": [{"path": list(asset)}], "partitionNames": list(keys)}
        answer = self.ask(LAUNCH_BACKFILL, backfill=backfill)["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise RuntimeError(str(answer))
        return str(answer["backfillId"])

    def terminate(self, run_id: str) -> None:
        """Press Terminate on a run's page."""
        answer = self.ask(TERMINATE, run=run_id)["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise RuntimeError(str(answer))

    def sensors(self) -> dict[str, str]:
        """Names and states of the location's sensors."""
        found = self.ask(SENSORS, repository=LOCATION)["sensorsOrError"]["results"]
        return {sensor["name"]: sensor["sensorState"]["status"] for sensor in found}

    def asset_page(self, asset: Sequence[str]) -> dict[str, Any]:
        """What an asset's page shows."""
        found: dict[str, Any] = self.ask(ASSET_PAGE, asset={"path": list(asset)})["assetNodeOrError"]
        return found


@contextmanager
def web_ui(log: Path) -> Iterator[WebUi]:
    """`steam-assets up` on the environment's databases, ready, with a port of its own; it writes to ``log``."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "steam_assets", "up", "--port", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as up:
        ui = WebUi(f"http://127.0.0.1:{port}", up)
        try:
            wait_for(lambda: answers(ui.url) or up.poll() is not None, READY_S, f"{ui.url} answers")
            if up.poll() is not None:
                raise RuntimeError(log.read_text())
            yield ui
        finally:
            up.terminate()
            up.wait(60)


def answers(url: str) -> bool:
    """Whether a web UI is there."""
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2):  # noqa: S310  (our own server)
            return True
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], limit_s: float, what: str, poll_s: float = POLL_S) -> float:
    """Wait for ``condition`` and return how many seconds that took; raises TimeoutError."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > limit_s:
            raise TimeoutError(f"waited {limit_s} s in vain until {what}")
        time.sleep(poll_s)
    return time.monotonic() - started

"""How long a search takes: over HTTP through `steam-assets serve`, and as a command with a model of its own or without.

`python -m steam_assets_tests.benchmarks.serve --json serve.json`

Real applications where they are, else the sample's, embedded by MiniLM on the CPU in a database of its own; every query
is asked once, so none is answered from memory. The predecessor has no search to compare with.
"""

import argparse
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import urllib3
from psycopg2 import sql

from steam_assets.columns import APPLICATIONS, COLUMNS
from steam_assets.defs.resources import GpuResource
from steam_assets.encoder.models import DEMO_MODEL, find_model
from steam_assets.indexes.build import Wanted, build_measured_index
from steam_assets.settings import make_home
from steam_assets.store.database import connect
from steam_assets.store.hnsw import serving_index
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.store.search import find_nearest, snapshot
from steam_assets.store.variants import nearest_through
from steam_assets.targets import choose_first_model, run_to_search
from steam_assets_tests.benchmarks.corpus import REAL_ROWS, Corpus, read_corpora
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.scratch import scratch_address
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table
from steam_assets_tests.web_api import wait_for

if TYPE_CHECKING:
    from psycopg2.extensions import connection

    from steam_assets.store.database import DatabaseAddress

MODULE = "steam_assets_tests.benchmarks.serve"
CLIENTS = 4
QUERIES = 400
"""Of each client."""
WARM_UP = 20
COMMANDS = 5
QUERY_WORDS = 8
READY_S = 300.0
MOST_P95_MS = 50.0
MOST_COMMAND_S = 2.0
MOST_OVER_IMPORTS_S = 2.0
COLUMN = str(APPLICATIONS)
IMPORTS = "import torch, sentence_transformers, steam_assets.search"

INSERT = """
    INSERT INTO applications (appid, name, short_description, description_embedding, embedding_run_id,
                              description_embedding_source_md5)
    SELECT 10 * %(n)s, '', %(text)s, %(vector)s, %(run)s, md5(' ' || %(text)s || ' ')::uuid
"""


@dataclass(frozen=True)
class ServeRow:
    """Latencies of one way to search; of commands in seconds, with ``clients`` 0."""

    name: str
    clients: int
    searches: int
    p50_ms: float
    p95_ms: float
    searches_per_s: float
    ratio_to_predecessor: float | None = None


def summary(name: str, clients: int, seconds: Sequence[float], wall_s: float) -> ServeRow:
    """What the latencies come to."""
    p50, p95 = np.percentile(seconds, [50, 95])
    return ServeRow(name, clients, len(seconds), 1000 * float(p50), 1000 * float(p95), len(seconds) / wall_s)


def fill(conn: "connection", corpus: Corpus) -> None:
    """Put the texts and their vectors into a new database, and have searches read them."""
    model = find_model(DEMO_MODEL)
    apply_schema(conn, plan_schema(conn, COLUMNS, model.dimension))
    vectors = GpuResource(device="cpu").encoder(model).encode(corpus.texts)
    with conn, conn.cursor() as cursor:
        run = choose_first_model(conn, APPLICATIONS, model)
        for n, (text, vector) in enumerate(zip(corpus.stored, vectors, strict=True), 1):
            cursor.execute(INSERT, {"n": n, "text": text, "vector": str(vector.tolist()), "run": run.run_id})


def plan_warning(conn: "connection") -> str | None:
    """What to say where the server compares every row though there is an index, as it does in a small table."""
    run = run_to_search(conn, APPLICATIONS).run
    index = serving_index(conn, APPLICATIONS, run.run_id)
    conn.rollback()
    assert index is not None
    query = [1.0] * run.dimension
    with snapshot(conn), conn.cursor() as cursor:
        find_nearest(conn, APPLICATIONS, run.run_id, query, 10)  # with the settings that it leaves
        search = nearest_through(index, APPLICATIONS, run.run_id, query, 10)
        cursor.execute(sql.SQL("EXPLAIN {}").format(search))
        if any(f"Index Scan using {index.name}" in line for (line,) in cursor.fetchall()):
            return None
    return "The server compares every row of this table all the same: no figure is one of the index."


def queries_of(corpus: Corpus, count: int) -> list[str]:
    """So many different texts as people type them: a few words from within the texts."""
    found: dict[str, None] = {}
    random = np.random.default_rng(0)
    while len(found) < count:
        words = corpus.texts[int(random.integers(len(corpus)))].split()
        start = int(random.integers(max(1, len(words) - QUERY_WORDS)))
        found[" ".join(words[start : start + QUERY_WORDS])] = None
    return list(found)


@contextmanager
def running_serve(environment: dict[str, str]) -> Iterator[str]:
    """`steam-assets serve` in a process of its own, ready; where it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = make_home("logs") / "benchmark.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command("serve", "--port", str(port)), stdout=output, stderr=output, env=environment) as serve,
    ):
        try:
            wait_for(lambda: is_ready(url) or serve.poll() is not None, READY_S, f"{url} answers")
            if serve.poll() is not None:
                raise RuntimeError(log.read_text())
            yield url
        finally:
            serve.terminate()
            serve.wait(60)


def is_ready(url: str) -> bool:
    """Whether the service is there."""
    try:
        return urllib3.request("GET", f"{url}/healthz", retries=False, timeout=5).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def command(*arguments: str) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-m", "steam_assets", *arguments]


def ask(url: str, clients: int, queries: Sequence[str], exact: bool) -> tuple[list[float], float]:
    """Each client asks its own queries one after the other; the seconds of each, and those of all together."""
    seconds: list[float] = []

    def client(own: Sequence[str]) -> None:
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            for text in own:
                began = time.perf_counter()
                fields = {"q": text, "in": COLUMN, "k": "10", **({"exact": "true"} if exact else {})}
                answer = pool.request("GET", f"{url}/api/search", fields=fields)
                seconds.append(time.perf_counter() - began)
                found = answer.json()["results"][0] if answer.status == 200 else None
                if found is None or len(found["hits"]) != 10 or (found["how"] == "exact") != exact:
                    raise RuntimeError(f"{answer.status}: {answer.data[:300]!r}")

    threads = [threading.Thread(target=client, args=(queries[n::clients],)) for n in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - began
    if len(seconds) != len(queries):
        raise RuntimeError(f"{len(seconds)} of {len(queries)} searches were answered")
    return seconds, wall_s


def http_rows(environment: dict[str, str], corpus: Corpus, queries: int) -> list[ServeRow]:
    """Through the index and without it, one client and several, in a service with its own choice of a backend.

    Then through the index in one with torch, which is what there is without the extra.
    """
    shapes = [(clients, exact) for exact in (False, True) for clients in (1, CLIENTS)]
    rows: list[ServeRow] = []
    with running_serve(environment) as url:
        rows += asked_rows(url, "ours over HTTP", shapes, corpus, queries)
        asked = [run(command("search", "trains", "--url", url, "--in", COLUMN), environment) for _ in range(COMMANDS)]
        rows.append(summary("ours as a command through a running serve", 0, asked, sum(asked)))
    with running_serve(environment | {"STEAM_ASSETS_BACKEND": "torch"}) as url:
        rows += asked_rows(url, "ours over HTTP with torch", shapes[:2], corpus, queries)
    return rows


def asked_rows(
    url: str, name: str, shapes: Sequence[tuple[int, bool]], corpus: Corpus, queries: int
) -> Iterator[ServeRow]:
    """So many clients, with every row compared or not, one after the other in a service that is warm."""
    texts = iter(queries_of(corpus, sum(clients * queries for clients, _ in shapes) + WARM_UP))
    ask(url, 1, [next(texts) for _ in range(WARM_UP)], exact=True)
    for clients, exact in shapes:
        own = [next(texts) for _ in range(clients * queries)]
        how = "every row compared" if exact else "through the index"
        yield summary(f"{name}, {clients} clients, {how}", clients, *ask(url, clients, own, exact))


def command_rows(environment: dict[str, str]) -> list[ServeRow]:
    """A cold command, and what it imports alone; in turns."""
    cold, imports = [], []
    for _ in range(COMMANDS):
        cold.append(run(command("search", "trains", "--in", COLUMN), environment))
        imports.append(run([sys.executable, "-c", IMPORTS], environment))
    return [summary("ours as a command", 0, cold, sum(cold)), summary("imports of that", 0, imports, sum(imports))]


def run(arguments: Sequence[str], environment: dict[str, str]) -> float:
    """Seconds of a process that ends well."""
    began = time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True, env=environment)
    return time.perf_counter() - began


def targets(rows: Sequence[ServeRow]) -> list[Target]:
    """What was promised."""
    p95 = next((row.p95_ms for row in rows if row.clients == CLIENTS), None)
    p50_s = {row.name: row.p50_ms / 1000 for row in rows if not row.clients}
    cold, imports = p50_s.get("ours as a command"), p50_s.get("imports of that")
    over = None if cold is None or imports is None else cold - imports
    through = p50_s.get("ours as a command through a running serve")
    where, what = "CPU, MiniLM", "applications"
    return [
        compared(where, what, f"HTTP p95 at {CLIENTS} clients, ms < {MOST_P95_MS:g}", p95, most=MOST_P95_MS),
        compared(where, what, f"command through a serve, s < {MOST_COMMAND_S:g}", through, most=MOST_COMMAND_S),
        compared(
            where, what, f"cold command over imports, s <= {MOST_OVER_IMPORTS_S:g}", over, most=MOST_OVER_IMPORTS_S
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a database, measure, print the table and what came of the targets, write the JSON."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, help="at most so many applications")
    parser.add_argument("--queries", type=int, default=QUERIES, help="of each client")
    parser.add_argument("--data", type=Path, default=REAL_ROWS, help="where the real rows are; else the sample's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)

    machine = describe_machine("cpu")
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    (corpus,) = read_corpora([APPLICATIONS.table], options.rows, options.data)
    with scratch_address() as address:
        with closing(connect(address)) as conn:
            fill(conn, corpus)
        build_measured_index(connecting(address), APPLICATIONS, Wanted(), print)
        with closing(connect(address)) as conn:
            if warning := plan_warning(conn):
                print(warning, file=sys.stderr)
        environment = {**os.environ, "STEAM_ASSETS_DATABASE_URL": address.dsn, "STEAM_ASSETS_DEVICE": "cpu"}
        rows = [*http_rows(environment, corpus, options.queries), *command_rows(environment)]
    print()
    cells = [
        (row.name, f"{row.searches:,}", f"{row.p50_ms:,.1f}", f"{row.p95_ms:,.1f}", f"{row.searches_per_s:,.1f}")
        for row in rows
    ]
    print(markdown_table(("", "searches", "p50 ms", "p95 ms", "searches/s"), cells))
    print(f"\n{len(corpus):,} applications ({corpus.source})\n")
    print(targets_table(targets(rows)))
    if options.json is not None:
        others = {"texts": {corpus.name: corpus.source}, "corpus_rows": len(corpus)}
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}", rows, others)


def connecting(address: "DatabaseAddress") -> "Callable[[], connection]":
    """Connections to it."""
    return lambda: connect(address)


if __name__ == "__main__":
    main()

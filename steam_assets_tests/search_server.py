"""A search service in this process that answers over HTTP, and rows to find. Vectors are made by hash: each text finds
its own row, and nothing is said of the others."""

import json
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import COLUMNS
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.service.app import create_app
from steam_assets.service.search_service import SearchService
from steam_assets.service.serve import LOOPBACK, listening, server_of
from steam_assets.store.states import names
from steam_assets_tests.databases import wait_until
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import fetch, target_of

PATIENCE_S = 120.0

TEXTS = sql.SQL("SELECT t.{id}::text, t.{text} FROM {table} AS t WHERE t.{text} ~ '\\S' ORDER BY t.{id}")
WRITE = sql.SQL("""
    UPDATE {table} AS t
    SET {vector} = {new}, {run} = {run_id}, {digest} = md5(t.{text})::uuid
    WHERE t.{id}::text = {row}
""")


def embed_by_hash(conn: connection, model: Model) -> None:
    """Give every row with a text the vector of its hash; committed."""
    embed_with(conn, hash_encoder(model))


def embed_with(conn: connection, encoder: Encoder) -> None:
    """Give every row with a text its vector, for the columns' target runs; committed."""
    for column in COLUMNS:
        rows = fetch(conn, TEXTS.format(**names(column)))
        prepare = find_preparation(column.preparation).prepare
        vectors = encoder.encode([prepare(str(text)) for _, text in rows])
        run_id = target_of(conn, column)
        with conn, conn.cursor() as cursor:
            for (row, _), vector in zip(rows, vectors, strict=True):
                new, id_ = sql.Literal(str(vector.tolist())), sql.Literal(row)
                write = WRITE.format(**names(column), new=new, run_id=sql.Literal(run_id), row=id_)
                cursor.execute(write)


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers and body."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of a refusal."""
        return str(self.json["error"])


@dataclass(frozen=True)
class SearchServer:
    """A service that answers at ``url``."""

    url: str
    service: SearchService
    pool: urllib3.PoolManager

    def get(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        """Ask for a path."""
        response = self.pool.request_encode_url(method, f"{self.url}{path}", headers=headers)
        return Answer(response.status, response.headers, response.data)

    def search(self, **fields: object) -> Answer:
        """Ask /api/search; ``in_`` is in."""
        response = self.pool.request_encode_url("GET", f"{self.url}/api/search", texts(fields))
        return Answer(response.status, response.headers, response.data)


def texts(fields: Mapping[str, object]) -> dict[str, str] | None:
    """Parameters of a URL; ``in_`` is in."""
    return {name.rstrip("_"): str(value) for name, value in fields.items()} or None


@contextmanager
def search_server(service: SearchService, hosts: Collection[str] | None = LOOPBACK) -> Iterator[SearchServer]:
    """Serve on a free port until the block ends."""
    with (
        listening("127.0.0.1", 0) as listener,
        urllib3.PoolManager(retries=False, timeout=PATIENCE_S, maxsize=32) as pool,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = server_of(create_app(service, hosts))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "the service listens", 30)
            yield SearchServer(url, service, pool)
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

"""The whole path with a model of bge-m3's shape: 1,024 numbers, CLS pooling, 8,192 tokens, random weights."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from psycopg2 import sql

from steam_assets.columns import COLUMNS
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.sample import write_sample
from steam_assets.store.database import connect, find_database
from steam_assets.store.states import names
from steam_assets_tests.dagster_home import Ended

LOWEST_COSINE = 0.99999
VECTORS = sql.SQL("SELECT t.{text}, t.{vector}::text FROM {table} AS t WHERE t.{vector} IS NOT NULL")


@pytest.mark.slow
def test_a_model_of_bge_m3s_shape_goes_all_the_way(
    empty_database_url: str,
    bge_shaped: Model,
    steam_assets: Callable[..., Ended],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """init, load, embed, status and search agree with plain `encode`, on bigint and text keys (invariant 10)."""
    monkeypatch.setenv("STEAM_ASSETS_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("STEAM_ASSETS_MODEL", bge_shaped.location)
    files = write_sample(home, 12, 20)

    for command in (("init",), ("load", *map(str, files)), ("embed",)):
        ended = steam_assets(*command)
        assert ended.code == 0, ended

    statuses = json.loads(steam_assets("status", "--json").out)
    assert [(status["dimension"], status["coverage_percent"]) for status in statuses] == [(1024, 100.0)] * 2
    with closing(connect(find_database())) as conn, conn.cursor() as cursor:
        for column in COLUMNS:
            cursor.execute(VECTORS.format(**names(column)))
            prepare = find_preparation(column.preparation).prepare
            agree_with_encode(bge_shaped, [(prepare(text), vector) for text, vector in cursor.fetchall()])
    (found,) = json.loads(steam_assets("search", "a farm", "--in", "applications", "--k", "3", "--json").out)
    assert len(found["hits"]) == 3


def agree_with_encode(model: Model, rows: list[tuple[str, str]]) -> None:
    """The stored vectors are those of sentence-transformers' own encode."""
    from sentence_transformers import SentenceTransformer

    independent = SentenceTransformer(model.location, device="cpu")
    expected = independent.encode([text for text, _ in rows], normalize_embeddings=True, show_progress_bar=False)
    stored = np.array([json.loads(vector) for _, vector in rows])
    assert len(rows) >= 10
    assert np.sum(stored * expected, axis=1).min() >= LOWEST_COSINE

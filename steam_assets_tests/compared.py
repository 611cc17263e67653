"""Two columns of marked-up notes with vectors by hash: one is of the text without its markup, the other of all of it.

So whoever asks for a note's words finds it in the first column, and in the second only by chance.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model, find_model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.evaluation.compare import Comparison, compare
from steam_assets.evaluation.query_set import QuerySet
from steam_assets.id_range import EVERYTHING
from steam_assets.initialise import initialise
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.write import write_batches
from steam_assets_tests.databases import new_database
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.hash_recipes import make_model
from steam_assets_tests.rivals import RIVAL
from steam_assets_tests.rows import NOTES, add_rows, execute, read_all, target_of

NUMBERS = range(24)
QUERIES = QuerySet(
    name="words of notes",
    queries={f"q{number}": f"note {number}" for number in NUMBERS},
    qrels={f"q{number}": {f"n{number}": 1} for number in NUMBERS},
)


@pytest.fixture(scope="session")
def compared(server: EmbeddedServer, schema_template: str, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """The column without markup beside the one with it."""
    with new_database(server, schema_template) as url, closing(psycopg2.connect(url)) as conn:
        first, second = make_compared(conn, tmp_path_factory.mktemp("compared"))
        return compare(lambda: psycopg2.connect(url), first, second, QUERIES, load)


def load(model: Model) -> Encoder:
    """An encoder for whatever model is asked for."""
    return hash_encoder(model)


def columns_of(model: Path) -> tuple[TextColumn, TextColumn]:
    """The two columns, both of the model in this directory."""
    first = replace(NOTES, preparation="steam_html", model=str(model))
    return first, replace(RIVAL, preparation="plain", model=str(model))


def make_compared(conn: connection, home: Path) -> tuple[TextColumn, TextColumn]:
    """Both columns, complete; the first one serves."""
    make_model(home / "hashes")
    columns = columns_of(home / "hashes")
    execute(conn, "CREATE TABLE notes (id text PRIMARY KEY, body text)")
    with conn:
        initialise(conn, columns)
    add_rows(conn, NOTES, {f"n{number}": f"<b>note</b> {number}" for number in NUMBERS})
    fill(conn, columns)
    return columns


def fill(conn: connection, columns: Sequence[TextColumn]) -> None:
    """Give every pending row of the columns the vector of its model."""
    for column in columns:
        prepare = find_preparation(column.preparation).prepare
        encoder = load(find_model(str(column.model)))
        batches = [
            EncodedBatch(
                Embeddings(
                    page.ids, page.row_versions, page.source_md5, encoder.encode([prepare(text) for text in page.texts])
                ),
                tokens=len(page),
            )
            for page in read_all(conn, column)
        ]
        write_batches(conn, column, target_of(conn, column), EVERYTHING, batches)

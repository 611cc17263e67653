"""Vectors that another tool wrote: found, sampled, and stamped when they are the model's."""

from collections.abc import Iterator

import numpy as np
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import build_encoder
from steam_assets.encoder.models import Model
from steam_assets.id_range import IdRange
from steam_assets.initialise import initialise
from steam_assets.store import adopt as module
from steam_assets.store.adopt import adopt_vectors, count_adoptable, sample_vectors
from steam_assets.store.database import connect, find_database
from steam_assets.store.states import range_state
from steam_assets.targets import ADOPTION_COSINE, adopt, target_run
from steam_assets_tests.models import CPU
from steam_assets_tests.rows import add_rows, embed, execute, fetch, state_of, target_of


@pytest.fixture
def predecessor(
    predecessor_database_url: str, bge_shaped: Model, monkeypatch: pytest.MonkeyPatch
) -> Iterator[connection]:
    """The predecessor's database after `init` with a model of bge-m3's shape."""
    monkeypatch.setenv("STEAM_ASSETS_MODEL", bge_shaped.location)
    opened = connect(find_database(predecessor_database_url))
    initialise(opened, (APPLICATIONS, REVIEWS), bge_shaped.location)
    opened.commit()
    yield opened
    opened.close()


def load(model: Model) -> Encoder:
    """The model on the CPU."""
    return build_encoder(model, CPU)


def test_vectors_that_are_the_models_own_are_adopted(predecessor: connection, bge_shaped: Model) -> None:
    """They get run and digest, so that nothing is encoded again; the run remembers how it was checked."""
    rows = fetch(predecessor, "SELECT recommendationid, review_text FROM reviews WHERE review_embedding IS NOT NULL")
    vectors = load(bge_shaped).encode([str(text) for _, text in rows])
    with predecessor, predecessor.cursor() as cur:
        for (id_, _), vector in zip(rows, vectors, strict=True):
            cur.execute(
                "UPDATE reviews SET review_embedding = %s::vector WHERE recommendationid = %s",
                (str(vector.tolist()), id_),
            )

    found = adopt(predecessor, REVIEWS, load, sample=10)
    assert (found.adopted, found.rows, found.sampled) == (True, 17, 10)
    assert found.lowest_cosine is not None
    assert found.lowest_cosine > 0.99999
    run = target_run(predecessor, REVIEWS)
    state = range_state(predecessor, REVIEWS, run.run_id, run.dimension)
    assert (state.embedded, state.blank, state.pending, state.coverage) == (17, 3, 0, 1.0)
    assert all(offence.rows == 0 for offence in state.offences.values())
    ((notes,),) = fetch(predecessor, "SELECT notes FROM embedding_runs WHERE run_id = %(run)s", run=run.run_id)
    assert str(notes).startswith("reviews.review_embedding: 17 rows adopted; 10 encoded again, lowest cosine ")
    assert adopt(predecessor, REVIEWS, load).rows == 0


def test_vectors_of_another_model_are_refused_and_stay_as_they_are(predecessor: connection) -> None:
    """Stale, with the run that made them; the next embed replaces them."""
    digest = "SELECT md5(string_agg(t::text, ',' ORDER BY appid)) FROM applications AS t"
    before = fetch(predecessor, digest)
    found = adopt(predecessor, APPLICATIONS, load)
    assert (found.adopted, found.rows, found.sampled) == (False, 8, 8)
    assert found.lowest_cosine is not None
    assert found.lowest_cosine < ADOPTION_COSINE
    assert fetch(predecessor, digest) == before
    run = target_run(predecessor, APPLICATIONS)
    state = range_state(predecessor, APPLICATIONS, run.run_id, run.dimension)
    assert (run.run_id != 7, state.stale, state.missing, state.embedded) == (True, 8, 2, 0)


def test_only_vectors_without_a_digest_on_a_text_are_adoptable(conn: connection, notes: TextColumn) -> None:
    """Ours have one, and a vector on a blank text is of no use to anybody."""
    add_rows(conn, notes, {"ours": "a", "theirs": "b", "50%": "c", "blank": " ", "changed": "d", "none": "e"})
    embed(conn, notes)
    execute(conn, "UPDATE notes SET body = 'D' WHERE id = 'changed'")
    execute(
        conn,
        "UPDATE notes SET body_vector = '[1,0,0,0,0,0,0,0]', embedding_run_id = NULL, body_vector_source_md5 = NULL "
        "WHERE id IN ('theirs', '50%', 'blank')",
    )
    execute(conn, "UPDATE notes SET body_vector = NULL, body_vector_source_md5 = NULL WHERE id = 'none'")

    assert count_adoptable(conn, notes) == 2
    texts, vectors = sample_vectors(conn, notes, 200)
    assert sorted(texts) == ["b", "c"]
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1.0] + [0.0] * 7] * 2
    assert sample_vectors(conn, notes, 1)[0] == texts[:1]
    assert adopt_vectors(conn, notes, target_of(conn, notes), 2, 1.0, 2) == 2
    state = state_of(conn, notes)
    assert (state.embedded, state.stale, state.missing) == (3, 2, 1)


def test_a_run_is_noted_to_have_adopted_rows_before_the_first_has_its_number(
    conn: connection, notes: TextColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two ranges, a projection of the run is known to lack those of the first."""
    add_rows(conn, notes, {"a": "text", "b": "text"})
    embed(conn, notes)
    execute(conn, "UPDATE notes SET embedding_run_id = NULL, body_vector_source_md5 = NULL")
    run_id = target_of(conn, notes)

    def interrupted(*_: object) -> Iterator[IdRange]:
        yield IdRange(None, "b")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "cut_ranges", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adopt_vectors(conn, notes, run_id, 2, 1.0, 2)
    conn.rollback()
    assert fetch(conn, "SELECT id FROM notes WHERE embedding_run_id = %(run)s", run=run_id) == [("a",)]
    ((noted,),) = fetch(conn, "SELECT notes FROM embedding_runs WHERE run_id = %(run)s", run=run_id)
    assert str(noted).startswith("notes.body_vector: 2 rows adopted")

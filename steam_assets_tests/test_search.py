"""Searching by meaning: one run, its own model, exact, and honest about what is left out."""

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import REVIEWS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError
from steam_assets.search import search
from steam_assets.store.runs import set_serving
from steam_assets.store.search import SNIPPET_CHARACTERS, count_left_out, nearest
from steam_assets.store.vector_indexes import drop_for_bulk
from steam_assets.targets import ModelUnavailable, choose_first_model, run_of_model
from steam_assets_tests.rows import add_rows, change_recipe, embed, execute, set_text, target_of, vectors_of

TEXTS = {
    "cozy": "A relaxing farming game to play with friends: plant <b>crops</b>,\n milk cows.",
    "scary": "Terrifying horror in an abandoned hospital full of ghosts.",
    "trains": "Lay tracks, run locomotives and manage a railway company.",
}


@pytest.fixture
def reviews(conn: connection, minilm: Model, minilm_encoder: Encoder) -> TextColumn:
    """Three reviews with MiniLM's vectors."""
    execute(conn, "INSERT INTO applications (appid, name) VALUES (1, 'Lantern Valley')")
    with conn, conn.cursor() as cur:
        run = choose_first_model(conn, REVIEWS, minilm)
        for (id_, text), vector in zip(TEXTS.items(), minilm_encoder.encode(list(TEXTS.values())), strict=True):
            cur.execute(
                "INSERT INTO reviews (recommendationid, appid, review_text, review_embedding, embedding_run_id) "
                "VALUES (%s, 1, %s, %s, %s)",
                (id_, text, str(vector.tolist()), run.run_id),
            )
    return REVIEWS


def test_the_nearest_in_meaning_comes_first(
    conn: connection, reviews: TextColumn, minilm: Model, minilm_encoder: Encoder
) -> None:
    """With its cosine and a line of its text without markup."""
    found = search(conn, reviews, "cozy farm life", 2, lambda model: minilm_encoder)
    assert (found.model_name, found.left_out, len(found.hits)) == (minilm.name, 0, 2)
    assert found.hits[0].id == "cozy"
    assert found.hits[0].text.startswith("A relaxing farming game to play with friends: plant crops , milk cows.")
    assert 1 > found.hits[0].cosine > found.hits[1].cosine
    expected = minilm_encoder.encode(["cozy farm life", TEXTS["cozy"]])
    assert found.hits[0].cosine == pytest.approx(float(expected[0] @ expected[1]), abs=1e-5)


def test_a_search_that_has_nothing_to_read_says_what_to_run(conn: connection, minilm_encoder: Encoder) -> None:
    """No model was chosen yet."""
    with pytest.raises(SteamAssetsError, match=r"serves no run yet\. Run `steam-assets init`"):
        search(conn, REVIEWS, "farm", 3, lambda model: minilm_encoder)


def test_a_blank_search_is_refused(conn: connection, reviews: TextColumn, minilm_encoder: Encoder) -> None:
    """Its vector would be near nothing in particular."""
    with pytest.raises(SteamAssetsError, match="blank; expected some words"):
        search(conn, reviews, " \n", 3, lambda model: minilm_encoder)


def test_a_search_without_its_runs_model_is_refused_with_both_names(
    conn: connection, reviews: TextColumn, bge_shaped: Model, minilm_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of one model are never looked up among the vectors of another."""
    with conn:
        set_serving(conn, reviews, run_of_model(conn, reviews, bge_shaped))
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "all-MiniLM-L6-v2")
    with pytest.raises(
        ModelUnavailable, match=r"the model bge-shaped, which cannot be had here: all-MiniLM-L6-v2 is an"
    ):
        search(conn, reviews, "farm", 3, lambda model: minilm_encoder)


def test_a_search_reads_one_run_and_counts_what_it_leaves_out(conn: connection, notes: TextColumn) -> None:
    """While a new recipe fills the column, the served run's rows are found and the others counted."""
    add_rows(conn, notes, {f"{n:02}": f"text {n}" for n in range(20)})
    embed(conn, notes)
    first = target_of(conn, notes)
    change_recipe(conn, notes, "second")
    execute(conn, "UPDATE notes SET body = body || ' changed' WHERE id < '05'")
    execute(conn, "DELETE FROM notes WHERE id = '19'")
    execute(conn, "UPDATE notes SET embedding_run_id = %(run)s WHERE id < '15'", run=target_of(conn, notes))
    query = vectors_of([b"q" * 16])[0].tolist()
    assert {hit.id for hit in nearest(conn, notes, first, query, 100)} == {f"{n:02}" for n in range(15, 19)}
    assert count_left_out(conn, notes, first) == 15


def test_a_search_says_that_it_scans_because_the_index_was_dropped(
    conn: connection, reviews: TextColumn, minilm_encoder: Encoder
) -> None:
    """It finds the same rows, and the person who wonders why it takes longer learns how to build the index again."""
    execute(conn, "CREATE INDEX near ON reviews USING hnsw (review_embedding vector_cosine_ops)")
    before = search(conn, reviews, "cozy farm life", 3, lambda model: minilm_encoder)
    conn.rollback()
    assert before.notice is None

    drop_for_bulk(conn, reviews, "a-run")
    after = search(conn, reviews, "cozy farm life", 3, lambda model: minilm_encoder)
    assert after.hits == before.hits
    assert after.notice is not None
    assert after.notice.startswith("exact scan of every row: near was dropped for bulk work")


def test_an_hnsw_index_does_not_make_a_search_lose_rows(conn: connection, notes: TextColumn) -> None:
    """The index would answer from the 40 nearest rows of any run; in autocommit too."""
    add_rows(conn, notes, {f"{n:03}": f"text {n}" for n in range(400)})
    embed(conn, notes)
    first = target_of(conn, notes)
    second = change_recipe(conn, notes, "second")
    execute(conn, "UPDATE notes SET embedding_run_id = %(run)s WHERE id >= '005'", run=second)
    execute(conn, "CREATE INDEX ON notes USING hnsw (body_vector vector_cosine_ops)")
    execute(conn, "ANALYZE notes")
    conn.autocommit = True
    with conn.cursor() as cur:
        cur.execute("SET enable_seqscan = off")
        cur.execute("SET enable_sort = off")
    query = vectors_of([b"q" * 16])[0].tolist()
    assert len(nearest(conn, notes, first, query, 10)) == 5


def test_a_long_text_is_shown_by_its_start(conn: connection, notes: TextColumn) -> None:
    """One line of a terminal or two."""
    add_rows(conn, notes, {"a": "word " * 1000})
    embed(conn, notes)
    (hit,) = nearest(conn, notes, target_of(conn, notes), vectors_of([b"q" * 16])[0].tolist(), 3)
    assert hit.text == ("word " * 1000)[:SNIPPET_CHARACTERS]


def test_a_vector_whose_text_changed_is_still_found_until_it_is_replaced(conn: connection, notes: TextColumn) -> None:
    """An old answer is better than none; status says how many are stale."""
    add_rows(conn, notes, {"a": "old"})
    embed(conn, notes)
    set_text(conn, notes, "a", "new")
    assert len(nearest(conn, notes, target_of(conn, notes), vectors_of([b"q" * 16])[0].tolist(), 3)) == 1

"""Which model fills a column, and when searches follow."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model, find_model
from steam_assets.errors import SteamAssetsError
from steam_assets.initialise import initialise
from steam_assets.search import Searcher
from steam_assets.store.database import connect as connect_to
from steam_assets.store.database import find_database
from steam_assets.store.runs import get_run
from steam_assets.store.schema import DimensionMismatch
from steam_assets.targets import (
    ModelMismatch,
    ModelUnavailable,
    PreparationChanged,
    change_model,
    check_environment_agrees,
    choose_first_model,
    column_to_search,
    follow_target,
    model_of,
    model_to_fill,
    run_of_model,
    searched_columns,
    target_run,
)
from steam_assets_tests.hash_recipes import make_model
from steam_assets_tests.rivals import RIVAL, make_rivals, runs_of
from steam_assets_tests.rows import NOTES, Connect, add_rows, change_recipe, embed, execute, fetch, set_text, target_of

BOTH = (APPLICATIONS, REVIEWS)


def test_init_on_an_empty_database_chooses_one_model_for_all_columns(
    empty_database_url: str, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STEAM_ASSETS_MODEL chooses at the first init only; a dry run changes nothing, a second init neither."""
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "all-MiniLM-L6-v2")
    conn = connect_to(find_database(empty_database_url))
    planned = initialise(conn, BOTH, dry_run=True)
    assert (planned.model_name, len(planned.plan.statements) > 10) == (minilm.name, True)
    assert fetch(conn, "SELECT to_regclass('applications')") == [(None,)]

    initialise(conn, BOTH)
    conn.commit()
    run = target_run(conn, APPLICATIONS)
    assert (run.model_name, run.dimension, run.recipe is None) == (minilm.name, 384, False)
    assert runs_of(conn, APPLICATIONS) == (run.run_id, run.run_id)
    recipes = [(target_run(conn, column).recipe or {}).get("preparation") for column in BOTH]
    assert recipes == ["steam_html@1", "plain@1"]

    monkeypatch.delenv("STEAM_ASSETS_MODEL")
    again = initialise(conn, BOTH)
    assert (again.model_name, again.plan.statements) == (minilm.name, ())
    assert fetch(conn, "SELECT count(*) FROM embedding_runs") == [(2,)]
    conn.close()


def test_init_with_another_model_than_the_columns_have_names_both(
    conn: connection, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line and from the environment alike."""
    initialise(conn, BOTH, "all-MiniLM-L6-v2")
    names = f"filled with {minilm.name}, and BAAI/bge-m3 was asked for"
    with pytest.raises(ModelMismatch, match=names):
        initialise(conn, BOTH, "BAAI/bge-m3")
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "BAAI/bge-m3")
    with pytest.raises(ModelMismatch, match=names):
        initialise(conn, BOTH)
    with pytest.raises(ModelMismatch, match=rf"is BAAI/bge-m3, and .* filled with {minilm.name}"):
        check_environment_agrees(target_run(conn, REVIEWS), REVIEWS)


def test_init_looks_at_every_column_s_model(conn: connection, minilm: Model, another_minilm: Path) -> None:
    """One that was filled with another model since is refused like the first, and told where nothing is asked for."""
    initialise(conn, BOTH, minilm.name)
    change_model(conn, REVIEWS, find_model(str(another_minilm)))
    with pytest.raises(ModelMismatch, match=rf"{REVIEWS} is filled with short-sighted, and {minilm.name} was asked"):
        initialise(conn, BOTH, minilm.name)
    assert initialise(conn, BOTH).model_name == f"{minilm.name}, short-sighted"


def test_init_with_a_model_of_another_dimension_than_the_vectors_changes_nothing(conn: connection) -> None:
    """The columns hold 384 numbers; bge-m3 gives 1,024."""
    with pytest.raises(DimensionMismatch, match="384 numbers, and the model gives 1024"):
        initialise(conn, BOTH, "BAAI/bge-m3")
    conn.rollback()
    assert (runs_of(conn, REVIEWS), fetch(conn, "SELECT count(*) FROM embedding_runs")) == ((None, None), [(0,)])


def test_a_column_keeps_the_model_it_has(conn: connection, notes: TextColumn, minilm: Model) -> None:
    """Choosing a first model is for columns without one."""
    before = runs_of(conn, notes)
    with conn:
        assert choose_first_model(conn, notes, minilm).model_name == "made-up"
    assert runs_of(conn, notes) == before


def test_a_model_of_another_dimension_goes_to_another_column(
    conn: connection, bge_shaped: Model, minilm: Model
) -> None:
    """The message says both dimensions and what to add."""
    with conn:
        choose_first_model(conn, REVIEWS, minilm)
    before = runs_of(conn, REVIEWS)
    with pytest.raises(SteamAssetsError, match=r"384 numbers and bge-shaped gives 1024\. Add an entry"):
        change_model(conn, REVIEWS, bge_shaped)
    assert runs_of(conn, REVIEWS) == before


def test_the_same_model_and_recipe_are_the_same_run(conn: connection, minilm: Model) -> None:
    """Two columns share it when they prepare their texts alike; changing to the model that is there changes nothing."""
    with conn:
        first = choose_first_model(conn, REVIEWS, minilm)
        assert run_of_model(conn, replace(APPLICATIONS, preparation="plain"), minilm) == first.run_id
        assert run_of_model(conn, APPLICATIONS, minilm) != first.run_id
        assert change_model(conn, REVIEWS, minilm) == first


def test_a_column_prepared_in_another_way_is_not_filled_before_someone_says_so(
    conn: connection, connect: Connect, minilm: Model, minilm_encoder: Encoder
) -> None:
    """Vectors of two preparations must not meet in one run; the way out is in the message, and searches go on."""
    with conn:
        run = choose_first_model(conn, REVIEWS, minilm)
    prepared = replace(REVIEWS, preparation="steam_html")
    with pytest.raises(PreparationChanged, match=r"prepared by plain@1; columns\.py says steam_html@1\. .+ --model"):
        model_to_fill(run, prepared)
    assert model_to_fill(run, REVIEWS) == model_of(run, prepared) == minilm
    (found,) = Searcher(connect, lambda model: minilm_encoder).search("a farm", column=prepared, k=3)
    assert found.run_id == run.run_id

    with conn:
        changed = change_model(conn, prepared, minilm)
    assert changed.run_id != run.run_id
    assert model_to_fill(changed, prepared) == minilm


def test_searches_follow_the_target_only_when_nothing_is_pending(conn: connection, notes: TextColumn) -> None:
    """Until then they read the old run; a vector still to be cleared counts as pending too."""
    add_rows(conn, notes, {"a": "a", "b": "b", "blank": " "})
    embed(conn, notes)
    first = target_of(conn, notes)
    second = change_recipe(conn, notes, "second")
    assert not follow_target(conn, notes)
    execute(conn, "UPDATE notes SET body = ' ' WHERE id = 'b'")
    execute(conn, "UPDATE notes SET embedding_run_id = %(run)s WHERE id = 'a'", run=second)
    assert (follow_target(conn, notes), runs_of(conn, notes)) == (False, (second, first))

    embed(conn, notes)
    with conn:
        assert follow_target(conn, notes)
    assert runs_of(conn, notes) == (second, second)
    assert not follow_target(conn, notes)


def test_a_column_without_a_target_has_nothing_to_follow(conn: connection) -> None:
    """And asking for its target says what to run."""
    assert not follow_target(conn, REVIEWS)
    with pytest.raises(SteamAssetsError, match="steam-assets init"):
        target_run(conn, REVIEWS)


def test_before_init_the_next_command_is_init(empty_database_url: str) -> None:
    """Not an error about a missing table."""
    conn = connect_to(find_database(empty_database_url))
    with pytest.raises(SteamAssetsError, match=r"has no model yet\. Run `steam-assets init`"):
        target_run(conn, REVIEWS)
    conn.close()


def test_a_directorys_model_is_found_where_the_environment_points(
    conn: connection, bge_shaped: Model, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No path is stored; files that differ from the run's are another model, and the message says what differs."""
    run = get_run(conn, run_of_model(conn, REVIEWS, bge_shaped))
    with pytest.raises(ModelUnavailable, match=r"bge-shaped, which cannot be had here: .* Set STEAM_ASSETS_MODEL"):
        model_of(run, REVIEWS)
    monkeypatch.setenv("STEAM_ASSETS_MODEL", bge_shaped.location)
    assert model_of(run, REVIEWS) == bge_shaped
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "all-MiniLM-L6-v2")
    with pytest.raises(ModelUnavailable, match="its max_seq_length, pooling, revision differs"):
        model_of(run, REVIEWS)
    assert model_of(get_run(conn, run_of_model(conn, REVIEWS, minilm)), REVIEWS) == minilm


def test_a_changed_text_keeps_searches_where_they_are(conn: connection, notes: TextColumn) -> None:
    """Serving is about the recipe: it never moves back."""
    add_rows(conn, notes, {"a": "a"})
    embed(conn, notes)
    before = runs_of(conn, notes)
    set_text(conn, notes, "a", "A")
    assert not follow_target(conn, notes)
    assert runs_of(conn, notes) == before


def test_the_model_of_an_entry_wins_over_the_environment_s(
    conn: connection, minilm: Model, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STEAM_ASSETS_MODEL is for columns whose entry names none; a directory's model is found where the entry says."""
    make_model(home / "models" / "first")
    challenger = replace(RIVAL, model=str(home / "models" / "first"))
    make_rivals(conn)
    with conn:
        run = change_model(conn, challenger, find_model(str(home / "models" / "first")))
    assert model_to_fill(run, challenger).location == str(home / "models" / "first")
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "all-MiniLM-L6-v2")
    check_environment_agrees(run, challenger)
    assert model_of(run, challenger).name == "first"
    with pytest.raises(ModelMismatch, match="STEAM_ASSETS_MODEL is all-MiniLM-L6-v2"):
        check_environment_agrees(run, RIVAL)


def test_an_entry_that_names_another_model_than_its_column_has_is_explained(conn: connection, home: Path) -> None:
    """Whether it is to be filled, or another model is asked for: both names, and both ways out."""
    for name in ("first", "second"):
        make_model(home / name)
    make_rivals(conn)
    challenger, changed = (replace(RIVAL, model=str(home / name)) for name in ("first", "second"))
    with conn:
        run = change_model(conn, challenger, find_model(str(home / "first")))
    said = rf'says model=.*second\' for {RIVAL}, which is filled with first\. Keep that by writing model="first", or '
    for refused in (check_environment_agrees, model_to_fill):
        with pytest.raises(ModelMismatch, match=said):
            refused(run, changed)
    with pytest.raises(ModelMismatch, match=r"first' for .*, and second was asked for\. Write it there"):
        change_model(conn, challenger, find_model(str(home / "second")))
    with conn:
        assert change_model(conn, changed, find_model(str(home / "second"))).model_name == "second"


def test_a_column_beside_one_that_serves_the_same_text_serves_nothing_at_first(conn: connection, minilm: Model) -> None:
    """Its rival goes on being searched; a column of another text serves at once."""
    challenger = replace(REVIEWS, vector="b_embedding", run="b_run")
    languages = replace(REVIEWS, text="language", vector="l_embedding", run="l_run")
    columns = (REVIEWS, challenger, languages)
    with conn:
        for column in columns:
            choose_first_model(conn, column, minilm, columns)
    assert [runs_of(conn, column)[1] is not None for column in columns] == [True, False, True]


def test_a_table_s_column_is_the_one_that_searches_read(conn: connection, empty_database_url: str) -> None:
    """The promoted one; before any serves, and before `init`, the first."""
    make_rivals(conn)
    columns = (RIVAL, NOTES)
    assert (searched_columns(conn, columns), column_to_search(conn, columns)) == ([NOTES], NOTES)
    execute(conn, "UPDATE embedding_columns SET serving_run_id = NULL")
    assert (searched_columns(conn, columns), column_to_search(conn, columns)) == ([], RIVAL)
    with closing(connect_to(find_database(empty_database_url))) as empty:
        assert column_to_search(empty, columns) is RIVAL

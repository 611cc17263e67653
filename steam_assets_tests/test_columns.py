"""What may be registered as a text column, and how people name one."""

from dataclasses import replace

import pytest

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS, TextColumn, check_registry, find_column, rivals
from steam_assets.errors import SteamAssetsError


def test_the_registry_holds_the_two_steam_columns_under_the_predecessors_names() -> None:
    """Databases made by the predecessor are read as they are."""
    check_registry(COLUMNS)
    assert [(str(column), column.run, column.digest) for column in COLUMNS] == [
        ("applications.description_embedding", "embedding_run_id", "description_embedding_source_md5"),
        ("reviews.review_embedding", "embedding_run_id", "review_embedding_source_md5"),
    ]


@pytest.mark.parametrize("name", ["applications", "description_embedding", "applications/description_embedding"])
def test_a_column_is_found_by_table_by_vector_and_by_asset_key(name: str) -> None:
    """Whatever says which one is meant is enough."""
    assert find_column(name) == APPLICATIONS


def test_an_unknown_column_is_refused_with_those_there_are() -> None:
    """The message is the list to choose from."""
    with pytest.raises(SteamAssetsError, match=r"'users' names 0 columns; expected one of: applications\."):
        find_column("users")


def test_a_name_that_means_two_columns_is_refused() -> None:
    """A table with two vector columns is not one column."""
    second = TextColumn(table="reviews", id="recommendationid", text="language", vector="language_vector", run="l_run")
    with pytest.raises(SteamAssetsError, match="names 2 columns"):
        find_column("reviews", (*COLUMNS, second))


def test_two_vectors_of_one_table_cannot_share_a_run_column() -> None:
    """Which run made a vector would be unknown; the message gives the entry to write."""
    second = TextColumn(table="reviews", id="recommendationid", text="language", vector="language_vector")
    with pytest.raises(SteamAssetsError, match='run="language_vector_run_id"'):
        check_registry((REVIEWS, second))


def test_columns_of_one_table_agree_on_its_id() -> None:
    """Its ranges are cut by one."""
    second = replace(REVIEWS, vector="b_embedding", run="b_run", id="appid", id_type="bigint")
    with pytest.raises(SteamAssetsError, match=r"has the id recommendationid \(text\), and reviews\.b_embedding appid"):
        check_registry((REVIEWS, second))
    check_registry((REVIEWS, replace(second, id="recommendationid", id_type="text")))


def test_rivals_are_the_other_vectors_of_the_same_text() -> None:
    """Not those of another text of the table, nor those of another table."""
    second = replace(REVIEWS, vector="b_embedding", run="b_run", model="all-MiniLM-L6-v2", preparation="steam_html")
    others = (replace(REVIEWS, vector="l", text="language"), replace(REVIEWS, vector="o", schema="old"), APPLICATIONS)
    columns = (REVIEWS, second, *others)
    assert rivals(REVIEWS, columns) == [second]
    assert rivals(second, columns) == [REVIEWS]
    assert [rivals(other, columns) for other in others] == [[], [], []]


def test_tables_of_the_same_name_in_two_schemas_are_two_tables() -> None:
    """They share no column."""
    check_registry((REVIEWS, TextColumn(table="reviews", schema="old", id="id", text="t", vector="review_embedding")))


@pytest.mark.parametrize("name", ["", "a\0b", "ü" * 32])
def test_a_name_that_postgresql_cannot_hold_is_refused(name: str) -> None:
    """64 bytes would be cut off silently, and then name another column."""
    with pytest.raises(SteamAssetsError, match=r"TextColumn\.text is .*1 to 63 bytes"):
        TextColumn(table="t", id="id", text=name, vector="v")


def test_a_vector_name_too_long_for_its_digest_is_refused() -> None:
    """The digest's column is named after the vector's."""
    with pytest.raises(SteamAssetsError, match="shorten the vector column's name"):
        TextColumn(table="t", id="id", text="body", vector="v" * 60)


def test_an_id_type_that_is_not_supported_is_refused_with_those_that_are() -> None:
    """uuid keys are refused by name."""
    with pytest.raises(SteamAssetsError, match=r"id_type is 'uuid'; expected 'bigint' .* or 'text'"):
        TextColumn(table="t", id="id", text="body", vector="v", id_type="uuid")  # type: ignore[arg-type]

"""A row has the colour of the group that says most about it."""

from steam_assets.pictures.groups import choose_groups


def test_the_rarest_of_a_row_s_frequent_groups_colours_it() -> None:
    """Nearly everything is Action; what else it is tells rows apart."""
    groups = choose_groups([("Action", "RPG"), ("RPG", "Action"), ("Action",), ("Action", "Indie", "RPG"), ()])
    assert groups.names == ("Action", "RPG", "Indie")
    assert groups.of_row.tolist() == [1, 1, 0, 2, 3]
    assert groups.sizes() == [1, 2, 1, 1]


def test_groups_too_rare_for_a_colour_count_as_none() -> None:
    """A legend of a hundred genres would be read by nobody."""
    rows = [("a",)] * 3 + [("b",)] * 2 + [("c",)]
    groups = choose_groups(rows, most=2)
    assert groups.names == ("a", "b")
    assert groups.of_row.tolist() == [0, 0, 0, 1, 1, 2]


def test_a_group_named_twice_counts_once() -> None:
    """Two rows are more than one row that says it three times."""
    assert choose_groups([("x", "x", "x"), ("y",), ("y",)]).names == ("y", "x")

"""A search's answer on a terminal: what was found, and what a person should know about it."""

from steam_assets.search import Group, Hit, SearchResult
from steam_assets.search.lines import search_lines


def result(*hits: Hit, left_out: int = 0, notice: str | None = None) -> SearchResult:
    """An answer with these hits."""
    return SearchResult("reviews.review_embedding", "m", 1, list(hits), left_out, "exact", 0.1, notice)


def test_a_search_says_how_many_rows_it_did_not_see() -> None:
    """Vectors of another run are left out, and that is no secret."""
    assert search_lines(result(Hit("7", 0.912345, 0.912345, "a farm"), left_out=1_200)) == (
        "  0.912             7  a farm\n  (1,200 rows have vectors of another run and were left out)"
    )


def test_a_search_tells_how_it_was_answered() -> None:
    """Why it took long is said below the hits, and below none."""
    assert search_lines(result(notice="exact scan of every row")) == "  no hits\n  (exact scan of every row)"


def test_a_page_is_called_by_its_name() -> None:
    """Its text is below it, where there is one."""
    named = Hit("10", 0.5, 0.5, "Plant turnips.", "Lantern Valley")
    assert search_lines(result(named, Hit("20", 0.4, 0.4, "", "Ward Nine"))) == (
        "  0.500            10  Lantern Valley\n                       Plant turnips.\n  0.400            20  Ward Nine"
    )


def test_reviews_stand_below_their_game() -> None:
    """Its name once; one whose name may not be read is known by its id."""
    valley, other = Group("10", "Lantern Valley"), Group("20", None)
    hits = [Hit("r1", 0.9, 0.9, "a", group=valley), Hit("r2", 0.8, 0.8, "b", group=valley)]
    assert search_lines(result(*hits, Hit("r3", 0.7, 0.7, "c", group=other))).splitlines() == [
        "  Lantern Valley (10)",
        "  0.900            r1  a",
        "  0.800            r2  b",
        "  game (20)",
        "  0.700            r3  c",
    ]


def test_sums_of_reciprocal_ranks_are_told_apart() -> None:
    """Four digits, where three are enough for a cosine."""
    assert search_lines(result(Hit("7", 1 / 61, 0.9, "a"), Hit("8", 1 / 62, 0.8, "b"))).splitlines() == [
        "  0.0164             7  a",
        "  0.0161             8  b",
    ]


def test_an_odd_id_takes_one_line() -> None:
    """Quoted where one would not see it as it is, and cut where it is long."""
    lines = search_lines(result(*(Hit(id_, 0.5, 0.5, "t") for id_ in ("a\nb", "\x1b[2J", " ", "x" * 2000))))
    assert len(lines.splitlines()) == 4
    assert lines.replace("\n", "").isprintable()
    assert all(len(line) < 70 for line in lines.splitlines())

"""What a sensor remembers survives a restart, and nonsense in its place is as good as nothing."""

import pytest

from steam_assets.defs.cursors import ChangedTextsCursor, NewRowsCursor, written


def test_what_is_written_is_read_again() -> None:
    """All of it but the time of the tick, which only makes each cursor another one."""
    waiting = NewRowsCursor(at=5.0, rows=7, since=1.5, rest_until=9.0)
    assert NewRowsCursor.read(written(waiting)) == NewRowsCursor(rows=7, since=1.5, rest_until=9.0)
    scanning = ChangedTextsCursor(at=5.0, run_id=3, noticed=4, after=-70)
    assert ChangedTextsCursor.read(written(scanning), "bigint") == ChangedTextsCursor(0.0, 3, 4, -70)
    texts = ChangedTextsCursor(after="日本 '%s\\")
    assert ChangedTextsCursor.read(written(texts), "text") == texts
    assert written(waiting) != written(NewRowsCursor(at=6.0, rows=7, since=1.5, rest_until=9.0))


@pytest.mark.parametrize(
    "cursor",
    [None, "", "not JSON", "[1]", "7", "null", '{"rows": "7", "since": true, "run_id": 1.5, "after": [1], "old": 1}'],
)
def test_a_cursor_that_cannot_be_read_is_none(cursor: str | None) -> None:
    """A person can write anything there in the web UI."""
    assert NewRowsCursor.read(cursor) == NewRowsCursor()
    assert ChangedTextsCursor.read(cursor, "bigint") == ChangedTextsCursor()
    assert ChangedTextsCursor.read(cursor, "text") == ChangedTextsCursor()


@pytest.mark.parametrize("after", ['"a"', "true", "1.5"])
def test_an_id_of_another_type_begins_a_new_round(after: str) -> None:
    """PostgreSQL would refuse the comparison."""
    assert ChangedTextsCursor.read(f'{{"after": {after}}}', "bigint").after is None


@pytest.mark.parametrize("after", ["1", '"a\\u0000"', '"\\ud800"'])
def test_a_text_that_postgresql_cannot_hold_begins_a_new_round(after: str) -> None:
    """No id is one."""
    assert ChangedTextsCursor.read(f'{{"after": {after}}}', "text").after is None

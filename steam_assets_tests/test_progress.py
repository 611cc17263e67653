"""A log is told of work now and then, whatever the pace of the work."""

from steam_assets.progress import now_and_then


def test_a_line_comes_every_ten_seconds() -> None:
    """Not at once, and not one for each batch; the newest is said."""
    said: list[str] = []
    now = 100.0
    say = now_and_then(said.append, clock=lambda: now)
    for second in range(35):
        now = 100.0 + second
        say(f"after {second} s")
    assert said == ["after 10 s", "after 20 s", "after 30 s"]

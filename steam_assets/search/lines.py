"""A search's answer as lines for a terminal. Printing them is the command line's."""

from collections.abc import Iterator

from steam_assets.search.results import Hit, SearchResult

LONGEST_ID = 40


def search_lines(result: SearchResult) -> str:
    """Hits with their similarity, best first, those of a game below its name; and what a person should know."""
    hits = zip(result.hits, [None, *result.hits], strict=False)
    lines = [line for hit, before in hits for line in _lines(hit, before)]
    if not lines:
        lines.append("  no hits")
    if result.left_out:
        lines.append(f"  ({result.left_out:,} rows have vectors of another run and were left out)")
    if result.notice:
        lines.append(f"  ({result.notice})")
    return "\n".join(lines)


def _lines(hit: Hit, before: Hit | None) -> Iterator[str]:
    if hit.group is not None and (before is None or before.group != hit.group):
        yield f"  {hit.group.name or 'game'} ({hit.group.id})"
    # Sums of reciprocal ranks lie between 0.01 and 0.04.
    score = f"{hit.score:.3f}" if hit.score == hit.cosine else f"{hit.score:.4f}"
    start = f"  {score}  {_shown(hit.id):>12}  "
    yield f"{start}{hit.title or hit.text}".rstrip()
    if hit.title and hit.text:
        yield " " * len(start) + hit.text


def _shown(row_id: str) -> str:
    """An id of any kind, quoted where it would not be seen as it is, and cut where it is long."""
    seen = row_id if row_id.isprintable() and row_id == row_id.strip() and row_id else repr(row_id)
    return seen if len(seen) <= LONGEST_ID else f"{seen[: LONGEST_ID - 3]}..."

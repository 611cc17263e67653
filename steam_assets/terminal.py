"""How results look on a terminal: tables and bars as text. Printing is cli.py's."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from steam_assets.columns import TextColumn
from steam_assets.estimate import Estimate
from steam_assets.progress import Progress, watching
from steam_assets.store.failures import FailedRow
from steam_assets.store.load import LoadProgress, LoadReport
from steam_assets.store.status import ColumnStatus
from steam_assets.targets import ADOPTION_COSINE, Adoption

if TYPE_CHECKING:
    from steam_assets.defs.range_status import ColumnRanges
    from steam_assets.defs.recut import NewCut

BAR_WIDTH = 40
PLAIN_EVERY_S = 10.0
FAILURES_SHOWN = 100


def table(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """Aligned columns, the first ``left`` of them to the left."""
    cells = [list(header), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """The same in Markdown, for the web UI; a | in a cell is part of it."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def status_table(statuses: Sequence[ColumnStatus]) -> str:
    """One line per column: rows by state, and coverage; then what fills and serves each."""
    header = ("column", "total", "blank", "failed", "embedded", "stale", "missing", "coverage")
    rows = [
        (
            s.column,
            *(s.state.total, s.state.blank, s.state.failed, s.state.embedded, s.state.stale, s.state.missing),
            percent(s.state.coverage),
        )
        for s in statuses
    ]
    return "\n".join([table(header, rows), *map(run_line, statuses)])


def run_line(status: ColumnStatus) -> str:
    """The model that fills a column, and the run that searches read while it is another one."""
    line = f"{status.column}: {status.model_name}, {status.dimension} numbers, run {status.target_run_id}"
    if status.serving_run_id is None:
        return f"{line}; serves no searches until `steam-assets promote {status.column}`"
    if status.serving_run_id == status.target_run_id:
        return line
    return f"{line}; searches read run {status.serving_run_id} until it is complete"


def ranges_table(found: Sequence["ColumnRanges"]) -> str:
    """One line per range, then one per column that sums them up and says when they should be cut anew."""
    rows = [
        (c.column, r.key, r.rows, r.pending, "never" if r.age_s is None else duration(r.age_s))
        for c in found
        for r in c.ranges
    ]
    return "\n".join([table(("column", "range", "rows", "pending", "filled"), rows, 2), *map(ranges_line, found)])


def ranges_line(found: "ColumnRanges") -> str:
    """How many ranges a column has, how even they are, and what is to be done about it."""
    if not found.ranges:
        return f"{found.column}: no ranges yet; its table is empty."
    line = (
        f"{found.column}: {len(found.ranges):,} ranges ({found.partitions}), {found.rows:,} rows, "
        f"{found.pending:,} pending; skew {found.skew:.1f} (the fullest has {found.fullest:,} rows, the median "
        f"{found.median:,.0f}; 1 to 2 is normal)"
    )
    if found.rows_beyond:
        line += f"; {found.rows_beyond:,} rows have come behind the last range and get one at the next look"
    if found.is_skewed:
        line += f". Cut them anew: `steam-assets ranges --recut {found.column}`"
    return line


def recut_question(column: TextColumn, partitions: str) -> str:
    """What a new cut changes, keeps and costs."""
    return (
        f"Cut {column.qualified_table} into even ranges again? No vector is touched. The present ranges stay in "
        f"Dagster's history as {partitions}. The new ones count as never materialized until `steam-assets embed` has "
        "gone through them, some 10 s for each 100 where nothing is pending; a web UI that is up has to reload its "
        "code location."
    )


def recut_lines(cuts: Sequence["NewCut"]) -> str:
    """What was cut, and what to do next."""
    return "\n".join(
        f"{cut.column}: {cut.ranges:,} new ranges, {cut.partitions}. Next: `steam-assets embed {cut.column}`; in a web "
        "UI that is up, reload the code location steam_assets under Deployment."
        for cut in cuts
    )


def percent(share: float) -> str:
    """A share in percent that says 100 only when it is: 0.99999 -> 99.99 %."""
    return "100 %" if share == 1 else f"{int(10_000 * share) / 100:.2f} %"


def load_lines(reports: Sequence[LoadReport]) -> str:
    """What became of each file's rows, and what a person should know about them."""
    header = ("file", "table", "read", "inserted", "updated", "unchanged", "repeated", "rejected")
    rows = [(r.file, r.table, r.read, r.inserted, r.updated, r.unchanged, r.repeated, r.rejected) for r in reports]
    notes = [
        f"{report.file}: {note}"
        for report in reports
        for note in (
            *report.warnings,
            *([f"{report.genres:,} genres added to application_genres"] if report.genres else []),
            *([f"columns ignored: {', '.join(report.ignored_columns)}"] if report.ignored_columns else []),
            *([f"rejected rows are in {report.rejects_file}"] if report.rejects_file else []),
        )
    ]
    return "\n".join([table(header, rows, left=2), *notes])


def adoption_line(column: TextColumn, adoption: Adoption) -> str:
    """Whether a column's vectors were taken over, and why not."""
    if adoption.lowest_cosine is None:
        return f"{column}: no vectors of another tool to take over."
    agreement = f"the lowest cosine of {adoption.sampled} rows encoded again is {adoption.lowest_cosine:.6f}"
    if adoption.adopted:
        return f"{column}: {adoption.rows:,} vectors taken over; {agreement}."
    return (
        f"{column}: {adoption.rows:,} vectors stay stale: {agreement}, expected at least {ADOPTION_COSINE}. "
        "They were made by another model or from other text; `steam-assets embed` makes them anew."
    )


def failure_lines(rows: Iterable[FailedRow]) -> list[str]:
    """The first rows that failed as a table, how many there are, and how to have them tried again."""
    states: Counter[str] = Counter()
    shown: list[FailedRow] = []
    for row in rows:
        states[row.state] += 1
        if len(shown) < FAILURES_SHOWN and row.state in ("failed", "released", "changed"):
            shown.append(row)
    header = ("column", "id", "state", "attempts", "last tried", "reason")
    cells = [
        (row.column, on_one_line(row.id, 40), row.state, str(row.attempts), row.last_at, on_one_line(row.reason or ""))
        for row in shown
    ]
    waiting, past = states["released"] + states["changed"], states["gone"] + states["other run"]
    return [
        *([table(header, cells, left=len(header))] if shown else []),
        f"{states['failed']:,} failed, {waiting:,} to be tried by the next `steam-assets embed`, {past:,} of deleted "
        "rows or earlier recipes (not shown).",
        *([f"The first {len(shown):,} are shown; --json has all."] if states["failed"] + waiting > len(shown) else []),
        *(
            ["To have them tried again: `steam-assets retry`, or `steam-assets retry --column COLUMN --id ID`."]
            if states["failed"]
            else []
        ),
    ]


def retry_lines(released: Mapping[TextColumn, int]) -> str:
    """How many rows of each column will be tried again, and by what."""
    lines = [
        f"{column}: {rows:,} released. Next: `steam-assets embed {column}`."
        for column, rows in released.items()
        if rows
    ]
    return "\n".join(lines or ["No row waits to be released: nothing was changed."])


def on_one_line(text: str, longest: int = 120) -> str:
    """The start of a text of any kind, quoted where it would not be seen as it is: 'a b' -> a b, ' ' -> ' '."""
    seen = text if text.isprintable() and text == text.strip() and text else repr(text)
    return seen if len(seen) <= longest else f"{seen[: longest - 3]}..."


def json_array(values: Iterable[object]) -> Iterator[str]:
    """A JSON array, a line for each value, without holding them all."""
    opening = "["
    for value in values:
        yield opening + json.dumps(value)
        opening = ","
    yield "[]" if opening == "[" else "]"


def estimate_lines(found: Estimate) -> str:
    """Rows, tokens with their histogram, time and disk."""
    most = max(found.histogram.values(), default=1)
    bars = [
        f"  <= {tokens:>6,} tokens {texts:>10,}  {'#' * max(1, BAR_WIDTH * texts // most)}"
        for tokens, texts in found.histogram.items()
    ]
    return "\n".join(
        [
            f"{found.column} with {found.model_name}: {found.rows:,} rows to encode, {found.tokens:,} tokens, "
            f"{found.truncated:,} texts truncated",
            *bars,
            f"  {duration(found.seconds_low)} to {duration(found.seconds_high)} on this device, "
            f"{found.disk_bytes / 1e6:,.1f} MB of disk",
        ]
    )


def duration(seconds: float) -> str:
    """Seconds as people say them: 5400 -> 1.5 h."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


@contextmanager
def embedding_bar(rows: int, say: Callable[[str], None]) -> Iterator[None]:
    """A bar with the monitor's numbers while rows are written, on a terminal; a plain line now and then elsewhere."""
    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    started = said = time.monotonic()
    with tqdm(total=rows, unit=" rows", desc="Embedding", disable=not on_terminal, dynamic_ncols=True) as bar:
        done = 0

        def on_progress(progress: Progress) -> None:
            bar.set_description_str(progress.column, refresh=False)
            bar.set_postfix_str(progress.stats, refresh=False)
            bar.update(progress.rows)
            nonlocal done, said
            done += progress.rows
            if not on_terminal and time.monotonic() - said >= PLAIN_EVERY_S:
                said = time.monotonic()
                speed = done / (said - started)
                say(f"{progress.column}: {done:,} of {rows:,} rows, {speed:.1f} rows/s | {progress.stats}")

        with watching(on_progress):
            yield


@contextmanager
def load_bar() -> Iterator[Callable[[LoadProgress], None]]:
    """A bar per file on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    bars: dict[str, tqdm] = {}  # type: ignore[type-arg]

    def on_progress(progress: LoadProgress) -> None:
        bar = bars.get(progress.file)
        if bar is None:
            bar = bars[progress.file] = tqdm(unit=" rows", desc=progress.file, disable=None, dynamic_ncols=True)
        bar.total = progress.total
        bar.update(progress.rows - bar.n)

    try:
        yield on_progress
    finally:
        for bar in bars.values():
            bar.close()
        sys.stderr.flush()

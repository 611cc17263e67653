"""A benchmark's rows: the figures of a way of embedding, as JSON and as a table that Markdown shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Row:
    """Medians over rounds of one way of embedding a corpus; None where there is nothing to say, ``skipped`` why.

    ``tokens_per_s`` counts the tokens of every row, also of those whose text was encoded once for several. The ratio is
    of tokens per second: that of rows, where both embed the same rows. ``forwards`` are of one pass over the corpus.
    """

    name: str
    corpus: str
    ratio_to_predecessor: float | None = None
    rec_per_s: float | None = None
    tokens_per_s: float | None = None
    padding_waste: float | None = None
    forwards: int | None = None
    mfu: float | None = None
    peak_memory_bytes: int | None = None
    cosine_min: float | None = None
    cosine_mean: float | None = None
    recall_at_10: float | None = None
    seconds_median: float | None = None
    seconds_min: float | None = None
    seconds_max: float | None = None
    rounds: int = 0
    rows: int | None = None
    passes: int | None = None
    gpu_busy_percent: float | None = None
    memory_errors: int | None = None
    encoder: str | None = None
    ratio_to_encoder_only: float | None = None
    skipped: str | None = None


HEADER = ("", "rec/s", "tokens/s", "x", "padding", "forwards", "MFU", "memory", "cosine min", "mean", "recall@10")
GPU_HEADER = ("GPU busy", "OOM")


def rows_table(rows: Sequence[Row], cuda: bool) -> str:
    """The rows of one corpus; the columns of a GPU only where there is one."""
    header = [*HEADER, *(GPU_HEADER if cuda else ())]
    return "\n".join(
        [
            markdown_table(header, [_cells(row)[: len(header)] for row in rows if row.skipped is None]),
            *(f"{row.name}: skipped, {row.skipped}" for row in rows if row.skipped is not None),
        ]
    )


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        shown(row.rec_per_s, ",.1f"),
        shown(row.tokens_per_s, ",.0f"),
        shown(row.ratio_to_predecessor, ".2f"),
        shown(row.padding_waste, ".1%"),
        shown(row.forwards, ",d"),
        shown(row.mfu, ".1%"),
        shown(None if row.peak_memory_bytes is None else row.peak_memory_bytes / 1e9, ".2f", " GB"),
        shown(row.cosine_min, ".6f"),
        shown(row.cosine_mean, ".6f"),
        shown(row.recall_at_10, ".4f"),
        shown(row.gpu_busy_percent, ".0f", " %"),
        shown(row.memory_errors, "d"),
    ]


def shown(value: float | None, form: str, unit: str = "") -> str:
    """A number in this form; nothing for None."""
    return "" if value is None else f"{value:{form}}{unit}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns, the first ``left`` of them to the left, that Markdown shows as a table."""
    widths = [max(3, *(len(line[n]) for line in (header, *rows))) for n in range(len(header))]
    rule = ["-" * width if n < left else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (header, rule, *rows)
    )


def write_rows(
    path: Path,
    machine: Mapping[str, object],
    command: str,
    rows: "Sequence[DataclassInstance]",
    others: Mapping[str, object],
) -> None:
    """The file that DESIGN.md describes, with other parts beside it."""
    found = {"machine": machine, "command": command, "rows": [asdict(row) for row in rows], **others}
    path.write_text(json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def statistics_table(found: Sequence[tuple[str, str, Mapping[str, int | float]]]) -> str:
    """Token statistics of each corpus: its name, whose rows they are, and the numbers."""
    header = ["corpus", "source", *(found[0][2] if found else ())]
    return markdown_table(
        header,
        [[name, source, *(f"{value:,.0f}" for value in numbers.values())] for name, source, numbers in found],
        left=2,
    )

"""Small PNGs of what the benchmarks of the store found; matplotlib is imported where it draws."""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from steam_assets_tests.benchmarks.write_race import OURS, PREDECESSOR, WriteRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from steam_assets_tests.benchmarks.pagination import PageRow
    from steam_assets_tests.benchmarks.pipeline import PipelineRow
    from steam_assets_tests.benchmarks.scale import ScaleRow

DOTS_PER_INCH = 100
COLORS = 64
OURS_COLOR, PREDECESSOR_COLOR, OTHER_COLOR, OWN_TABLE_COLOR = "#1b7837", "#b2182b", "#92a5b8", "#d5dde5"


def require_matplotlib() -> None:
    """Raise SystemExit where no plot can be drawn, before anything is measured."""
    if find_spec("matplotlib") is None:
        raise SystemExit("--plot needs matplotlib. Run pip install 'steam-assets[benchmarks]'.")


def plot_writes(path: Path, rows: Sequence[WriteRow]) -> None:
    """Rows a second of each way, a panel for each shape of table, the ratio to the predecessor beside each bar."""
    shapes = list(dict.fromkeys(row.shape for row in rows))
    figure = _figure(5.5 * len(shapes), 4.2)
    for panel, shape in zip(figure.subplots(1, len(shapes), squeeze=False)[0], shapes, strict=True):
        found = [row for row in rows if row.shape == shape and row.rows_per_s is not None][::-1]
        bars = panel.barh(
            [row.name for row in found],
            [row.rows_per_s or 0 for row in found],
            color=[_color(row) for row in found],
        )
        panel.bar_label(bars, [f"{row.ratio_to_predecessor:.1f}x" for row in found], padding=2, fontsize=8)
        panel.set_title(f"Writing vectors, {shape}")
        panel.set_xlabel("rows/s (pale: a table of the tool's own)")
        panel.margins(x=0.12)
        panel.tick_params(labelsize=8)
    _save(figure, path)


def _color(row: WriteRow) -> str:
    if row.name.startswith(OURS):
        return OURS_COLOR
    if row.name.startswith(PREDECESSOR):
        return PREDECESSOR_COLOR
    return OWN_TABLE_COLOR if row.own_table else OTHER_COLOR


def plot_pages(path: Path, rows: "Sequence[PageRow]") -> None:
    """Milliseconds a thousand rows by how far into the table a page is, a panel for each size of table."""
    sizes = list(dict.fromkeys(row.table_rows for row in rows))
    figure = _figure(3.6 * len(sizes), 3.4)
    for panel, size in zip(figure.subplots(1, len(sizes), squeeze=False, sharey=True)[0], sizes, strict=True):
        for row in (row for row in rows if row.table_rows == size):
            color = OURS_COLOR if row.name.startswith(OURS) else OTHER_COLOR
            name, color = ("OFFSET", PREDECESSOR_COLOR) if row.name == PREDECESSOR else (row.name, color)
            places = [100 * (number + 0.5) / len(row.pages_ms) for number in range(len(row.pages_ms))]
            marker = "." if len(places) < 12 else ""
            times = [1_000 * ms / row.page_rows for ms in row.pages_ms]
            panel.plot(places, times, label=name, color=color, marker=marker, linewidth=1.2)
        panel.set_title(f"{size:,} rows")
        panel.set_xlabel("place in the table, %")
        panel.set_yscale("log")
        panel.grid(axis="y", alpha=0.3)
        panel.tick_params(labelsize=8)
    figure.suptitle("Reading a table of pending rows page by page")
    figure.axes[0].set_ylabel("ms for 1,000 rows")
    figure.axes[0].legend(fontsize=8)
    _save(figure, path)


def plot_pipeline(path: Path, rows: "Sequence[PipelineRow]") -> None:
    """How busy encoders of several speeds are kept, a panel for each shape of table."""
    shapes = list(dict.fromkeys(row.shape for row in rows))
    figure = _figure(4.2 * len(shapes), 3.2)
    for panel, shape in zip(figure.subplots(1, len(shapes), squeeze=False, sharey=True)[0], shapes, strict=True):
        for name, color in ((PREDECESSOR, PREDECESSOR_COLOR), (OURS, OURS_COLOR)):
            found = [row for row in rows if (row.shape, row.name) == (shape, name) and row.encoder_rows_per_s]
            rates = [f"{row.encoder_rows_per_s:,.0f}" for row in found]
            panel.plot(rates, [100 * row.busy_share for row in found], label=name, color=color, marker="o")
        panel.set_title(shape)
        panel.set_xlabel("rows/s of the encoder alone")
        panel.set_ylim(0, 102)
        panel.grid(axis="y", alpha=0.3)
    figure.suptitle("How busy an encoder is kept")
    figure.axes[0].set_ylabel("busy, %")
    figure.axes[0].legend(fontsize=8)
    _save(figure, path)


def plot_scale(path: Path, rows: "Sequence[ScaleRow]") -> None:
    """What a row costs in tables of several sizes."""
    figure = _figure(5.2, 3.4)
    panel = figure.subplots()
    sizes = [f"{row.rows:,}" for row in rows]
    for name in ("read", "fill", "embed", "status", "no_op"):
        panel.plot(sizes, [row.us_per_row(getattr(row, f"{name}_s")) for row in rows], label=name, marker="o")
    panel.set_yscale("log")
    panel.set_ylabel("microseconds a row")
    panel.set_xlabel("rows in the tables")
    panel.grid(axis="y", alpha=0.3)
    panel.legend(fontsize=8)
    figure.suptitle("What a row costs as the tables grow")
    _save(figure, path)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    """As a PNG of few colors, a quarter of the size of one of millions."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(drawn).convert("RGB").quantize(COLORS).save(path, format="PNG", optimize=True)

"""What `bench` measured, SVG or PNG, with matplotlib (the `plot` extra).

For each case, how the times of calls are distributed (their share below a time, so that nothing
depends on the width of bins); and cold starts by their stages. Colours and dashes say the same,
so it reads in grey too; the same result gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from envforge.adapters.plot import write_figure
from envforge.model.bench import STAGES, BenchResult, Cell, Series, Side

_SIDES: Final = (("#0072b2", "-"), ("#d55e00", "--"), ("#555555", ":"))
"""Colour and dashes of the side, the other and the baseline (Okabe and Ito's colours)."""
_STAGES: Final = {
    "interpreter": ("#c9d9f2", ""),
    "import": ("#9ecae9", "//"),
    "context": ("#f3d88f", ".."),
    "load": ("#7fcfb2", "xx"),
    "call": ("#f2b6a0", "\\\\"),
}
_COLUMNS: Final = 3


def write_bench(result: BenchResult, path: Path) -> None:
    """Draw a result into a file, by its suffix.

    Raises:
        InvalidValue: the suffix is neither `.svg` nor `.png`.
        ToolMissing: matplotlib is not installed.
        FileNotUsable: the file cannot be written.
    """
    sides = [side for side in (result.side, result.against, result.baseline) if side]
    cells = [item.cell for item in result.side.series if item.rounds]
    cells = [cell for cell in cells if cell.case != "cold-start"]
    rows = -(-len(cells) // _COLUMNS)
    has_starts = any(side.starts for side in sides)
    height = 0.9 + 2.3 * rows + (0.7 + 0.45 * len(sides)) * has_starts
    write_figure(
        path,
        (10.0, max(height, 2.0)),
        lambda figure: _draw(figure, sides, cells, rows, has_starts=has_starts),
    )


def _draw(
    figure: Any, sides: Sequence[Side], cells: Sequence[Cell], rows: int, *, has_starts: bool
) -> None:
    starts = [0.7 + 0.45 * len(sides)] * has_starts
    grid = figure.add_gridspec(
        max(rows + has_starts, 1), _COLUMNS, height_ratios=[*[2.3] * rows, *starts] or [1.0]
    )
    for index, cell in enumerate(cells):
        axes = figure.add_subplot(grid[index // _COLUMNS, index % _COLUMNS])
        _draw_cell(axes, sides, cell)
    if has_starts:
        _draw_starts(figure.add_subplot(grid[rows, :]), sides)
    names = " - ".join(map(_plain, (side.name for side in sides)))
    figure.suptitle(names, fontsize=10, fontweight="bold", parse_math=False)
    _draw_legend(figure, sides)


def _draw_cell(axes: Any, sides: Sequence[Side], cell: Cell) -> None:
    for (colour, dashes), series in zip(_SIDES, _series(sides, cell), strict=False):
        if series is None or series.spread is None:
            continue
        times = sorted(1000 * t for t in chain.from_iterable(chain.from_iterable(series.rounds)))
        shares = [(index + 1) / len(times) for index in range(len(times))]
        axes.step(times, shares, where="post", color=colour, linestyle=dashes, linewidth=1.3)
        if math.isfinite(series.spread.high):  # of a single round it has no end
            low, high = 1000 * series.spread.low, 1000 * series.spread.high
            axes.axvspan(low, high, color=colour, alpha=0.15, lw=0)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_title(cell.label, fontsize=9)
    axes.set_xlabel("ms a call", fontsize=8)
    axes.set_ylabel("share of calls", fontsize=8)
    axes.tick_params(labelsize=7, which="both")
    axes.grid(visible=True, which="major", linewidth=0.3)


def _series(sides: Sequence[Side], cell: Cell) -> Iterator[Series | None]:
    return (side.of(cell) for side in sides)


def _draw_starts(axes: Any, sides: Sequence[Side]) -> None:
    longest = max(sum(seconds for _, seconds in _stages(side)) for side in sides)
    for row, side in enumerate(sides):
        left = 0.0
        for stage, seconds in _stages(side):
            colour, hatch = _STAGES[stage]
            look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "#555555"}
            axes.barh(row, seconds, left=left, height=0.6, linewidth=0.5, **look)
            if seconds > longest / 25:
                at: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
                text = axes.text(left + seconds / 2, row, f"{seconds:.2g}", **at)
                text.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 0.8})
            left += seconds
    axes.set_yticks(range(len(sides)))
    axes.set_yticklabels([_plain(side.name) for side in sides], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("cold start, s (medians)", fontsize=8)
    axes.tick_params(labelsize=7)


def _stages(side: Side) -> Iterator[tuple[str, float]]:
    for stage in STAGES:
        found = sorted(item[stage] for item in side.starts if stage in item)
        if found:
            yield stage, found[len(found) // 2]


def _plain(text: str) -> str:
    """Names are anybody's: what no font shows becomes `?`, and long paths lose their beginning."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= 48 else f"…{shown[-47:]}"


def _draw_legend(figure: Any, sides: Sequence[Side]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    known = {stage for side in sides for stage, _ in _stages(side)}
    handles: list[Any] = []
    for number, (colour, dashes) in enumerate(_SIDES[: len(sides)], 1):
        look: dict[str, Any] = {"color": colour, "linestyle": dashes}
        handles.append(Line2D([], [], label=f"side {number}: calls, 95 % of median", **look))
    handles += [
        Patch(facecolor=colour, edgecolor="#555555", hatch=hatch, label=stage)
        for stage, (colour, hatch) in _STAGES.items()
        if stage in known
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)

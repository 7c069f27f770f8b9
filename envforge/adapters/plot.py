"""The matrix as a heatmap, SVG or PNG, with matplotlib (the `plot` extra).

What a cell means is told by its colour, its hatching and its letters: it reads in grey too.
The same grid gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from envforge.adapters.files import unusable
from envforge.errors import InvalidValue, ToolMissing
from envforge.matrix.grid import MEANINGS, Grid, GridCell, GridState, column_name

SUFFIXES: Final = (".svg", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    colour: str
    hatch: str
    edge: str


# Okabe and Ito's colours, lightened so that black letters stand on them.
_LOOKS: Final[dict[GridState, _Look]] = {
    "exists": _Look(colour="#9ecae9", hatch="", edge="#4c87b0"),
    "native": _Look(colour="#7fcfb2", hatch="", edge="#00664b"),
    "minor-version": _Look(colour="#f3d88f", hatch="//", edge="#c79a1c"),
    "unknown": _Look(colour="#c9d9f2", hatch="..", edge="#6f8fc4"),
    "blocked": _Look(colour="#f2b6a0", hatch="xx", edge="#d98a6c"),
    "absent": _Look(colour="#f4f4f4", hatch="", edge="#f4f4f4"),
}
_LETTERS: Final = {"pytorch": "p", "conda-forge": "c", "wheels": "w"}


def refuse_undrawable(path: Path) -> None:
    """See that it will be possible to draw, before any work is done.

    Raises:
        InvalidValue: the suffix is neither `.svg` nor `.png`.
        ToolMissing: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidValue(
            what="plot file",
            value=str(path),
            reason="has a suffix that is neither .svg nor .png",
            remedy="for example `--plot matrix.svg`",
        )
    if find_spec("matplotlib") is None:
        raise _missing()


def _missing() -> ToolMissing:
    return ToolMissing(
        tool="matplotlib",
        needed_for="`--plot`",
        remedy="`pip install 'envforge[plot]'`, or `pip install matplotlib`",
    )


def write_heatmap(grid: Grid, path: Path, title: str) -> None:
    """Draw a grid into a file, by its suffix.

    Raises:
        InvalidValue: the suffix is neither `.svg` nor `.png`.
        ToolMissing: matplotlib is not installed.
        FileNotUsable: the file cannot be written.
    """
    write_figure(path, _size(grid), lambda figure: _draw(figure, grid, title))


def write_figure(path: Path, size: tuple[float, float], draw: Callable[[Any], None]) -> None:
    """Draw into a figure of `size` inches, and save it by the file's suffix.

    Raises:
        InvalidValue, ToolMissing, FileNotUsable: see `write_heatmap`.
    """
    refuse_undrawable(path)
    picture = _render(path.suffix.lower().removeprefix("."), size, draw)
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise unusable(path, error) from error


def _render(kind: str, size: tuple[float, float], draw: Callable[[Any], None]) -> bytes:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing() from error
    out = io.BytesIO()
    # A fixed salt and no date: identifiers and metadata would differ in every run.
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "envforge", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(out, format=kind, dpi=160, metadata=metadata)
    return out.getvalue()


def _size(grid: Grid) -> tuple[float, float]:
    """Inches: cells of about half an inch, and room for names, title and legend."""
    return max(6.4, 1.1 + 0.52 * len(grid.cudas)), 1.9 + 0.3 * len(grid.torches)


def _draw(figure: Any, grid: Grid, title: str) -> None:
    axes = figure.add_subplot()
    for row, torch in enumerate(grid.torches):
        for column, cuda in enumerate(grid.cudas):
            _draw_cell(axes, grid.at(torch, cuda), column, row)
    axes.set_xlim(0, len(grid.cudas))
    axes.set_ylim(len(grid.torches), 0)
    axes.set_xticks([index + 0.5 for index in range(len(grid.cudas))])
    axes.set_xticklabels([column_name(cuda) for cuda in grid.cudas], fontsize=8)
    axes.set_yticks([index + 0.5 for index in range(len(grid.torches))])
    axes.set_yticklabels(grid.torches, fontsize=8)
    axes.set_xlabel("CUDA", fontsize=9)
    axes.set_ylabel("torch", fontsize=9)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.suptitle(title, fontsize=10, fontweight="bold")
    _draw_legend(figure, grid)


def _draw_cell(axes: Any, cell: GridCell, column: int, row: int) -> None:
    from matplotlib.patches import Rectangle

    look = _LOOKS[cell.state]
    axes.add_patch(
        Rectangle(
            (column + 0.04, row + 0.05),
            0.92,
            0.9,
            facecolor=look.colour,
            edgecolor=look.edge,
            hatch=look.hatch,
            linewidth=0.6,
        )
    )
    if cell.state == "absent":
        return
    letters = "".join(_LETTERS[source] for source in cell.sources)
    text = axes.text(column + 0.5, row + 0.52, letters, ha="center", va="center", fontsize=8)
    if look.hatch:
        text.set_bbox({"facecolor": look.colour, "edgecolor": "none", "pad": 0.8})


def _draw_legend(figure: Any, grid: Grid) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=look.colour, edgecolor=look.edge, hatch=look.hatch, label=MEANINGS[state])
        for state, look in _looks_of(grid)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
        title="p pytorch channel   c conda-forge   w wheels",
        title_fontsize=8,
    )


def _looks_of(grid: Grid) -> Iterator[tuple[GridState, _Look]]:
    states = {cell.state for cell in grid.cells.values()}
    return ((state, look) for state, look in _LOOKS.items() if state in states)

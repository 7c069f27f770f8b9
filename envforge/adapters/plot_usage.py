"""Who uses the disk, as a treemap, SVG or PNG, with matplotlib (the `plot` extra).

Areas are bytes, and each byte is in one rectangle: boxes are sets of users (an environment, or
several that share), and in them repositories. Colour and hatching say the same thing, so it reads
in grey too; the same survey gives the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from envforge.adapters.plot import write_figure
from envforge.cache.treemap import Box, Share, squarify
from envforge.cache.usage import Part
from envforge.model.wording import size

_LOOKS: Final[dict[Part, tuple[str, str, str]]] = {
    "shared": ("#7fcfb2", "", "shared by several"),
    "own": ("#9ecae9", "//", "used by one"),
    "reclaimable": ("#f2b6a0", "xx", "used by nobody"),
}
"""Colours of Okabe and Ito, lightened; hatching; and what they mean."""
_WIDTH, _HEIGHT = 10.0, 6.2
"""Inches of the rectangles together."""
_POINTS: Final = 72.0
_HEAD: Final = 0.2
"""Inches above a box's rectangles, for whose they are."""
_MOST_NAMED: Final = 3


def write_treemap(shares: Sequence[Share], path: Path, title: str) -> None:
    """Draw shares into a file, by its suffix.

    Raises:
        InvalidValue: the suffix is neither `.svg` nor `.png`.
        ToolMissing: matplotlib is not installed.
        FileNotUsable: the file cannot be written.
    """
    write_figure(path, (_WIDTH + 0.4, _HEIGHT + 1.0), lambda figure: _draw(figure, shares, title))


def _draw(figure: Any, shares: Sequence[Share], title: str) -> None:
    axes = figure.add_subplot()
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(_HEIGHT, 0)
    axes.set_axis_off()
    groups: dict[tuple[str, ...], list[Share]] = defaultdict(list)
    for share in shares:
        groups[share.users].append(share)
    ordered = sorted(groups.items(), key=lambda item: (-_bytes(item[1]), item[0]))
    boxes = squarify(
        [_bytes(items) for _, items in ordered], Box(x=0, y=0, width=_WIDTH, height=_HEIGHT)
    )
    for (users, items), box in zip(ordered, boxes, strict=True):
        _draw_group(axes, _who(users), items, box)
    figure.suptitle(_plain(title), fontsize=10, fontweight="bold", parse_math=False)
    _draw_legend(figure, shares)


def _bytes(shares: Sequence[Share]) -> int:
    return sum(item.bytes for item in shares)


def _who(users: Sequence[str]) -> str:
    if not users:
        return "nobody"
    if len(users) > _MOST_NAMED:
        return f"{len(users)} users: {', '.join(map(_short, users))}"
    return " + ".join(map(_short, users))


def _short(user: str) -> str:
    """Of a path its last part."""
    return user.rstrip("/").rpartition("/")[2] or user


def _draw_group(axes: Any, who: str, shares: Sequence[Share], box: Box) -> None:
    from matplotlib.patches import Rectangle

    has_head = box.height > 3 * _HEAD and box.width > 2 * _HEAD
    head = _HEAD if has_head else 0.0
    inner = Box(x=box.x, y=box.y + head, width=box.width, height=box.height - head)
    for share, at in zip(shares, squarify([item.bytes for item in shares], inner), strict=True):
        _draw_share(axes, share, at)
    edge: dict[str, Any] = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.2}
    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, **edge))
    if has_head:
        text = f"{who}: {size(_bytes(shares))}"
        _write(axes, text, box.x + 0.05, box.y + head / 2, box.width, ha="left", weight="bold")


def _draw_share(axes: Any, share: Share, box: Box) -> None:
    from matplotlib.patches import Rectangle

    colour, hatch, _ = _LOOKS[share.part]
    look: dict[str, Any] = {
        "facecolor": colour,
        "edgecolor": "#555555",
        "hatch": hatch,
        "linewidth": 0.5,
    }
    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, **look))
    x, y = box.x + box.width / 2, box.y + box.height / 2
    if box.height > 0.4:
        _write(axes, share.repo, x, y - 0.08, box.width, ground=colour)
        _write(axes, size(share.bytes), x, y + 0.1, box.width, ground=colour)
    elif box.height > 0.15:
        _write(axes, share.repo, x, y, box.width, ground=colour)


def _write(
    axes: Any,
    text: str,
    x: float,
    y: float,
    width: float,
    *,
    ha: str = "center",
    ground: str | None = None,
    weight: str = "normal",
) -> None:
    """Write what fits, shortened in the middle; nothing where hardly anything does."""
    font = 7
    text = _plain(text)
    most = int(width / (font * (0.72 if weight == "bold" else 0.62) / _POINTS))
    if most < 4:
        return
    if len(text) > most:
        half = (most - 1) // 2
        text = f"{text[: most - 1 - half]}…{text[len(text) - half :]}"
    drawn = axes.text(
        x, y, text, ha=ha, va="center", fontsize=font, weight=weight, parse_math=False
    )
    if ground:
        drawn.set_bbox({"facecolor": ground, "edgecolor": "none", "pad": 0.8})


def _plain(text: str) -> str:
    """Names are anybody's: what no font shows, or no file can hold, becomes `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _draw_legend(figure: Any, shares: Sequence[Share]) -> None:
    from matplotlib.patches import Patch

    parts = {item.part for item in shares}
    handles = [
        Patch(facecolor=colour, edgecolor="#555555", hatch=hatch, label=meaning)
        for part, (colour, hatch, meaning) in _LOOKS.items()
        if part in parts
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
        title="areas are bytes on the disk, each file once",
        title_fontsize=8,
    )

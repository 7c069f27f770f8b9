"""What `diff` answers: as text, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import click

from envforge.cli.rendering.shown import size
from envforge.formats.text.printable import one_line
from envforge.model.difference import (
    Amount,
    Comparison,
    GpuRow,
    Group,
    Move,
    PackageChange,
    SizeRow,
)
from envforge.model.wording import counted
from envforge.team.secrets import public_address

_SIGNS: Final = {"added": "+", "removed": "-"}
_SAID: Final = {"downgraded": "older", "other-bytes": "other bytes"}
_HEADINGS: Final = {"fresh": "nothing called for it", "unknown": "for reasons that are not told"}
_ARROW: Final = "->"
_ROWS: Final = 200
"""Rows that Markdown lists below its folds: GitHub takes 65 536 characters."""


# --- text -----------------------------------------------------------------------------------


def show(found: Comparison, *, why: bool = False) -> None:
    """GPU rows first, then what was asked for, then the others by their reason."""
    click.echo(click.style(f"{one_line(found.old)} {_ARROW} {one_line(found.new)}", bold=True))
    for line in _lines(found, why=why):
        click.echo(line)


def _lines(found: Comparison, *, why: bool) -> Iterator[str]:
    if found.is_same:
        yield f"nothing moved: {_counted_platforms(found)}"
    for platform, count in (found.lost_platforms or {}).items():
        yield f"no longer locked for {platform} ({counted(count, 'package')})"
    for platform, count in (found.gained_platforms or {}).items():
        yield f"locked for {platform} too ({counted(count, 'package')})"
    yield from _gpu_lines(found)
    if found.asked:
        yield _title("asked for")
        yield from _move_lines(found.asked, found, why=why)
    for group in found.groups:
        yield _title(_heading(group))
        yield from _move_lines(group.moves, found, why=why)
    if found.models:
        from envforge.cli.rendering import render_models

        yield _title("models")
        yield from (f"  {line}" for line in render_models.diff_lines(found.models))
    if not found.is_same and found.sizes:
        yield _title("size")
        yield from _columns(cells for row in found.sizes for cells in _size_cells(row))
    for note in found.notes:
        yield f"note: {one_line(note)}"


def _counted_platforms(found: Comparison) -> str:
    return f"compared for {', '.join(found.platforms)}"


def _title(text: str) -> str:
    return click.style(one_line(text), bold=True)


def _heading(group: Group) -> str:
    return _HEADINGS.get(group.why) or f"because of {group.root}"


def _gpu_lines(found: Comparison) -> Iterator[str]:
    rows = [row for row in found.gpu if row.differs]
    if rows:
        yield _title("GPU build")
        yield from _columns(
            (row.fact, _gpu_change(row), _where(row.platforms, found)) for row in rows
        )
    elif found.gpu:
        same = {row.fact: row.after for row in found.gpu if row.fact != "GPUs"}
        shown = ", ".join(f"{fact} {value}" for fact, value in same.items() if fact != "driver")
        yield f"GPU build as before: {one_line(shown)}"


def _gpu_change(row: GpuRow) -> str:
    if row.gained or row.lost:
        lost = [f"lost {' '.join(row.lost)}"] if row.lost else []
        gained = [f"gained {' '.join(row.gained)}"] if row.gained else []
        return "; ".join((*lost, *gained))
    return f"{row.before or 'none'} {_ARROW} {row.after or 'none'}"


def _move_lines(moves: Sequence[Move], found: Comparison, *, why: bool) -> Iterator[str]:
    rows = []
    for move in moves:
        detail = move.cause.detail if why else ""
        row = (_SIGNS.get(move.kind, "~"), move.name, _change(move), _where(move.platforms, found))
        rows.append((*row, detail and f"({detail})"))
    yield from _columns(rows)


def _change(move: Move) -> str:
    if move.kind in _SIGNS:
        return move.before or move.after
    said = f" ({_SAID[move.kind]})" if move.kind in _SAID else ""
    return f"{move.before} {_ARROW} {move.after}{said}"


def _where(platforms: Sequence[str], found: Comparison) -> str:
    """The platforms, where it is not all of them."""
    return "" if set(platforms) >= set(found.platforms) else f"[{', '.join(platforms)}]"


def _size_cells(row: SizeRow) -> tuple[tuple[str, ...], ...]:
    return (
        (row.platform, "download", _amounts(row.download)),
        ("", "on disk", _amounts(row.disk)),
    )


def _amounts(pair: tuple[Amount, Amount]) -> str:
    old, new = pair
    if not (old.total and new.total):
        return "unknown"
    is_rough = old.estimated or new.estimated or old.unknown or new.unknown
    about = "about " if is_rough else ""
    more = new.total - old.total
    moved = f"{'+' if more >= 0 else '-'}{size(abs(more))}"
    return f"{about}{size(old.total)} {_ARROW} {size(new.total)} ({moved})"


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned as far as that keeps lines short: one long cell pushes nobody else away."""
    table = [tuple(one_line(cell) for cell in row) for row in rows]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*table, strict=True)]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


_WIDEST: Final = 32


# --- Markdown -------------------------------------------------------------------------------


def markdown(found: Comparison) -> str:
    """The same for a pull request: what matters in the open, the rest below folds."""
    lines = [f"### {_code(found.old)} → {_code(found.new)}", ""]
    if found.is_same:
        lines += [f"Nothing moved ({', '.join(found.platforms)}).", ""]
    for platform, count in (found.lost_platforms or {}).items():
        number = counted(count, "package")
        lines += [f"**No longer locked for {_code(platform)}** ({number}).", ""]
    for platform, count in (found.gained_platforms or {}).items():
        lines += [f"Locked for {_code(platform)} too ({counted(count, 'package')}).", ""]
    lines += _gpu_table(found)
    if found.asked:
        lines += ["**Asked for**", "", *_move_table(found.asked, found), ""]
    left = _ROWS
    for group in found.groups:
        lines += _fold(group, found, left)
        left = max(0, left - len(group.moves))
    lines += _model_lines(found)
    if not found.is_same and found.sizes:
        lines += ["| size | download | on disk |", "|---|---|---|"]
        for row in found.sizes:
            cells = (_amounts(row.download), _amounts(row.disk))
            lines.append(f"| {_code(row.platform)} | {' | '.join(cells)} |".replace(_ARROW, "→"))
        lines.append("")
    lines += [f"- {_escaped(note)}" for note in found.notes]
    return "\n".join(lines).rstrip("\n")


def _gpu_table(found: Comparison) -> list[str]:
    rows = [row for row in found.gpu if row.differs]
    if not rows:
        return []
    lines = ["| GPU build | before | after |", "|---|---|---|"]
    for row in rows:
        where = _where(row.platforms, found)
        after = _code(row.after)
        if row.lost:
            after += f" (**lost {_code(' '.join(row.lost))}**)"
        lines.append(f"| {row.fact} {where}".rstrip() + f" | {_code(row.before)} | {after} |")
    return [*lines, ""]


def _move_table(moves: Sequence[Move], found: Comparison) -> list[str]:
    lines = ["| package | before | after | |", "|---|---|---|---|"]
    for move in moves:
        said = _SAID.get(move.kind, move.kind if move.kind in _SIGNS else "")
        more = " ".join(filter(None, (said, _where(move.platforms, found))))
        lines.append(
            f"| {_code(move.name)} | {_code(move.before)} | {_code(move.after)} | {more} |"
        )
    return lines


def _fold(group: Group, found: Comparison, left: int) -> list[str]:
    shown = group.moves[:left]
    number = len(group.moves)
    rows = _move_table(shown, found) if shown else []
    if len(shown) < number:
        rows += ["", f"and {number - len(shown)} more: `envforge diff` lists all"]
    summary = f"<summary>{counted(number, 'package')}: {_escaped(_heading(group))}</summary>"
    return ["<details>", summary, "", *rows, "", "</details>", ""]


def _model_lines(found: Comparison) -> list[str]:
    if not found.models:
        return []
    lines = ["| model | before | after | files |", "|---|---|---|---|"]
    for change in found.models:
        ends = [_code(commit[:12]) for commit in (change.before, change.after)]
        name = _code(f"{change.repo.shown}@{change.revision}")
        lines.append(f"| {name} | {' | '.join(ends)} | {len(change.files)} |")
    return [*lines, ""]


def _code(text: str) -> str:
    """A code span, in which nothing that a lock holds means anything."""
    bare = one_line(text).replace("`", "'").replace("|", "\\|")
    return f"`{bare}`" if bare else ""


def _escaped(text: str) -> str:
    shown = one_line(text)
    for char in "\\`*_<>[]|@#":
        shown = shown.replace(char, f"\\{char}")
    return shown


# --- JSON -----------------------------------------------------------------------------------


def document(found: Comparison) -> dict[str, Any]:
    """Everything: the moves for people, and the exact changes."""
    from envforge.cli.rendering import render_models

    return {
        "old": found.old,
        "new": found.new,
        "same": found.is_same,
        "platforms": list(found.platforms),
        "gained_platforms": _mapping(found.gained_platforms),
        "lost_platforms": _mapping(found.lost_platforms),
        "gpu": [{**asdict(row), "differs": row.differs} for row in found.gpu],
        "moves": [_move(move) for move in found.moves],
        "sizes": [_sizes(row) for row in found.sizes],
        "models": render_models.diff_documents(found.models),
        "changes": [_exact(change) for change in found.difference.changes],
        "notes": list(found.notes),
    }


def _exact(change: PackageChange) -> dict[str, Any]:
    """Both records as the locks hold them, but for credentials in addresses."""
    sides = {"before": change.before, "after": change.after}
    return {
        side: asdict(replace(item, url=public_address(item.url))) if item is not None else None
        for side, item in sides.items()
    }


def _mapping(counts: Mapping[str, int] | None) -> dict[str, int] | None:
    return None if counts is None else dict(counts)


def _move(move: Move) -> dict[str, Any]:
    return {
        "name": move.name,
        "kind": move.kind,
        "from": move.before or None,
        "to": move.after or None,
        "platforms": list(move.platforms),
        "why": move.cause.why,
        "because_of": move.cause.root or None,
        "detail": move.cause.detail or None,
    }


def _sizes(row: SizeRow) -> dict[str, Any]:
    return {
        "platform": row.platform,
        **{
            what: {
                "from_bytes": pair[0].total,
                "to_bytes": pair[1].total,
                "estimated": [pair[0].estimated, pair[1].estimated],
                "unknown": [pair[0].unknown, pair[1].unknown],
            }
            for what, pair in (("download", row.download), ("disk", row.disk))
        },
    }

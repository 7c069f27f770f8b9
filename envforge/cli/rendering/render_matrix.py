"""The matrix as a table for a terminal, and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from envforge.matrix.gpus import describe
from envforge.matrix.grid import MEANINGS, Grid, GridCell, GridState, column_name
from envforge.matrix.versions import spell
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Machine

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SCHEMA: Final = "envforge.matrix/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    sign: str
    ascii: str
    style: str


_MARKS: Final[dict[GridState, _Mark]] = {
    "exists": _Mark(sign="●", ascii="o", style="cyan"),
    "native": _Mark(sign="✓", ascii="+", style="bold green"),
    "minor-version": _Mark(sign="~", ascii="~", style="yellow"),
    "unknown": _Mark(sign="?", ascii="?", style="magenta"),
    "blocked": _Mark(sign="✗", ascii="x", style="red"),
    "absent": _Mark(sign="·", ascii=".", style="dim"),
}
_LETTERS: Final = {"pytorch": "p", "conda-forge": "c", "wheels": "w"}
_NAMES: Final = {"p": "pytorch channel", "c": "conda-forge", "w": "wheels"}


# --- text -----------------------------------------------------------------------------------


def show(grid: Grid) -> None:
    """Print the table, its legend and why things do not run."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False, emoji=False, markup=False)
    signs = _signs(console)
    console.print(title(grid), style="bold")
    for columns in _blocks(grid, console.width):
        console.print()
        console.print(_table(grid, columns, signs))
    console.print()
    for line in _legend(grid, signs):
        console.print(line)


def title(grid: Grid) -> str:
    """What the grid shows: `torch by CUDA on linux-64, for driver 535.104.05 and H200 (9.0)`."""
    python = f" for Python {grid.python}" if grid.python else ""
    judged = f", judged by {_described(grid.machine)}" if grid.machine else ""
    return f"torch by CUDA on {grid.platform}{python}{judged}"


def _described(machine: Machine) -> str:
    names = [f"driver {machine.driver.version}"] if machine.driver else []
    names += dict.fromkeys(describe(gpu) for gpu in machine.gpus)
    return spell(names) if names else "a machine without an NVIDIA driver"


def _signs(console: Console) -> dict[GridState, str]:
    """The marks, in ASCII where the output cannot carry the others."""
    encoding = getattr(sys.stdout, "encoding", None) or console.encoding
    try:
        "".join(mark.sign for mark in _MARKS.values()).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return {state: mark.ascii for state, mark in _MARKS.items()}
    return {state: mark.sign for state, mark in _MARKS.items()}


def _blocks(grid: Grid, width: int) -> Iterator[tuple[CudaVersion | None, ...]]:
    """Columns that fit side by side, newest first; a CUDA major stays together where it can.

    CPU is the first column of each block.
    """
    cpu = [None] if None in grid.cudas else []
    limit = max(1, (width - _first_width(grid)) // (_CELL + 1) - len(cpu))
    block: list[CudaVersion] = []
    for columns in _majors(grid):
        if block and len(block) + len(columns) > limit:
            yield (*cpu, *block)
            block = []
        block = [*columns, *block]
        while len(block) > limit:
            yield (*cpu, *block[-limit:])
            block = block[:-limit]
    if block or cpu == list(grid.cudas):
        yield (*cpu, *block)


def _majors(grid: Grid) -> list[list[CudaVersion]]:
    """The columns by CUDA major, newest major first."""
    majors: dict[int, list[CudaVersion]] = {}
    for cuda in grid.cudas:
        if cuda:
            majors.setdefault(cuda.major, []).append(cuda)
    return [majors[major] for major in sorted(majors, reverse=True)]


_CELL: Final = 4
"""Characters of a cell: a mark and up to three sources; `11.8` is as wide."""


def _first_width(grid: Grid) -> int:
    return max(len("torch"), *(len(torch) for torch in grid.torches))


def _table(grid: Grid, columns: Sequence[CudaVersion | None], signs: dict[GridState, str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("torch", no_wrap=True, min_width=_first_width(grid))
    for cuda in columns:
        table.add_column(column_name(cuda), no_wrap=True, min_width=_CELL)
    for torch in grid.torches:
        cells = [grid.at(torch, cuda) for cuda in columns]
        if any(cell.carried for cell in cells if cell.cuda or len(columns) == 1):
            table.add_row(Text(torch, style="bold"), *(_cell(cell, signs) for cell in cells))
    return table


def _cell(cell: GridCell, signs: dict[GridState, str]) -> Text:
    from rich.text import Text

    letters = "".join(_LETTERS[source] for source in cell.sources)
    return Text(f"{signs[cell.state]}{letters}", style=_MARKS[cell.state].style)


def _legend(grid: Grid, signs: dict[GridState, str]) -> Iterator[Text | str]:
    from rich.text import Text

    states = {cell.state for cell in grid.cells.values()}
    for state, mark in _MARKS.items():
        if state in states:
            yield Text.assemble((signs[state], mark.style), f" {MEANINGS[state]}")
            yield from (Text(f"    {line}", style="dim") for line in _reasons(grid, state))
    letters = {letter for cell in grid.cells.values() for letter in map(_LETTERS.get, cell.sources)}
    if letters:
        yield "from: " + ", ".join(
            f"{key} {name}" for key, name in _NAMES.items() if key in letters
        )
    yield from _gaps(grid)


def _reasons(grid: Grid, state: GridState) -> Iterator[str]:
    """Each reason once, with the CUDAs it holds for."""
    cudas: dict[str, set[CudaVersion]] = {}
    for cell in grid.cells.values():
        if cell.state == state and cell.reason and cell.cuda:
            cudas.setdefault(cell.reason, set()).add(cell.cuda)
    for reason, found in cudas.items():
        yield f"CUDA {spell(_ranges(found, grid))}: {reason}"


def _ranges(found: set[CudaVersion], grid: Grid) -> list[str]:
    """Neighbouring columns as one range: `10.1-11.7`."""
    runs: list[list[CudaVersion]] = []
    last = -2
    for index, cuda in enumerate(grid.cudas):
        if cuda is None or cuda not in found:
            continue
        if index == last + 1:
            runs[-1].append(cuda)
        else:
            runs.append([cuda])
        last = index
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def _gaps(grid: Grid) -> Iterator[str]:
    rows: dict[str, list[str]] = {}
    for torch, sources in grid.unrecorded.items():
        for source in sources:
            rows.setdefault(source, []).append(torch)
    for source, torches in rows.items():
        yield f"not recorded: what {source} has of torch {spell(torches)}"


# --- JSON -----------------------------------------------------------------------------------


def as_json(grid: Grid) -> str:
    """The grid as a versioned document."""
    return json.dumps(document(grid), indent=2, ensure_ascii=False)


def document(grid: Grid) -> dict[str, Any]:
    """The grid as data; `cpu` is the name of the CPU column."""
    return {
        "schema": SCHEMA,
        "platform": grid.platform,
        "python": grid.python,
        "machine": _machine_document(grid.machine),
        "torch": list(grid.torches),
        "cuda": [column_name(cuda) for cuda in grid.cudas],
        "cells": [_cell_document(cell) for cell in grid.cells.values()],
        "unrecorded": {torch: list(sources) for torch, sources in grid.unrecorded.items()},
    }


def _machine_document(machine: Machine | None) -> dict[str, Any] | None:
    if machine is None:
        return None
    return {
        "origin": machine.origin,
        "driver": machine.driver.version if machine.driver else None,
        "gpus": [{"name": gpu.name, "capability": str(gpu.capability)} for gpu in machine.gpus],
    }


def _cell_document(cell: GridCell) -> dict[str, Any]:
    return {
        "torch": cell.torch,
        "cuda": column_name(cell.cuda),
        "state": cell.state,
        "reason": cell.reason or None,
        "builds": [
            {
                "source": item.source,
                "torch": item.torch,
                "state": item.state,
                "reason": item.reason or None,
                "pythons": list(item.pythons),
            }
            for item in cell.carried
        ],
    }

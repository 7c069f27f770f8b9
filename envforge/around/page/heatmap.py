"""The matrix of this machine, cell by cell in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from envforge.around.page.overview import HeatCell, Heatmap, HeatRow
from envforge.matrix.gpus import describe
from envforge.matrix.grid import MEANINGS, Grid, GridCell, column_name
from envforge.model.lock import Target

LETTERS: Final = {"pytorch": "p", "conda-forge": "c", "wheels": "w"}


def heatmap(grid: Grid, locked: Iterable[tuple[str, Target]]) -> Heatmap:
    """Lay a grid out, with the environments (name, what it is locked to) that stand in it."""
    standing = _standing(locked)
    rows = [
        HeatRow(torch=torch, cells=tuple(_cell(grid.at(torch, cuda), standing) for cuda in cudas))
        for cudas in (grid.cudas,)
        for torch in grid.torches
    ]
    shown = [row for row in rows if any(cell.state != "absent" for cell in row.cells)]
    present = {cell.state for row in shown for cell in row.cells}
    return Heatmap(
        platform=grid.platform,
        host=_host(grid),
        cudas=tuple(map(column_name, grid.cudas)),
        rows=tuple(shown),
        states=tuple(state for state in MEANINGS if state in present),
    )


def _standing(locked: Iterable[tuple[str, Target]]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, target in locked:
        minor = ".".join(target.torch.split(".")[:2])
        found[minor, column_name(target.cuda)].append(name)
    return found


def _host(grid: Grid) -> tuple[str, ...]:
    machine = grid.machine
    if machine is None or machine.driver is None:
        return ()
    names = [describe(gpu) for gpu in machine.gpus]
    gpus = (
        f"{names.count(name)} x {name}" if names.count(name) > 1 else name
        for name in dict.fromkeys(names)
    )
    return (machine.driver.label, *gpus)


def _cell(cell: GridCell, standing: dict[tuple[str, str], list[str]]) -> HeatCell:
    cuda = column_name(cell.cuda)
    return HeatCell(
        cuda=cuda,
        state=cell.state,
        letters="".join(LETTERS[source] for source in cell.sources),
        detail=_detail(cell),
        environments=tuple(standing.get((cell.torch, cuda), ())),
    )


def _detail(cell: GridCell) -> str:
    parts = [MEANINGS[cell.state]]
    if cell.reason:
        parts.append(cell.reason)
    for item in cell.carried:
        pythons = f", Python {_span(item.pythons)}" if item.pythons else ""
        parts.append(f"{item.source}: {item.torch}{pythons}")
    return "; ".join(parts)


def _span(pythons: tuple[str, ...]) -> str:
    return pythons[0] if len(pythons) == 1 else f"{pythons[0]} to {pythons[-1]}"

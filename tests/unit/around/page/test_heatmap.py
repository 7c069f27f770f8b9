"""The matrix of this machine, cell by cell in words."""

from __future__ import annotations

from fakes.locks import torch_target

from envforge import matrix
from envforge.around.page.heatmap import heatmap
from envforge.around.page.overview import HeatCell, Heatmap
from envforge.matrix.grid import MEANINGS

TABLES = matrix.load()
MACHINE = matrix.described("535.104.05", ("H100", "H100", "A100"), TABLES)


def cell(found: Heatmap, torch: str, cuda: str) -> HeatCell:
    [row] = [row for row in found.rows if row.torch == torch]
    return next(cell for cell in row.cells if cell.cuda == cuda)


def test_cells_are_those_of_the_grid() -> None:
    grid = matrix.grid(TABLES, MACHINE)
    found = heatmap(grid, ())
    states = {(torch, cuda): grid.at(torch, cuda).state for torch, cuda in grid.cells}
    shown = {(row.torch, item.cuda): item.state for row in found.rows for item in row.cells}

    assert shown == {(torch, str(cuda or "cpu")): state for (torch, cuda), state in states.items()}
    assert len(found.cudas) == len(found.rows[0].cells)


def test_an_environment_stands_in_its_cell() -> None:
    cpu = torch_target(torch="2.7.1", cuda=None)
    found = heatmap(
        matrix.grid(TABLES, MACHINE), [("a", torch_target()), ("b", torch_target()), ("c", cpu)]
    )
    assert cell(found, "2.0", "11.8").environments == ("a", "b")
    assert cell(found, "2.7", "cpu").environments == ("c",)
    assert sum(len(item.environments) for row in found.rows for item in row.cells) == 3


def test_a_cell_tells_where_from_and_for_which_python() -> None:
    found = cell(heatmap(matrix.grid(TABLES, MACHINE), ()), "2.0", "11.8")
    assert found.detail.startswith("runs; pytorch: 2.0.1, Python 3.8 to 3.11")
    assert found.letters.startswith("p")


def test_what_does_not_run_says_why() -> None:
    old = matrix.described("470.82.01", ("V100",), TABLES)
    found = cell(heatmap(matrix.grid(TABLES, old), ()), "2.7", "12.6")
    assert found.state == "blocked"
    assert "470.82.01" in found.detail


def test_the_host_is_driver_and_gpus() -> None:
    found = heatmap(matrix.grid(TABLES, MACHINE), ())
    assert found.host == ("driver 535.104.05", "2 x H100 (9.0)", "A100 (8.0)")


def test_without_a_driver_it_says_what_is_published() -> None:
    found = heatmap(matrix.grid(TABLES, None), ())
    assert found.host == ()
    assert found.states == ("exists", "absent")


def test_states_come_best_first() -> None:
    found = heatmap(matrix.grid(TABLES, MACHINE), ())
    assert list(found.states) == [state for state in MEANINGS if state in found.states]

"""Everything at a glance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envforge.errors import InvalidValue
from envforge.matrix import Matrix, grid
from envforge.matrix.grid import column_name
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Machine

Describe = Callable[..., Machine]


def test_without_a_machine_cells_say_what_exists(matrix: Matrix) -> None:
    found = grid(matrix, None)
    assert found.torches[0] == "2.15"
    assert found.torches[-1] == "1.8"
    assert [column_name(cuda) for cuda in found.cudas][:3] == ["cpu", "10.1", "10.2"]
    assert set(found.cells) == {(t, c) for t in found.torches for c in found.cudas}
    cell = found.at("2.0", CudaVersion(11, 8))
    assert cell.state == "exists"
    assert cell.sources == ("pytorch", "conda-forge", "wheels")
    assert found.at("2.0", CudaVersion(12, 4)).state == "absent"
    assert found.at("2.0", CudaVersion(12, 4)).sources == ()
    assert found.unrecorded == {"2.15": ("conda-forge",), "2.14": ("conda-forge",)}


def test_with_a_machine_cells_say_what_runs(matrix: Matrix, machine: Describe) -> None:
    found = grid(matrix, machine("535.104.05", "H200"))
    states = {
        ("2.5", "12.4"): "minor-version",
        ("2.5", "12.1"): "native",
        ("2.11", "13.0"): "blocked",
        ("1.13", "11.7"): "blocked",
        ("2.6", "11.8"): "unknown",
        ("2.2", "12.4"): "absent",
    }
    for (torch, cuda), state in states.items():
        assert found.at(torch, CudaVersion.parse(cuda)).state == state, (torch, cuda)
    assert found.at("2.11", None).state == "native"
    assert "580 is needed" in found.at("2.11", CudaVersion(13, 0)).reason
    assert found.at("1.13", CudaVersion(11, 7)).reason == "no kernels for H200 (9.0)"


def test_a_machine_without_a_driver_runs_cpu_builds(matrix: Matrix) -> None:
    found = grid(matrix, Machine(), torch="2.5")
    assert found.at("2.5.1", None).state == "native"
    assert found.at("2.5.1", CudaVersion(12, 4)).reason == "there is no NVIDIA driver here"


def test_a_cell_names_only_the_sources_in_its_state(matrix: Matrix, machine: Describe) -> None:
    """2.0.0 for CUDA 11.8 on a K40: only conda-forge has code for 3.5."""
    found = grid(matrix, machine("600.10", "K40"), torch="2.0.0")
    cell = found.at("2.0.0", CudaVersion(11, 8))
    assert cell.sources == ("conda-forge",)
    assert {item.source for item in cell.carried} == {"pytorch", "conda-forge", "wheels"}


@pytest.mark.parametrize(
    ("torch", "rows"),
    [
        ("2.0", ("2.0.1", "2.0.0")),
        ("2.0.1", ("2.0.1",)),
        ("v2.0.1", ("2.0.1",)),
        ("latest", ("2.15.0",)),
    ],
)
def test_rows(torch: str, rows: tuple[str, ...], matrix: Matrix) -> None:
    assert grid(matrix, None, torch=torch).torches == rows


def test_columns(matrix: Matrix, machine: Describe) -> None:
    cuda = CudaVersion(11, 8)
    assert grid(matrix, None, cuda=cuda).cudas == (cuda,)
    assert grid(matrix, None, cuda="cpu").cudas == (None,)
    assert grid(matrix, None, torch="2.0.1").cudas == (None, CudaVersion(11, 7), cuda)
    assert grid(matrix, None, cuda="auto").cudas == (matrix.cudas[-1],)
    here = machine("535.104.05", "H200")
    assert grid(matrix, here, cuda="auto").cudas == (CudaVersion(12, 9),)
    assert grid(matrix, Machine(), torch="2.0.1", cuda="auto").cudas == (cuda,)


def test_python_and_platform_filter(matrix: Matrix) -> None:
    found = grid(matrix, None, torch="2.0.1", python="3.12.1")
    assert found.python == "3.12"
    assert found.cudas == ()
    mac = grid(matrix, None, platform="osx-arm64")
    assert mac.cudas == (None,)
    windows = grid(matrix, None, torch="2.10", platform="win-64")
    assert windows.at("2.10.0", CudaVersion(12, 8)).sources == ("conda-forge", "wheels")


@pytest.mark.parametrize(
    "arguments",
    [
        {"torch": "2"},
        {"torch": "2.0.5"},
        {"torch": "9.9"},
        {"python": "3"},
        {"python": "x.y"},
        {"platform": "beos"},
    ],
)
def test_what_cannot_be_meant(arguments: dict[str, str], matrix: Matrix) -> None:
    with pytest.raises(InvalidValue):
        grid(matrix, None, **arguments)  # type: ignore[arg-type]

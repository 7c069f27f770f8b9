"""Machines described on the command line."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidValue
from envforge.matrix import Matrix, described


def test_driver_and_gpus(matrix: Matrix) -> None:
    machine = described("R535", ["H200", "h200"], matrix)
    assert machine.origin == "described"
    assert machine.driver is not None
    assert machine.driver.version == "535"
    assert [str(gpu.capability) for gpu in machine.gpus] == ["9.0", "9.0"]


def test_a_gpu_without_a_driver(matrix: Matrix) -> None:
    machine = described(None, ["T4"], matrix)
    assert machine.driver is None
    assert len(machine.gpus) == 1


@pytest.mark.parametrize(("driver", "gpus"), [("new", []), ("535", ["Voodoo 2"])])
def test_what_cannot_be_read(driver: str, gpus: list[str], matrix: Matrix) -> None:
    with pytest.raises(InvalidValue):
        described(driver, gpus, matrix)

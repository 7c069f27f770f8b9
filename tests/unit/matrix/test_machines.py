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


@pytest.mark.parametrize(
    ("driver", "gpu", "oldest"), [("535", "B200", "570.26"), ("515.43.04", "H100", "520.61.05")]
)
def test_a_driver_that_is_older_than_the_gpu(
    driver: str, gpu: str, oldest: str, matrix: Matrix
) -> None:
    with pytest.raises(InvalidValue, match=f"is older than `{gpu}`, which needs {oldest}"):
        described(driver, [gpu], matrix)


@pytest.mark.parametrize(("driver", "gpu"), [("570", "B200"), ("450.80.02", "V100"), ("418", "T4")])
def test_a_driver_that_knows_the_gpu(driver: str, gpu: str, matrix: Matrix) -> None:
    assert described(driver, [gpu], matrix).gpus

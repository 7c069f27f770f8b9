"""A machine that was described on the command line: `--driver 535.104.05 --gpu H200`."""

from __future__ import annotations

from collections.abc import Sequence

from envforge.errors import InvalidValue
from envforge.matrix import gpus
from envforge.matrix.drivers import DriverVersion, own_driver, support
from envforge.matrix.tables import Matrix
from envforge.model.machine import Driver, Gpu, Machine


def described(driver: str | None, names: Sequence[str], matrix: Matrix) -> Machine:
    """The machine behind a login node. Without a driver, it counts as new enough.

    Raises:
        InvalidValue: a driver version or GPU name that cannot be read, or a driver that is older
            than the GPU.
    """
    boards = tuple(gpus.find(name, matrix) for name in names)
    if driver is None:
        return Machine(gpus=boards, origin="described")
    DriverVersion.parse(driver)
    found = Driver(version=driver.strip().lstrip("Rr"))
    for board in boards:
        _refuse_older_than_gpu(found, board, matrix)
    return Machine(driver=found, gpus=boards, origin="described")


def _refuse_older_than_gpu(driver: Driver, gpu: Gpu, matrix: Matrix) -> None:
    """A card's driver support came with the first CUDA toolkit that knows its architecture.

    Systems on a chip have drivers of their own numbering, and are not judged.
    """
    row = matrix.architecture(gpu.capability)
    if row is None or row.integrated or row.first_toolkit is None:
        return
    oldest = own_driver(row.first_toolkit, "linux-64", matrix)
    if oldest is None or support(driver, row.first_toolkit, matrix) == "native":
        return
    raise InvalidValue(
        what="driver",
        value=driver.version,
        reason=f"is older than `{gpu.name}`, which needs {oldest} or newer",
        remedy="`nvidia-smi --query-gpu=name,driver_version --format=csv` there shows both",
    )

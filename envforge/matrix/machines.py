"""A machine that was described on the command line: `--driver 535.104.05 --gpu H200`."""

from __future__ import annotations

from collections.abc import Sequence

from envforge.matrix import gpus
from envforge.matrix.drivers import DriverVersion
from envforge.matrix.tables import Matrix
from envforge.model.machine import Driver, Machine


def described(driver: str | None, names: Sequence[str], matrix: Matrix) -> Machine:
    """The machine behind a login node. Without a driver, it counts as new enough.

    Raises:
        InvalidValue: a driver version or GPU name that cannot be read.
    """
    if driver is not None:
        DriverVersion.parse(driver)
    return Machine(
        driver=Driver(version=driver.strip().lstrip("Rr")) if driver is not None else None,
        gpus=tuple(gpus.find(name, matrix) for name in names),
        origin="described",
    )

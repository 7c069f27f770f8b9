"""The Python nobody asked for."""

from __future__ import annotations

import pytest

from envforge.matrix import Matrix
from envforge.matrix.existing import cells
from envforge.matrix.pythons import ranked
from envforge.model.cuda import CudaVersion


@pytest.mark.parametrize(
    ("torch", "cuda", "source", "expected"),
    [
        ("2.0.1", "11.8", "pytorch", "3.10 3.9 3.8 3.11"),  # 3.11 was new, and compile fails
        ("2.1.2", "11.8", "pytorch", "3.11 3.10 3.9 3.8"),
        ("1.13.1", "11.7", "pytorch", "3.10 3.9 3.8 3.7"),
        ("2.3.1", "12.1", "pytorch", "3.11 3.10 3.9 3.8 3.12"),
        ("2.3.0", "12.0", "conda-forge", "3.11 3.10 3.9 3.8 3.12"),
        ("2.4.1", "12.0", "conda-forge", "3.11 3.10 3.9 3.12 3.13"),
        ("2.6.0", "12.4", "wheels", "3.12 3.11 3.10 3.9 3.13"),
        ("2.9.1", "13.0", "wheels", "3.13 3.12 3.11 3.10 3.14"),
        ("2.10.0", "13.0", "wheels", "3.14 3.13 3.12 3.11 3.10"),
        ("2.15.0", "13.2", "wheels", "3.14 3.13 3.12 3.11 3.15"),
        ("1.8.0", "11.1", "pytorch", "3.9 3.8 3.7 3.6"),  # no minor before it in the tables
    ],
)
def test_order(torch: str, cuda: str, source: str, expected: str, matrix: Matrix) -> None:
    [cell] = cells(
        torch,
        CudaVersion.parse(cuda),
        matrix,
        platforms=("linux-64",),
        sources=(source,),  # type: ignore[arg-type]
    )
    assert ranked(cell, matrix) == tuple(expected.split())

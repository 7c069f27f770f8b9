"""Which Python, when nobody asked for one."""

from __future__ import annotations

from collections.abc import Sequence

from envforge.matrix import bad_pairs, versions
from envforge.matrix.existing import Cell
from envforge.matrix.tables import Matrix


def ranked(cell: Cell, matrix: Matrix) -> tuple[str, ...]:
    """The Pythons of a cell, the one to take first, then the others in the order to try.

    The best is the newest that torch already supported before this minor: with a Python that
    torch has only just begun to support, other packages are not there yet and torch.compile
    often is not either. Known-bad pairs come last.
    """
    settled = _settled(cell.torch, matrix)
    return tuple(sorted(cell.pythons, key=lambda python: _rank(python, cell, settled, matrix)))


def _rank(
    python: str, cell: Cell, settled: tuple[int, ...], matrix: Matrix
) -> tuple[bool, bool, Sequence[int]]:
    number = versions.key(python)
    is_bad = bad_pairs.is_avoided(
        cell.torch,
        cell.cuda,
        cell.source,
        python,
        tuple(build.platform for build in cell.builds),
        matrix=matrix,
    )
    is_new = number > settled
    newest_first = number if is_new else tuple(-part for part in number)
    return is_bad, is_new, newest_first


def _settled(torch: str, matrix: Matrix) -> tuple[int, ...]:
    """The newest Python with official support in the minor before this one.

    The oldest minor of the tables has none before it: its own counts.
    """
    own = versions.key(versions.minor(torch))
    before = [row for row in matrix.releases if versions.key(versions.minor(row.torch)) < own]
    row = before[-1] if before else matrix.releases[0]
    return versions.key(row.python_max)

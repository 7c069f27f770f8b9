"""Which Python, PyTorch, CUDA, driver and GPU combinations exist, and which run.

Pure functions over the tables in `data/` (see `README.md` there): `choose` decides for a
request, `judge_machine` refuses what cannot run, `grid` lays everything out for a person.
"""

from __future__ import annotations

from envforge.matrix.bad_pairs import constraints_for
from envforge.matrix.choose import choose
from envforge.matrix.existing import sources_for
from envforge.matrix.grid import Grid, grid
from envforge.matrix.machines import described
from envforge.matrix.reading import load
from envforge.matrix.running import judge_machine, runs_here, verdict
from envforge.matrix.tables import Matrix

__all__ = [
    "Grid",
    "Matrix",
    "choose",
    "constraints_for",
    "described",
    "grid",
    "judge_machine",
    "load",
    "runs_here",
    "sources_for",
    "verdict",
]

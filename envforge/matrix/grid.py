"""Everything at a glance: torch by CUDA, what exists and what runs on a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from envforge.errors import InvalidValue
from envforge.matrix import gpus, running, versions
from envforge.matrix.selecting import plain_torch, releases_of
from envforge.matrix.tables import Build, Matrix, minors
from envforge.model.cuda import CudaVersion, accelerator_label
from envforge.model.machine import PLATFORMS, Machine, Platform
from envforge.model.spec import AUTO, LATEST, SOURCES, Source

GridState = Literal["absent", "exists", "native", "minor-version", "unknown", "blocked"]
"""`exists`: no machine to judge by. `blocked`: exists, and does not run on the machine."""

MEANINGS: Final[Mapping[GridState, str]] = {
    "native": "runs",
    "minor-version": "runs by minor-version compatibility",
    "unknown": "driver is fine, kernels not recorded",
    "exists": "published",
    "blocked": "published, does not run on this machine",
    "absent": "does not exist",
}
"""What a state means to a reader, best first."""
_BEST_FIRST: Final = tuple(MEANINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What one source has for a cell."""

    source: Source
    torch: str
    """The release that was judged: the newest of the row in the best state."""
    state: GridState
    reason: str
    pythons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCell:
    """One torch (minor or release) and CUDA (None: CPU)."""

    torch: str
    cuda: CudaVersion | None
    carried: tuple[Carried, ...] = ()
    """In the order of `SOURCES`; empty: does not exist."""

    @property
    def state(self) -> GridState:
        """The best that any source has."""
        states = [item.state for item in self.carried]
        return min(states, key=_BEST_FIRST.index, default="absent")

    @property
    def reason(self) -> str:
        """Why it does not run, or is not known to; empty otherwise."""
        return next((item.reason for item in self.carried if item.state == self.state), "")

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources that have it in this state: what to ask for."""
        return tuple(item.source for item in self.carried if item.state == self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Rows are torch, newest first; columns are CUDA, CPU first."""

    torches: tuple[str, ...]
    cudas: tuple[CudaVersion | None, ...]
    cells: Mapping[tuple[str, CudaVersion | None], GridCell]
    platform: Platform
    python: str | None
    machine: Machine | None
    unrecorded: Mapping[str, tuple[str, ...]]
    """Row to sources whose builds nobody has looked at."""

    def at(self, torch: str, cuda: CudaVersion | None) -> GridCell:
        """The cell of a row and a column."""
        return self.cells[torch, cuda]


def grid(
    matrix: Matrix,
    machine: Machine | None,
    *,
    torch: str | None = None,
    cuda: CudaVersion | Literal["auto", "cpu"] | None = None,
    python: str | None = None,
    platform: str = "linux-64",
) -> Grid:
    """Lay the matrix out.

    Args:
        matrix: the tables.
        machine: to judge by; None: cells say only what exists.
        torch: `latest`, a minor (its releases become the rows) or a release; None: all minors.
        cuda: one column; `auto`: the newest in which something runs; None: all that matter.
        python: only what was built for it.
        platform: whose builds.

    Raises:
        InvalidValue: a torch, Python or platform that cannot be read.
    """
    where, wanted = _platform(platform), _python(python)
    rows = _rows(torch, matrix)
    columns = _columns(cuda, matrix)
    cells = {
        (row, column): _cell(row, releases, column, wanted, where, machine=machine, matrix=matrix)
        for row, releases in rows.items()
        for column in columns
    }
    shown = _that_matter(columns, cells, cuda)
    return Grid(
        torches=tuple(rows),
        cudas=shown,
        cells={key: cell for key, cell in cells.items() if key[1] in shown},
        platform=where,
        python=wanted,
        machine=machine,
        unrecorded=_unrecorded(rows, matrix),
    )


def _rows(torch: str | None, matrix: Matrix) -> dict[str, tuple[str, ...]]:
    """Row to its releases, newest first."""
    if torch is None:
        return {minor: releases_of(minor, matrix) for minor in reversed(minors(matrix.releases))}
    releases = releases_of(torch, matrix)
    if not releases:
        raise InvalidValue(
            what="torch version",
            value=torch,
            reason="is not one we know",
            remedy=f"the newest is {matrix.releases[-1].torch}; without `--torch` all are shown",
        )
    if torch == LATEST:
        releases = releases[:1]
    elif plain_torch(torch).count(".") == 2:
        releases = (plain_torch(torch),)
    return {release: (release,) for release in releases}


def _columns(
    cuda: CudaVersion | Literal["auto", "cpu"] | None, matrix: Matrix
) -> tuple[CudaVersion | None, ...]:
    if isinstance(cuda, CudaVersion):
        return (cuda,)
    if cuda == "cpu":
        return (None,)
    return matrix.cudas if cuda == AUTO else (None, *matrix.cudas)


def _cell(
    row: str,
    releases: Sequence[str],
    cuda: CudaVersion | None,
    python: str | None,
    platform: Platform,
    *,
    machine: Machine | None,
    matrix: Matrix,
) -> GridCell:
    builds = [
        build
        for release in releases
        for build in matrix.of(release)
        if build.cuda == cuda
        and build.platform == platform
        and (python is None or python in build.pythons)
    ]
    judged = [_carried(build, machine, matrix) for build in builds]
    best = [_best(judged, source) for source in SOURCES]
    return GridCell(torch=row, cuda=cuda, carried=tuple(item for item in best if item))


def _best(judged: Sequence[Carried], source: Source) -> Carried | None:
    own = [item for item in judged if item.source == source]
    return min(own, key=lambda item: _BEST_FIRST.index(item.state), default=None)


def _carried(build: Build, machine: Machine | None, matrix: Matrix) -> Carried:
    state, reason = _judged(build, machine, matrix)
    return Carried(
        source=build.source,
        torch=build.torch,
        state=state,
        reason=reason,
        pythons=build.pythons,
    )


def _judged(build: Build, machine: Machine | None, matrix: Matrix) -> tuple[GridState, str]:
    if machine is None:
        return "exists", ""
    found = running.verdict(build.cuda, build.architectures, machine, matrix, build.platform)
    if found.state in {"native", "minor-version", "unknown"}:
        return found.state, found.reason
    if found.state == "no-kernels" and found.gpu:
        return "blocked", f"no kernels for {gpus.describe(found.gpu)}"
    return "blocked", found.reason


def _that_matter(
    columns: Sequence[CudaVersion | None],
    cells: Mapping[tuple[str, CudaVersion | None], GridCell],
    asked: CudaVersion | Literal["auto", "cpu"] | None,
) -> tuple[CudaVersion | None, ...]:
    """All columns with something in them; of `auto` the newest that runs, or else the newest."""
    if asked not in {None, AUTO}:
        return tuple(columns)
    filled = {key[1] for key, cell in cells.items() if cell.carried}
    if asked is None:
        return tuple(column for column in columns if column in filled)
    runs = {
        key[1]
        for key, cell in cells.items()
        if cell.state in {"native", "minor-version", "unknown"}
    }
    return tuple(column for column in columns if column in (runs or filled))[-1:]


def _unrecorded(rows: Mapping[str, Sequence[str]], matrix: Matrix) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row, releases in rows.items():
        unknown = {
            source
            for release in matrix.releases
            if release.torch in releases
            for source in release.unrecorded
        }
        if unknown:
            found[row] = tuple(source for source in SOURCES if source in unknown)
    return found


def _platform(text: str) -> Platform:
    found = next((platform for platform in PLATFORMS if platform == text), None)
    if found is None:
        raise InvalidValue(
            what="platform",
            value=text,
            reason="is not one that torch is built for here",
            remedy=f"one of {', '.join(PLATFORMS)}",
        )
    return found


def _python(text: str | None) -> str | None:
    if text is None:
        return None
    parts = text.strip().split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        raise InvalidValue(
            what="Python version",
            value=text,
            reason="is not of the form 3.11",
            remedy="give major and minor, for example `--python 3.11`",
        )
    return versions.minor(text.strip())


def column_name(cuda: CudaVersion | None) -> str:
    """`11.8`, or `cpu`."""
    return str(cuda) if cuda else accelerator_label(None)

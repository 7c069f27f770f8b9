"""What the page of `report` shows: display-ready, and the same for the same facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from envforge.matrix.grid import GridState

_PROSE: Final = ("`", "; ", ", ")
"""What stands in a remedy that says more than a command."""

Tone = Literal["good", "warn", "bad", "quiet"]
"""How a word is meant; beside it there is always the word itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A word about how something is."""

    text: str
    tone: Tone
    why: str = ""
    remedy: str = ""
    """A command; empty: nothing to mend, or no one command does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRow:
    """One environment."""

    name: str
    state: Badge
    torch: str = ""
    """Empty, like what follows: not locked, or not told by the lock."""
    accelerator: str = ""
    python: str = ""
    driver: str = ""
    """The oldest driver that runs it."""
    platforms: tuple[str, ...] = ()
    packages: int = 0
    """On this machine's platform, or the first that is locked."""
    prefix: str = ""
    verified: Badge
    verified_at: str = ""
    """`2026-01-31T12:00:00Z`; empty: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """One torch and CUDA."""

    cuda: str
    state: GridState
    letters: str
    """Of the sources that have it in this state."""
    detail: str
    """A sentence."""
    environments: tuple[str, ...] = ()
    """Those that are locked to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatRow:
    """One torch minor."""

    torch: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """What exists, and what runs on this machine."""

    platform: str
    host: tuple[str, ...]
    """Driver and GPUs; empty: no driver here."""
    cudas: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    states: tuple[GridState, ...]
    """Those that occur, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRow:
    """One package's move."""

    package: str
    sign: Literal["+", "-", "~"]
    before: str
    after: str
    note: str
    """`older`, platforms where it is not all of them."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRow:
    """One fact about the GPU build that is not the same any more."""

    fact: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChange:
    """What became of one environment's lock."""

    name: str
    kind: Literal["new", "gone", "moved", "unknown"]
    summary: str
    facts: tuple[FactRow, ...] = ()
    moves: tuple[MoveRow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The locks since a revision of git."""

    since: str
    commit: str = ""
    """The first twelve digits; empty: there is no such revision."""
    problem: str = ""
    """Why nothing could be compared."""
    same: int = 0
    """So many environments have not moved."""
    environments: tuple[LockChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A part of the disk, and where its rectangle lies, in percent of the picture."""

    repo: str
    users: str
    part: Literal["shared", "own", "reclaimable"]
    bytes: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Who uses the store."""

    total: int = 0
    shared: int = 0
    own: int = 0
    reclaimable: int = 0
    tiles: tuple[Tile, ...] = ()
    problem: str = ""
    """Why nothing is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """One thing that is wrong."""

    check: str
    severity: Literal["error", "warning"]
    message: str
    remedy: str

    @property
    def is_command(self) -> bool:
        """The remedy is one command and nothing else, so it may be copied as it is."""
        return self.remedy.startswith("envforge ") and not any(
            mark in self.remedy for mark in _PROSE
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRow:
    """How a verification ended."""

    name: str
    result: Badge
    level: str
    at: str
    """`2026-01-31T12:00:00Z`; empty: not known."""
    is_outdated: bool
    """The lock is another one by now."""
    passed: int
    """Checks that proved their claim."""
    unproven: int
    findings: tuple[FindingRow, ...]
    proven: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One measured case."""

    name: str
    case: str
    metric: str
    is_outdated: bool = False
    """The lock is another one by now."""
    value: str
    order: float
    """The value as a number, to sort by."""
    spread: str
    verdict: Badge
    low: float = 0.0
    """The interval's ends and its middle, in percent of the widest bar of its metric."""
    middle: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything that the page shows."""

    version: str
    """Of envforge."""
    environments: tuple[EnvironmentRow, ...]
    heatmap: Heatmap
    changes: Changes
    disk: Disk
    verified: tuple[VerifyRow, ...]
    benchmarks: tuple[BenchRow, ...] = ()

    @property
    def ready(self) -> int:
        """Environments that are installed as locked."""
        return sum(item.state.tone == "good" for item in self.environments)

    @property
    def troubled(self) -> int:
        """Environments with a problem, or whose last verification failed."""
        return sum(
            item.state.tone in {"warn", "bad"} or item.verified.tone == "bad"
            for item in self.environments
        )

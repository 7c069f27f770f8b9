"""What we need from outside, as Protocols; `adapters/` holds the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from envforge.model.lock import LockedPackage
from envforge.model.machine import Machine
from envforge.model.solving import CondaConflict, CondaProblem, CondaSolution, WheelProblem


class Reporter(Protocol):
    """Is told how far work is, and shows it or not."""

    def step(self, title: str) -> AbstractContextManager[None]:
        """A step begins, and ends with the block: `solving linux-64`."""

    def progress(self, done: int, total: int | None, unit: str = "", detail: str = "") -> None:
        """How far the present step is; `unit` is `bytes`, `packages` or another plural."""

    def note(self, message: str) -> None:
        """Something a person wants to know: a choice made for them, and why."""

    def warn(self, message: str) -> None:
        """Something a person should look at, though work goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a program ended."""

    status: int
    stdout: str
    stderr: str


class Processes(Protocol):
    """Starts programs: never a shell, always an explicit environment."""

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float | None,
        cwd: Path | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> Completed:
        """Run to the end and capture the output as UTF-8.

        Raises:
            ToolMissing: the program does not exist.
            ToolFailed: it ran past `timeout` seconds, or (with `check`) ended with another
                status than 0.
        """


class MachineProbe(Protocol):
    """Looks at the machine we run on."""

    def look(self) -> Machine:
        """The driver and the GPUs; milliseconds, never raises for a broken driver."""


class CondaSolver(Protocol):
    """Turns specs into records."""

    def solve(self, problems: Sequence[CondaProblem]) -> tuple[CondaSolution | CondaConflict, ...]:
        """Solve all problems, side by side; answers in the order of the problems.

        Raises:
            Unreachable: a channel cannot be read; named with its address.
        """


class WheelResolver(Protocol):
    """Turns requirements into wheels with hashes."""

    def resolve(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        """Pin everything, dependencies included, wheels only.

        Raises:
            Unsolvable: with the resolver's explanation.
            Unreachable: an index cannot be read.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOutcome:
    """What a conda transaction did."""

    link_mode: Literal["hardlink", "reflink", "copy", "none"]
    downloaded: int


class CondaInstaller(Protocol):
    """Makes a prefix hold exactly the packages given."""

    def link(
        self,
        packages: Sequence[LockedPackage],
        prefix: Path,
        *,
        platform: str,
        reinstall: frozenset[str] = frozenset(),
        progress: Callable[[int, int | None, str, str], None],
    ) -> LinkOutcome:
        """Fetch, verify by sha256, and link from the package cache; other packages are removed.

        Raises:
            CorruptArchive: an archive is not what the lock names.
            Unreachable: an archive cannot be fetched, or is not cached and we are offline.
        """


class WheelInstaller(Protocol):
    """Puts wheels into a prefix that has an interpreter."""

    def install(
        self, wheels: Sequence[LockedPackage], prefix: Path, *, remove: Sequence[str] = ()
    ) -> None:
        """Install exactly these files, checked by sha256, without resolving anything.

        Raises:
            CorruptArchive, Unreachable, ToolFailed
        """

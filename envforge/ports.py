"""What we need from outside, as Protocols; `adapters/` holds the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from envforge.model.lock import LockedPackage
from envforge.model.machine import Machine
from envforge.model.prefix import (
    ArchiveFacts,
    Disk,
    InstallPlan,
    InstallRecord,
    PrefixContents,
    PrefixState,
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is put up with from a program that nobody vouches for: it may be broken in any way.

    It runs in a session of its own, gets no descriptor of ours, and whatever it leaves behind is
    killed. Both signs are words in what it writes to standard output.
    """

    first_sign: str
    """Proof that it does what it was started for."""
    within: float
    """Seconds in which `first_sign` must come."""
    last_sign: str
    """Nothing of interest comes after this; then it must end soon."""
    most_output: int = 64 * 2**20
    """Bytes; one that writes more is stopped."""


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
        guard: Guard | None = None,
    ) -> Completed:
        """Run to the end and capture the output as UTF-8.

        With `guard` it ends within `timeout` and a few seconds, whatever the program does.

        Raises:
            ToolMissing: the program does not exist.
            ToolFailed: the system cannot start it, it ran past `timeout` seconds, did not keep
                to `guard`, or (with `check`) ended with another status than 0.
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


class ChannelIndex(Protocol):
    """What channels hold, apart from any solve; of a problem, platform and channels count."""

    def versions(self, problem: CondaProblem, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """Every version of these packages; none of a name that no channel has.

        Raises:
            Unreachable: a channel cannot be read.
        """

    def known(
        self, problem: CondaProblem, packages: Sequence[LockedPackage]
    ) -> tuple[LockedPackage, ...]:
        """The channels' own records of exactly these packages; those that are gone are left out.

        Raises:
            Unreachable: a channel cannot be read.
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
    skipped_scripts: tuple[str, ...] = ()
    """Packages whose post-link script was not run, since that was not allowed."""


class CondaInstaller(Protocol):
    """Makes a prefix hold exactly the packages given."""

    def check(self, packages: Sequence[LockedPackage]) -> None:
        """See, before anything is changed, whether all of them can be had at all.

        Raises:
            Unreachable: some are not cached and we are offline, or a folder is missing; all named.
        """

    def link(
        self,
        packages: Sequence[LockedPackage],
        prefix: Path,
        *,
        platform: str,
        reinstall: frozenset[str] = frozenset(),
        resume: bool = False,
        progress: Callable[[int, int | None, str, str], None],
    ) -> LinkOutcome:
        """Fetch, verify by sha256, and link from the package cache; other packages are removed.

        `resume`: an install was interrupted here, so records are gone over again.

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


class Prefixes(Protocol):
    """Reads prefixes, and writes what in them is ours."""

    def read(self, prefix: Path) -> PrefixContents:
        """What is there.

        Raises:
            BrokenPrefix: something that is no environment is in the way.
            InvalidFile: a package record cannot be read.
        """

    def state(self, prefix: Path) -> PrefixState:
        """How far it is; does not read package records, so a damaged environment has one, too."""

    def hold(self, prefix: Path, waiting: Callable[[str], None]) -> AbstractContextManager[None]:
        """Keep other processes from changing the prefix; look again afterwards."""

    def begin(self, prefix: Path, record: InstallRecord) -> None:
        """Mark the prefix as incomplete, on disk: before the first change."""

    def clear(self, prefix: Path) -> None:
        """Drop what an interruption left and no installer can take out."""

    def describe(
        self,
        prefix: Path,
        plan: InstallPlan,
        *,
        packages: Sequence[LockedPackage],
        variables: Mapping[str, str],
        before: Sequence[str],
        requested: Sequence[str],
    ) -> None:
        """Write activation variables and history.

        `packages`: all of the lock, for the first revision; `before`: names of the variables of
        the last install; `requested`: the specs of environment.yml.
        """

    def finish(self, prefix: Path, record: InstallRecord) -> None:
        """Mark the prefix as complete: the last thing that is written."""

    def delete(self, prefix: Path) -> None:
        """Remove the whole prefix."""


class EnvironmentRegistry(Protocol):
    """conda's list of environments."""

    def add(self, prefix: Path) -> None:
        """Put a prefix in.

        Raises:
            FileNotUsable: the list cannot be written.
        """

    def remove(self, prefix: Path) -> None:
        """Take a prefix out.

        Raises:
            FileNotUsable: the list cannot be written.
        """


class SpaceProbe(Protocol):
    """Knows sizes, before and after."""

    def disk(self, folder: Path) -> Disk:
        """What the filesystem that the folder is, or will be, on has left."""

    def archives(
        self, packages: Sequence[LockedPackage], *, measure: bool
    ) -> Mapping[str, ArchiveFacts]:
        """What is known of these archives, by address; quick, never raises.

        `measure`: add up what cached packages unpack to, too; needed where they are copied.
        """

    def caches(self) -> tuple[Path, Path]:
        """Where packages are unpacked: conda's, and wheels."""


class BytecodeCompiler(Protocol):
    """Writes `__pycache__` for packages that bring none."""

    def compile(
        self, prefix: Path, packages: Sequence[LockedPackage], *, wait: bool
    ) -> Literal["compiled", "background", "skipped"]:
        """Compile the modules of these packages, at once or by a process that stays behind."""


class VersionRules(Protocol):
    """Compares versions as conda and pip do."""

    def fits(self, spec: str, package: LockedPackage) -> bool | None:
        """Whether a package is in a range, as its own manager writes it; None: not readable.

        Of conda `>=1.2,<2` or `>=1.2 py310_*`, of pip a PEP 440 specifier; empty: any.
        """

    def is_newer(self, version: str, than: str, *, manager: str) -> bool | None:
        """Whether a version is newer; None: one of them cannot be read."""

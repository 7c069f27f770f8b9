"""What can go wrong, as one tree.

    EnvforgeError                         exit code   code (stable, for --json)
    ├── UsageError                        2
    │   ├── InvalidValue                  2           invalid-value
    │   ├── InvalidFile                   2           invalid-file
    │   ├── EnvironmentExists             2           environment-exists
    │   └── NoSuchEnvironment             2           no-such-environment
    ├── MatrixError                       3
    │   ├── NoMatchingBuild               3           no-matching-build
    │   ├── DriverTooOld                  3           driver-too-old
    │   ├── NoKernelsForGpu               3           no-kernels-for-gpu
    │   └── CannotRunHere                 3           cannot-run-here
    ├── LockError                         4
    │   ├── Unsolvable                    4           unsolvable
    │   ├── WrongBuild                    4           wrong-build
    │   ├── TooManyMoves                  4           too-many-moves
    │   └── StaleLock                     4           stale-lock
    ├── InstallError                      5
    │   ├── NotEnoughSpace                5           not-enough-space
    │   ├── CorruptArchive                5           corrupt-archive
    │   ├── BrokenPack                    5           broken-pack
    │   ├── NotPublished                  5           not-published
    │   └── BrokenPrefix                  5           broken-prefix
    ├── CacheError                        6           cache
    │   ├── NoStore                       6           no-store
    │   ├── UntrustedStore                6           untrusted-store
    │   ├── NotStoreOwner                 6           not-store-owner
    │   ├── WrongBytes                    6           wrong-bytes
    │   ├── NotCached                     6           not-cached
    │   ├── NoSuchModel                   6           no-such-model
    │   ├── HostileRepo                   6           hostile-repo
    │   ├── ViewRefused                   6           view-refused
    │   ├── ServiceRefused                6           service-refused
    │   └── StoreFull                     6           store-full
    └── OutsideError                      7
        ├── ToolFailed                    7           tool-failed
        ├── ToolMissing                   7           tool-missing
        ├── Unreachable                   7           unreachable
        └── FileNotUsable                 7           file-not-usable

Fields are the facts, ``str()`` is the sentence (lower case, no full stop, values in
backquotes), ``hint`` the remedy. An ``EnvforgeError`` is expected; anything else is
a bug, keeps its traceback and ends with exit code 70.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

_USER_PART: Final = re.compile(r"(?<=://)[^/\s`'\"]*@")
_TOKEN: Final = re.compile(r"(://[^\s`'\"]*?/t/)[^/\s`'\"]+")
"""conda's own form, in an address: `/t/TOKEN`."""


def _without_credentials(text: str) -> str:
    return _TOKEN.sub(r"\1<secret>", _USER_PART.sub("<secret>@", text))


class EnvforgeError(Exception):
    """An expected failure: it names its cause and, where there is one, the remedy."""

    exit_code: ClassVar[int] = 70
    code: ClassVar[str] = "error"

    @property
    def hint(self) -> str | None:
        """What to do about it, or None where nothing general can be said."""
        return None


class UsageError(EnvforgeError):
    """The command line, a setting or a file a person wrote is wrong."""

    exit_code = 2
    code = "usage"


@dataclass(eq=False)
class InvalidValue(UsageError):
    """A value that cannot mean what it is used for."""

    code = "invalid-value"

    what: str
    value: str
    reason: str
    remedy: str | None = None

    def __post_init__(self) -> None:
        """What stands in a file may be an address with its credentials."""
        self.value = _without_credentials(self.value)
        self.reason = _without_credentials(self.reason)

    def __str__(self) -> str:
        return f"{self.what} `{self.value}` {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class InvalidFile(UsageError):
    """A file that cannot be read as what it should be; every mistake at once."""

    code = "invalid-file"

    path: str
    mistakes: tuple[str, ...]
    remedy: str | None = None

    def __post_init__(self) -> None:
        """What stands in a file may be an address with its credentials."""
        self.mistakes = tuple(map(_without_credentials, self.mistakes))

    def __str__(self) -> str:
        if len(self.mistakes) == 1:
            return f"`{self.path}`: {self.mistakes[0]}"
        return f"`{self.path}`:" + "".join(f"\n  {mistake}" for mistake in self.mistakes)

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class EnvironmentExists(UsageError):
    """A second, different request gives a folder name that is taken."""

    code = "environment-exists"

    folder: str
    differences: tuple[str, ...] = ()
    """Empty: what it was made from does not matter."""
    remedy: str = "choose another project name, or replace it with `--force`"

    def __str__(self) -> str:
        if not self.differences:
            return f"`{self.folder}` exists already"
        listed = "".join(f"\n  {line}" for line in self.differences)
        return f"`{self.folder}` exists and was made from another request:{listed}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class NoSuchEnvironment(UsageError):
    """No folder, lock or prefix goes by this name."""

    code = "no-such-environment"

    name: str
    """Empty: any."""
    searched: str
    nearest: tuple[str, ...] = ()
    also: str = ""
    """What else such a name may be meant as, and how that is written."""

    def __str__(self) -> str:
        if not self.name:
            return f"no environment of `{self.searched}` is installed"
        return f"no environment `{self.name}` in `{self.searched}`"

    @property
    def hint(self) -> str | None:
        also = f"; {self.also}" if self.also else ""
        if self.nearest:
            return f"did you mean {' or '.join(f'`{name}`' for name in self.nearest)}?{also}"
        return f"`envforge list` shows what is there{also}"


class MatrixError(EnvforgeError):
    """The combination asked for does not exist, or cannot run on the machine it is for."""

    exit_code = 3
    code = "matrix"


@dataclass(eq=False)
class NoMatchingBuild(MatrixError):
    """No published build of torch meets every constraint at once."""

    code = "no-matching-build"

    wanted: str
    reason: str
    nearest: tuple[str, ...] = ()
    """Commands to copy, nearest first."""

    def __str__(self) -> str:
        return f"no PyTorch build for {self.wanted}: {self.reason}"

    @property
    def hint(self) -> str | None:
        if not self.nearest:
            return "`envforge matrix` shows what exists"
        return "nearest that exist:" + "".join(f"\n  {command}" for command in self.nearest)


@dataclass(eq=False)
class DriverTooOld(MatrixError):
    """The GPU driver cannot run the CUDA the build is made for."""

    code = "driver-too-old"

    driver: str
    cuda: str
    minimum: str
    """The oldest driver that runs it."""
    nearest: tuple[str, ...] = ()
    package: str | None = None
    """The forward-compatibility package that helps here, `cuda-compat-13-0`; None: none does."""

    def __str__(self) -> str:
        return f"driver {self.driver} cannot run CUDA {self.cuda}: it needs {self.minimum} or newer"

    @property
    def hint(self) -> str | None:
        update = f"update the driver to {self.minimum}"
        if self.package:
            update += f", or put `{self.package}` before it and use `--force`"
        if not self.nearest:
            return update if self.package else f"{update}, or `--force` to go on anyway"
        commands = "".join(f"\n  {command}" for command in self.nearest)
        return f"{update}, or take what this driver runs:{commands}"


@dataclass(eq=False)
class NoKernelsForGpu(MatrixError):
    """The build holds no machine code, and no usable PTX, for a GPU."""

    code = "no-kernels-for-gpu"

    gpu: str
    capability: str
    build: str
    architectures: tuple[str, ...]
    reason: str = ""
    nearest: tuple[str, ...] = ()

    def __str__(self) -> str:
        built = ", ".join(self.architectures)
        why = f"; {self.reason}" if self.reason else ""
        return (
            f"{self.build} has no kernels for `{self.gpu}`"
            f" (compute capability {self.capability}): it is built for {built}{why}"
        )

    @property
    def hint(self) -> str | None:
        if not self.nearest:
            return "`envforge matrix --gpu NAME` shows what runs on this GPU"
        return "what runs on it:" + "".join(f"\n  {command}" for command in self.nearest)


@dataclass(eq=False)
class CannotRunHere(MatrixError):
    """What is locked cannot run on the machine it would be installed on; nothing was fetched."""

    code = "cannot-run-here"

    name: str
    problems: tuple[str, ...]
    """What verify would find, one sentence each."""
    remedies: tuple[str, ...] = ()
    """Commands, or clauses where there is none."""

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"`{self.name}` cannot run here: {self.problems[0]}"
        return f"`{self.name}` cannot run here:" + "".join(f"\n  {item}" for item in self.problems)

    @property
    def hint(self) -> str | None:
        listed = "".join(f"\n  {item}" for item in self.remedies)
        ways = f"what does:{listed}\n" if listed else ""
        return f"{ways}`--force` goes on nevertheless"


class LockError(EnvforgeError):
    """A lock cannot be made, or no longer fits what it was made from."""

    exit_code = 4
    code = "lock"


@dataclass(eq=False)
class Unsolvable(LockError):
    """The channels or indexes hold no set of packages that fits together."""

    code = "unsolvable"

    platform: str
    explanation: str
    """The solver's own reasons, shortened to what a person can act on."""
    nearest: tuple[str, ...] = ()
    """Commands that were tried and do solve, nearest first."""
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Package names that no channel has, and what may have been meant."""

    def __str__(self) -> str:
        indented = self.explanation.replace("\n", "\n  ")
        return f"no set of packages fits together on {self.platform}:\n  {indented}"

    @property
    def hint(self) -> str | None:
        if not self.nearest:
            return "loosen a version, or leave a package out"
        return "tried, and does solve:" + "".join(f"\n  {command}" for command in self.nearest)


@dataclass(eq=False)
class WrongBuild(LockError):
    """The solver chose another accelerator than was asked for."""

    code = "wrong-build"

    platform: str
    wanted: str
    found: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"asked for {self.wanted} on {self.platform}, and the solve gave {self.found}"

    @property
    def hint(self) -> str | None:
        return (
            self.remedy or "a package asked for forces another build; leave packages out to find it"
        )


@dataclass(eq=False)
class TooManyMoves(LockError):
    """An update would move more than it was allowed to; nothing was written."""

    code = "too-many-moves"

    name: str
    """The environment."""
    asked: tuple[str, ...]
    """The packages that were to move; empty: all."""
    allowed: int
    moves: tuple[str, ...]
    """Names of the other packages that would change, come or go."""
    within: tuple[str, ...] = ()
    """`numpy=1.26.4`: what can be had without moving anything else; empty: nothing newer."""

    def __str__(self) -> str:
        shown = ", ".join(self.moves[:_REASONS])
        more = len(self.moves) - _REASONS
        listed = f"{shown} and {more} more" if more > 0 else shown
        noun = "other" if self.asked else "package"
        number = f"{len(self.moves)} {noun}{'' if len(self.moves) == 1 else 's'}"
        allowed = f"{self.allowed} {'is' if self.allowed == 1 else 'are'} allowed"
        return f"updating `{self.name}` moves {number}, and {allowed}: {listed}"

    @property
    def hint(self) -> str | None:
        see = "`--dry-run` without `--max-moves` shows all"
        if not self.within:
            return f"what was asked for cannot be had without them; {see}" if self.asked else see
        return f"`envforge update {self.name} {' '.join(self.within)}` moves nothing else; {see}"


_REASONS = 5
"""Told one by one; more are counted."""


@dataclass(eq=False)
class StaleLock(LockError):
    """The lock was made from other inputs than those that lie beside it."""

    code = "stale-lock"

    path: str
    reasons: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        shown = list(self.reasons[:_REASONS])
        if len(self.reasons) > _REASONS:
            shown.append(f"and {len(self.reasons) - _REASONS} more reasons")
        return f"`{self.path}` is not current: {'; '.join(shown)}"

    @property
    def hint(self) -> str | None:
        return self.remedy


class InstallError(EnvforgeError):
    """A lock cannot become a prefix."""

    exit_code = 5
    code = "install"


@dataclass(eq=False)
class NotEnoughSpace(InstallError):
    """The disk, its inodes or a quota would be exhausted; nothing was written."""

    code = "not-enough-space"

    path: str
    resource: str
    """`bytes`, `inodes`, `quota bytes` or `quota files`."""
    needed: int
    available: int

    def __str__(self) -> str:
        return (
            f"`{self.path}` has {_amount(self.available, self.resource)} free,"
            f" and {_amount(self.needed, self.resource)} are needed"
        )

    @property
    def hint(self) -> str | None:
        return "free space there, or choose another place with `--prefix` or `pkgs_dirs`"


def _amount(number: int, resource: str) -> str:
    name = resource.removeprefix("quota ")
    of_quota = " of quota" if name != resource else ""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if name == "bytes" and number >= size:
            return f"{number / size:.1f} {unit}{of_quota}"
    return f"{number} {name}{of_quota}"


@dataclass(eq=False)
class CorruptArchive(InstallError):
    """What was downloaded is not what the lock names; nothing of it was used."""

    code = "corrupt-archive"

    url: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"`{self.url}` is not what the lock names: expected {self.expected}, got {self.found}"
        )

    @property
    def hint(self) -> str | None:
        return "try again; if it stays so, the channel or a proxy serves other bytes"


@dataclass(eq=False)
class BrokenPack(InstallError):
    """An archive that is not, byte for byte, what `pack` wrote; nothing of it was used."""

    code = "broken-pack"

    path: str
    reason: str
    remedy: str = "copy it again, and compare its sha256 with the one that `envforge pack` told"

    def __str__(self) -> str:
        return f"`{self.path}` is no pack that can be used: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class NotPublished(InstallError):
    """A version is not good enough, or cannot be where it should: nobody was switched to it."""

    code = "not-published"

    name: str
    root: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"`{self.name}` was not published under `{self.root}`: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class BrokenPrefix(InstallError):
    """A directory that is in the way, or a prefix that cannot be repaired."""

    code = "broken-prefix"

    prefix: str
    reason: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"`{self.prefix}`: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


class CacheError(EnvforgeError):
    """The shared model cache cannot do what was asked."""

    exit_code = 6
    code = "cache"


@dataclass(eq=False)
class NoStore(CacheError):
    """There is no store where one is expected."""

    code = "no-store"

    path: str
    reason: str = "does not exist"

    def __str__(self) -> str:
        return f"store `{self.path}` {self.reason}"

    @property
    def hint(self) -> str | None:
        return "`envforge cache init` makes one; `ENVFORGE_STORE` or `--store` names another"


@dataclass(eq=False)
class UntrustedStore(CacheError):
    """Somebody else could put files, or links to files, into it; nothing was read or written."""

    code = "untrusted-store"

    path: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"`{self.path}` is not safe as a store: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class NotStoreOwner(CacheError):
    """Only who owns a store may remove from it, or give it files of their own."""

    code = "not-store-owner"

    path: str
    owner: str
    task: str = "remove files from it"

    def __str__(self) -> str:
        return f"store `{self.path}` belongs to `{self.owner}`, who alone may {self.task}"

    @property
    def hint(self) -> str | None:
        return f"run it as `{self.owner}`; `--dry-run` shows what would go"


@dataclass(eq=False)
class WrongBytes(CacheError):
    """A file is not what its hash says; it was put aside and not used."""

    code = "wrong-bytes"

    file: str
    expected: str
    found: str
    kept: str = ""
    """Where it was put aside."""

    def __str__(self) -> str:
        return (
            f"`{self.file}` has other bytes than locked: expected {self.expected}, got {self.found}"
        )

    @property
    def hint(self) -> str | None:
        kept = f"; what came is kept in `{self.kept}`" if self.kept else ""
        return f"try again; if it stays so, the hub or a proxy serves other bytes{kept}"


@dataclass(eq=False)
class NotCached(CacheError):
    """Something is not on this machine, and the network may not be asked."""

    code = "not-cached"

    what: str
    searched: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        places = " and ".join(f"`{place}`" for place in self.searched)
        return f"{self.what} is not in {places}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class NoSuchModel(CacheError):
    """The hub has no such repository, revision or file, or does not show it to us."""

    code = "no-such-model"

    what: str
    reason: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class HostileRepo(CacheError):
    """A repository names a file that would leave its folder; nothing was written."""

    code = "hostile-repo"

    repo: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"repository `{self.repo}` lists {self.path!r}, which {self.reason}"

    @property
    def hint(self) -> str | None:
        return "do not use it; `ignore` in models.yml leaves single files out"


@dataclass(eq=False)
class ViewRefused(CacheError):
    """A view cannot be made there."""

    code = "view-refused"

    path: str
    reason: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"no view at `{self.path}`: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class ServiceRefused(CacheError):
    """The service that makes hardlinks for others cannot be started, or does not do it."""

    code = "service-refused"

    path: str
    reason: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"no service for `{self.path}`: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class StoreFull(CacheError):
    """The store's disk, its inodes or a quota would be exhausted; nothing was fetched."""

    code = "store-full"

    path: str
    resource: str
    """`bytes`, `inodes`, `quota bytes` or `quota files`."""
    needed: int
    available: int

    def __str__(self) -> str:
        return (
            f"`{self.path}` has {_amount(self.available, self.resource)} free,"
            f" and {_amount(self.needed, self.resource)} are needed"
        )

    @property
    def hint(self) -> str | None:
        return "`envforge cache gc --dry-run` shows what could go; `--store` names another disk"


class OutsideError(EnvforgeError):
    """A tool, a network or a filesystem outside envforge failed."""

    exit_code = 7
    code = "outside"


@dataclass(eq=False)
class ToolFailed(OutsideError):
    """A program that was started ended badly."""

    code = "tool-failed"

    command: tuple[str, ...]
    status: int | str
    """Exit status, or a word such as `timeout`."""
    output: str
    """The end of what it wrote to standard error."""
    remedy: str | None = None

    def __str__(self) -> str:
        program = self.command[0].rpartition("/")[2]
        tail = "".join(f"\n  {line}" for line in self.output.strip().splitlines()[-12:])
        return f"`{program}` failed ({self.status}){':' if tail else ''}{tail}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class ToolMissing(OutsideError):
    """A program or an optional package that is needed is not there."""

    code = "tool-missing"

    tool: str
    needed_for: str
    remedy: str

    def __str__(self) -> str:
        return f"`{self.tool}` is needed for {self.needed_for}, and is not installed"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class Unreachable(OutsideError):
    """A channel, an index or a hub that cannot be read."""

    code = "unreachable"

    url: str
    reason: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"cannot read `{self.url}`: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy


@dataclass(eq=False)
class FileNotUsable(OutsideError):
    """The filesystem refused: permissions, read-only, full, or not what it should be."""

    code = "file-not-usable"

    path: str
    reason: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"cannot use `{self.path}`: {self.reason}"

    @property
    def hint(self) -> str | None:
        return self.remedy

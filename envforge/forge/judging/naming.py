"""What `verify` was told to look at, and the combinations that mean something."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envforge.errors import InvalidValue
from envforge.model.finding import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What is to be looked at; nothing at all: everything that is installed."""

    env: str | None = None
    """Name or folder of an environment."""
    prefix: Path | None = None
    """A directory: where `env` is installed, or any conda or virtual environment."""
    python: str | None = None
    """An interpreter, by path or by name on PATH."""
    lock: Path | None = None
    """A conda-lock.yml: alone, or as the claim for `prefix` or `python`."""
    host: bool = False
    """The machine, and nothing that is installed."""
    driver: str | None = None
    gpus: Sequence[str] = ()
    """With `driver`, a machine that is described instead of this one."""

    @property
    def is_described(self) -> bool:
        """Whether another machine than this one is judged for."""
        return bool(self.driver or self.gpus)

    @property
    def is_everything(self) -> bool:
        """Whether no single thing was named."""
        return not (self.env or self.prefix or self.python or self.lock or self.host)

    @property
    def is_installed(self) -> bool:
        """Whether it is something with files that can be looked at and run."""
        return not self.host and (self.lock is None or bool(self.prefix or self.python))


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How to look."""

    level: Level | None = None
    """None: as deep as says something here."""
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    require_gpu: bool = False
    timeout: float = 300.0
    """Seconds for each child of the probe."""
    hashes: bool = False
    """Read every file, and compare its hash with the recorded one."""


def refuse_nonsense(named: Named, looking: Looking) -> None:
    """See that what was said can be meant together.

    Raises:
        InvalidValue: the first contradiction, with what to leave out.
    """
    for option, reason, remedy in _contradictions(named, looking):
        raise InvalidValue(what="option", value=option, reason=reason, remedy=remedy)
    if not 0 < looking.timeout < math.inf:
        raise InvalidValue(
            what="option `--timeout`",
            value=f"{looking.timeout:g}",
            reason="is no number of seconds above 0",
        )
    for name in looking.only:
        if name in looking.skip:
            raise InvalidValue(
                what="check",
                value=name,
                reason="is asked for with `--check` and left out by `--skip`",
            )


def _contradictions(named: Named, looking: Looking) -> Iterator[tuple[str, str, str]]:
    given = {
        "ENV": named.env is not None,
        "--prefix": named.prefix is not None,
        "--python": named.python is not None,
        "--lock": named.lock is not None,
        "--host": named.host,
    }
    told = {name for name, is_there in given.items() if is_there}
    if named.host and (others := sorted(told - {"--host"})):
        yield "--host", f"is the machine alone, and {others[0]} was named", "leave one out"
    if named.host and named.is_described:
        remedy = "`envforge verify --lock FILE --driver V --gpu NAME` judges a lock for it"
        yield "--host", "looks at this machine, and another one is described", remedy
    if {"ENV", "--lock"} <= told:
        remedy = "`--lock` goes with `--prefix` or `--python`, or alone"
        yield "--lock", "is another claim than that of ENV, which has its own lock", remedy
    if "--python" in told and (others := sorted(told & {"ENV", "--prefix"})):
        yield "--python", f"names one thing to look at, and {others[0]} another", "leave one out"
    yield from _of_depth(named, looking)


def _of_depth(named: Named, looking: Looking) -> Iterator[tuple[str, str, str]]:
    if not named.is_installed:
        what = "the machine" if named.host else "a lock"
        remedy = "name what is installed, with ENV, `--prefix` or `--python`"
        if looking.level not in {None, "static"}:
            yield f"--level {looking.level}", f"needs an interpreter, and {what} has none", remedy
        if looking.hashes:
            yield "--hashes", f"needs files, and {what} has none", remedy
    if named.is_described and looking.level == "live":
        reason = "runs kernels, and on a machine that is described none can run"
        yield "--level live", reason, "`--level import`, or leave `--driver` and `--gpu` out"

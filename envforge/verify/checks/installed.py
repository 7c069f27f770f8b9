"""Is the prefix whole, and is it what the lock says?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from envforge.model.finding import Finding
from envforge.model.lock import LockedPackage
from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.facts import PrefixFacts, Subject

_SHOWN = 5
"""Packages named in a sentence; more are counted."""


@check(
    level="static",
    needs=("prefix",),
    symptom="modules or libraries are missing, others work",
    why="an install that did not end leaves an environment that fails at some later import",
    source="conda/conda#9693",
)
def prefix_incomplete(subject: Subject) -> Iterator[Finding]:
    """An install began here and ended."""
    prefix = _prefix(subject)
    if prefix.state is PrefixState.INCOMPLETE:
        yield Finding(
            message=f"the install into `{prefix.prefix}` did not end",
            seen="the marker of an unfinished install",
            expected="an install that ended",
            remedy=remedies.install(subject),
        )
    elif prefix.state is PrefixState.ABSENT:
        yield Finding(
            message=f"nothing is installed in `{prefix.prefix}`",
            seen="no environment",
            expected="an installed environment",
            why="there is nothing to run",
            remedy=remedies.install(subject),
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="`pip check` or importlib.metadata fails, a version reads None, folders named `~orch`",
    why="what is installed cannot be told, so neither tools nor checks can be trusted",
    source="PyPA specification: Recording installed projects; pip `utils/temp_dir.py`",
)
def metadata_broken(subject: Subject) -> Iterator[Finding]:
    """Every package's own record in the prefix can be read."""
    prefix = _prefix(subject)
    if prefix.broken_metadata:
        count = len(prefix.broken_metadata)
        yield Finding(
            message=f"{_count(count, 'package record')} cannot be read",
            seen=_listed(prefix.broken_metadata, separator="; "),
            expected="whole records in `conda-meta` and `site-packages`",
            remedy=remedies.install(subject),
        )


@check(
    level="static",
    needs=("lock", "prefix"),
    symptom="it runs, and gives other results than on the next machine",
    why="the environment is no longer the one that was locked and tried",
    source="pytorch/pytorch#12470, spyder-ide/spyder#26014",
)
def lock_drift(subject: Subject) -> Iterator[Finding]:
    """What is installed is what is locked, no more and no less."""
    prefix = _prefix(subject)
    if prefix.state is PrefixState.ABSENT:
        raise CannotLook("nothing is installed")
    locked = {(item.manager, item.name): item for item in subject.locked or ()}
    installed = {(item.manager, item.name): item for item in (*prefix.conda, *prefix.wheels)}
    missing = [item for key, item in locked.items() if key not in installed]
    extra = [item for key, item in installed.items() if key not in locked]
    differing = [
        (found, wanted)
        for key, wanted in locked.items()
        if (found := installed.get(key)) is not None and not _is_as_locked(found, wanted)
    ]
    yield from _missing(missing, subject)
    yield from _differing(differing, subject)
    conda_names = {item.name for item in prefix.conda}
    yield from _overwritten([item for item in extra if _overwrites(item, conda_names)], subject)
    yield from _extra([item for item in extra if not _overwrites(item, conda_names)], subject)


def _is_as_locked(found: InstalledPackage, wanted: LockedPackage) -> bool:
    if found.manager == "pip":
        return _same_version(found.version, wanted.version)
    if found.sha256 and wanted.sha256 and found.sha256 != wanted.sha256:
        return False
    return (found.version, found.build) == (wanted.version, wanted.build)


def _same_version(one: str, other: str) -> bool:
    if one == other:
        return True
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False


def _overwrites(extra: InstalledPackage, conda_names: set[str]) -> bool:
    return extra.manager == "pip" and extra.name in conda_names


def _missing(packages: Sequence[LockedPackage], subject: Subject) -> Iterator[Finding]:
    if packages:
        yield Finding(
            message=f"{_count(len(packages), 'locked package')} not installed",
            seen=f"without {_listed(f'{p.name} {p.version}' for p in packages)}",
            expected=f"{len(subject.locked or ())} packages, as locked",
            remedy=remedies.install(subject),
        )


def _differing(
    pairs: Sequence[tuple[InstalledPackage, LockedPackage]], subject: Subject
) -> Iterator[Finding]:
    if pairs:
        yield Finding(
            message=f"{_count(len(pairs), 'package')} installed in another version or build",
            seen=_listed(f"{p.name} {p.version} {p.build}".rstrip() for p, _ in pairs),
            expected=_listed(f"{p.name} {p.version} {p.build}".rstrip() for _, p in pairs),
            remedy=remedies.install(subject),
        )


def _overwritten(packages: Sequence[InstalledPackage], subject: Subject) -> Iterator[Finding]:
    if packages:
        yield Finding(
            message=f"{_count(len(packages), 'conda package')} overwritten by a wheel",
            seen=_listed(f"{p.name} {p.version} from pip" for p in packages),
            expected="each package from the manager that the lock names",
            remedy=remedies.install(subject),
        )


def _extra(packages: Sequence[InstalledPackage], subject: Subject) -> Iterator[Finding]:
    if packages:
        add = f"envforge add {subject.folder or subject.name} {packages[0].name}"
        yield Finding(
            message=f"{_count(len(packages), 'package')} installed that the lock does not hold",
            seen=_listed(f"{p.name} {p.version}" for p in packages),
            expected="nothing beside the lock",
            remedy=f"{add}, to keep it; {remedies.install(subject)}, to be rid of it",
            severity="warning",
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="ImportError `file too short`, or the process dies with SIGBUS in the middle of work",
    why="a shared object that was cut off loads, and kills the process when the lost part is used",
    source="conda/conda#9693, conda/conda#6019",
)
def truncated_library(subject: Subject) -> Iterator[Finding]:
    """The large shared objects are there, with the size that their package records."""
    damaged = _prefix(subject).damaged
    if damaged:
        yield Finding(
            message=f"{_count(len(damaged), 'shared object')} missing or cut off",
            seen=_listed(
                f"{item.path}: {'gone' if item.found is None else f'{item.found} bytes'}"
                for item in damaged
            ),
            expected=_listed(f"{item.path}: {item.recorded} bytes" for item in damaged),
            remedy=remedies.install(subject),
        )


@check(
    level="import",
    needs=("prefix",),
    symptom="ModuleNotFoundError or FileNotFoundError in the middle of work, or an edited module",
    why="the environment is no longer the one that was locked and tried",
    source="conda/conda#9693; files are shared with the package cache and other environments",
)
def files_unlike_recorded(subject: Subject) -> Iterator[Finding]:
    """Every file of every package is there, with the size that its package records."""
    prefix = _prefix(subject)
    if prefix.state is PrefixState.ABSENT:
        raise NotApplicable("nothing is installed")
    if prefix.unlike_recorded is None:
        raise CannotLook("the files were not looked at one by one")
    told = {item.path for item in prefix.damaged}
    found = [path for path in prefix.unlike_recorded if path not in told]
    if found:
        yield Finding(
            message=f"{_count(len(found), 'file')} missing or changed",
            seen=_listed(found),
            expected="files as their packages record them",
            remedy=remedies.install(subject),
        )


@check(
    level="static",
    needs=("lock",),
    severity="warning",
    symptom="the folder cannot be installed on another machine",
    why="a `file:` address means nothing elsewhere",
    source="envforge README, environments without a conda channel",
)
def machine_local_lock(subject: Subject) -> Iterator[Finding]:
    """The lock can be installed on other machines too."""
    local = [item for item in subject.locked or () if item.url.startswith("file:")]
    if local or (subject.target and subject.target.machine_local):
        yield Finding(
            message="this lock holds packages that exist on this machine only",
            seen=_listed(item.name for item in local) or "the mark of a machine-local lock",
            expected="addresses that every machine can read",
            remedy="lock with a conda channel in reach and without `--python host`, to share it",
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="`python` is not found, or another one is started",
    why="nothing runs without it",
    source="conda/conda#664",
)
def python_missing(subject: Subject) -> Iterator[Finding]:
    """The prefix has an interpreter."""
    prefix = _prefix(subject)
    if prefix.state is PrefixState.ABSENT:
        raise NotApplicable("nothing is installed")
    if prefix.interpreter is None:
        yield Finding(
            message=f"`{prefix.prefix}` has no Python",
            seen="no `bin/python`",
            expected="an interpreter",
            remedy=remedies.install(subject),
        )


def _prefix(subject: Subject) -> PrefixFacts:
    assert subject.prefix is not None  # noqa: S101 - `needs` says so
    return subject.prefix


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(items: Iterable[str], separator: str = ", ") -> str:
    everything = list(items)
    more = f" and {len(everything) - _SHOWN} more" if len(everything) > _SHOWN else ""
    return separator.join(everything[:_SHOWN]) + more

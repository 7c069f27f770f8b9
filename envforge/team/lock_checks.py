"""The checks of a lock: pure functions over what was read, each with its claim.

No solver, no network, no import of an engine. What other layers decide (whether the lock is
current, what its torch is built for) comes in as facts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from envforge.model.checked import LockFinding
from envforge.model.cuda import accelerator_name
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.machine import CUDA_PLATFORMS, Platform
from envforge.model.spec import EnvironmentSpec, VirtualPackage
from envforge.model.wording import listed
from envforge.team import canonical, secrets

if TYPE_CHECKING:
    from envforge.ports import VersionRules

_SHOWN: Final = 3
"""Packages that one sentence names."""
_HOME: Final = re.compile(r"(?:/home/|/Users/|/root/|[A-Za-z]:\\Users\\)[^\s'\"]*")
_PLAIN: Final = re.compile(r"\d+(?:\.\d+)*")
_LOCK: Final = "conda-lock.yml"
_ENVIRONMENT: Final = "environment.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSubject:
    """A lock, the files beside it, and what is known of them."""

    name: str
    """As commands to copy call it."""
    lock: Lock
    header: str = ""
    """The lock's text before its packages."""
    is_ours: bool = False
    """Whether envforge wrote it."""
    spec: EnvironmentSpec | None = None
    """environment.yml; None: there is none beside it, or it is not ours to read."""
    virtual: Mapping[Platform, tuple[VirtualPackage, ...]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    """The other files beside it."""
    stale: tuple[str, ...] = ()
    stale_models: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    """How folder, name and lock disagree."""
    claims: Mapping[str, Target | None] = field(default_factory=dict)
    """What the packages of each platform amount to; None: no torch that is known."""
    mixed: Mapping[str, str] = field(default_factory=dict)
    """Platform to the package that is for another accelerator than its torch."""
    known: canonical.Known = field(default_factory=canonical.Known)
    is_laid_out: bool = True
    """Whether a lock of ours is written as envforge writes it."""


Check = Callable[["LockSubject", "VersionRules"], Iterator[LockFinding]]


def lock_stale(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """The lock is what environment.yml and virtual-packages.yml ask for."""
    for reason in subject.stale:
        yield LockFinding(
            check="lock-stale", message=reason, remedy=f"envforge lock {subject.name}"
        )


def models_stale(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """models-lock.yml is what models.yml asks for."""
    for reason in subject.stale_models:
        yield LockFinding(
            check="models-stale",
            message=reason,
            remedy=f"envforge cache lock {subject.name} --keep",
            file="models-lock.yml",
        )


def name_claim(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """Folder, name, torch and CUDA agree."""
    for reason in subject.contradictions:
        yield LockFinding(
            check="name-claim",
            message=reason,
            remedy="rename the folder and `name:`, or change torch and CUDA in environment.yml",
        )


def gpu_build(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """Every platform's torch is the build that the lock says, with nothing else's beside it."""
    target = subject.lock.target
    for platform, claim in subject.claims.items():
        if claim is None:
            continue
        if target is not None and (claim.cuda, claim.torch) != (target.cuda, target.torch):
            yield _gpu(
                f"torch on {platform} is {claim.torch} for {accelerator_name(claim.cuda)},"
                f" and the lock says {target.torch} for {accelerator_name(target.cuda)}",
                subject,
            )
        elif claim.cuda and platform not in CUDA_PLATFORMS:
            yield _gpu(f"{platform} has no CUDA, and torch there is a CUDA build", subject)
        elif platform in subject.mixed:
            yield _gpu(
                f"torch on {platform} is for {accelerator_name(claim.cuda)},"
                f" and beside it is {subject.mixed[platform]}",
                subject,
            )


def _gpu(message: str, subject: LockSubject) -> LockFinding:
    return LockFinding(
        check="gpu-build",
        message=message,
        remedy=f"envforge lock {subject.name}",
        severity="error" if subject.is_ours else "warning",
    )


def known_bad_pair(subject: LockSubject, rules: VersionRules) -> Iterator[LockFinding]:
    """No package is known to fail with the torch that it is locked with."""
    if not any(subject.claims.values()):
        return  # without torch there is no pair, and the tables take their time
    from envforge.matrix import bad_pairs, reading, versions

    matrix = reading.load()
    found: dict[str, LockFinding] = {}
    for platform, claim in subject.claims.items():
        if claim is None:
            continue
        python = versions.minor(claim.python) if claim.python else None
        pairs = bad_pairs.matching(
            claim.torch, claim.cuda, claim.source, python, (platform,), matrix=matrix
        )
        for pair in pairs:
            package = subject.lock.find(pair.package, platform) if pair.package else None
            if pair.effect != "constraint" or package is None:
                continue
            if _is_in(pair.range, package, rules) is False:
                found[pair.name] = LockFinding(
                    check="known-bad-pair",
                    message=f"{pair.text}, and {package.name} {package.version} is locked",
                    remedy=f"envforge add {subject.name} '{pair.package}{pair.range}'",
                )
    yield from found.values()


def _is_in(range_: str, package: LockedPackage, rules: VersionRules) -> bool | None:
    from envforge.matrix import versions

    if _PLAIN.fullmatch(package.version):
        return versions.matches(package.version, range_)
    return rules.fits(range_, package)


def hash_missing(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """Every package has the hashes that its readers need: sha256, and md5 for conda's."""
    lacking: dict[str, list[LockedPackage]] = {}
    for item in subject.lock.packages:
        if not item.sha256:
            lacking.setdefault("sha256", []).append(item)
        if not item.md5 and item.manager == "conda":
            lacking.setdefault("md5", []).append(item)
    reasons = {
        "sha256": "md5 alone proves nothing against somebody who wants to deceive",
        "md5": "conda-lock refuses such a lock",
    }
    for kind, items in lacking.items():
        yield LockFinding(
            check="hash-missing",
            message=f"no {kind} of {_listed(items)}: {reasons[kind]}",
            remedy=_relock(subject),
        )


def secret(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """No file that is committed holds a password, a token or a signed address."""
    urls = [item for item in subject.lock.packages if secrets.in_address(item.url)]
    if urls:
        yield LockFinding(
            check="secret",
            message=f"the address of {_listed(urls)} carries a password or a token",
            remedy="envforge check --fix, then revoke it: it may be in the history",
            fixable=True,
        )
    for file, text in {_LOCK: subject.header, **subject.texts}.items():
        for number, line in secrets.in_text(text):
            yield LockFinding(
                check="secret",
                message=f"line {number}: `{line}`",
                remedy="take it out, name a variable as `$NAME` in its place, and revoke it",
                file=file,
            )
    for name in secrets.in_variables(subject.spec.variables if subject.spec else {}):
        yield LockFinding(
            check="secret",
            message=f"the variable {name} has its value written down",
            remedy="take it out of `variables:`; set it where programs run, and revoke this one",
            file=_ENVIRONMENT,
        )


def local_path(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """Nothing points into the folders of one machine."""
    target = subject.lock.target
    is_marked = target is not None and target.machine_local
    local = [
        item
        for item in subject.lock.packages
        if not _is_remote(item.url) and canonical.judge(item, subject.known) is None
    ]
    said = ", as the lock itself says" if is_marked else ""
    if local:
        yield LockFinding(
            check="local-path",
            message=f"on this machine only{said}: {_listed(local)}",
            remedy="lock from channels and indexes that others reach too",
            severity="warning" if is_marked else "error",
        )
    seen: set[str] = set()
    for file, text in {_LOCK: subject.header, **subject.texts}.items():
        for found in _HOME.finditer(text):
            if found[0] not in seen:
                seen.add(found[0])
                yield _path(found[0], file, text[: found.start()].count("\n") + 1)


def _path(path: str, file: str, line: int) -> LockFinding:
    return LockFinding(
        check="local-path",
        message=f"line {line}: `{path}` is a path of one person's machine",
        remedy="write it relative to the folder, or take it out",
        severity="warning",
        file=file,
    )


def mirror_address(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """Addresses are those that everybody can use, and not a mirror's."""
    by_host: dict[tuple[str, bool, bool], list[LockedPackage]] = {}
    for item in subject.lock.packages:
        found = canonical.judge(item, subject.known)
        if found is not None:
            place = found.host, bool(found.canonical), found.is_private
            by_host.setdefault(place, []).append(item)
    for (host, can_fix, is_private), items in by_host.items():
        only = ", which only its own network reaches" if is_private else ""
        yield LockFinding(
            check="mirror-address",
            message=f"from `{host}`{only}: {_listed(items)}",
            remedy="envforge check --fix"
            if can_fix
            else "name the index or channel in environment.yml if that is meant",
            severity="error" if can_fix or is_private else "warning",
            fixable=can_fix,
        )


def dependency_missing(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """Whatever a conda package needs is in the lock too."""
    for platform in subject.lock.platforms:
        packages = subject.lock.for_platform(platform)
        names = {item.name for item in packages}
        missing: dict[str, str] = {}
        for item in packages:
            if item.manager == "conda":
                missing.update((name, item.name) for name in _needs(item) if name not in names)
        if missing:
            told = [f"`{name}` ({by} needs it)" for name, by in sorted(missing.items())]
            yield LockFinding(
                check="dependency-missing",
                message=f"not in the lock for {platform}: {listed(told, _SHOWN)}",
                remedy=_relock(subject),
            )


def _needs(package: LockedPackage) -> Iterator[str]:
    """Names of what it needs, as conda-lock.yml holds them; virtual packages left out."""
    names = (spec.partition(" ")[0] for spec in package.depends)
    return (name for name in names if not name.startswith("__"))


def content_hash_differs(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """conda-lock finds the lock current too, by its own content hash."""
    if subject.spec is None or not subject.is_ours or subject.stale:
        return
    from envforge.formats.conda_lock import content_hash

    wanted = content_hash.content_hashes(subject.spec, subject.virtual)
    if wanted != dict(subject.lock.content_hash):
        yield LockFinding(
            check="content-hash",
            message="conda-lock would call this lock stale: its content hash is another",
            remedy="envforge check --fix",
            severity="warning",
            fixable=True,
        )


def layout(subject: LockSubject, _: VersionRules) -> Iterator[LockFinding]:
    """A lock of ours is laid out as envforge writes it, so that changes stay small."""
    if subject.is_ours and not subject.is_laid_out:
        yield LockFinding(
            check="layout",
            message="it is not laid out as envforge writes it: an editor or a merge was here",
            remedy="envforge check --fix",
            severity="warning",
            fixable=True,
        )


CHECKS: Final[Mapping[str, Check]] = {
    "lock-stale": lock_stale,
    "models-stale": models_stale,
    "name-claim": name_claim,
    "gpu-build": gpu_build,
    "known-bad-pair": known_bad_pair,
    "hash-missing": hash_missing,
    "dependency-missing": dependency_missing,
    "secret": secret,
    "local-path": local_path,
    "mirror-address": mirror_address,
    "content-hash": content_hash_differs,
    "layout": layout,
}
"""Id to check, in the order of a report."""


def run(
    subject: LockSubject, rules: VersionRules, *, skip: Sequence[str] = ()
) -> tuple[LockFinding, ...]:
    """All findings, errors first."""
    found = [
        finding
        for name, check in CHECKS.items()
        if name not in skip
        for finding in check(subject, rules)
    ]
    return tuple(sorted(found, key=lambda item: item.severity != "error"))


def _is_remote(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _relock(subject: LockSubject) -> str:
    if subject.is_ours or subject.spec is not None:
        return f"envforge lock {subject.name}"
    return "lock it again with the tool that wrote it"


def _listed(items: Sequence[LockedPackage]) -> str:
    return listed(list(dict.fromkeys(item.name for item in items)), _SHOWN, quote="`")

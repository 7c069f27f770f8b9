"""`install --publish` and `rollback`: one environment for everybody, exchanged at once.

A version is built beside the others, verified, frozen and only then switched to. Whatever happens
on the way, `ROOT/NAME` leads to an environment that was good when it was switched to.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.adapters import prefix_writer
from envforge.adapters.files import absolute
from envforge.adapters.prefix_reader import read_record, read_state
from envforge.adapters.publishing import freezing, users
from envforge.adapters.publishing.root import PublishedRoot, published_names
from envforge.adapters.store import trust
from envforge.adapters.users import name_of
from envforge.errors import FileNotUsable, InvalidValue, NotPublished, UntrustedStore
from envforge.forge import folders
from envforge.forge.judging import verifying
from envforge.forge.judging.naming import Looking
from envforge.forge.prefixes import installing
from envforge.forge.workplace import Workplace, this_platform
from envforge.install.plan import lock_digest
from envforge.model.lock import Lock
from envforge.model.prefix import PrefixState
from envforge.model.published import KeptVersion, PublishedVersion, PublishResult
from envforge.model.wording import listed

if TYPE_CHECKING:
    from envforge.model.finding import Report

_SHOWN: Final = 3
"""Problems told when a version is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Which old versions stay."""

    number: int = 3
    """So many besides the current one, in use or not."""
    seconds: float = 7 * 86400.0
    """Older ones so long after they were left: a program may run from them on another machine."""


def publish(
    workplace: Workplace,
    folder: Path,
    lock: Lock,
    root: Path,
    *,
    keeping: Keeping,
    require_gpu: bool = False,
    dry_run: bool = False,
) -> PublishResult:
    """Build, verify, freeze, switch; then remove what nobody needs.

    Raises:
        NotPublished: the place is taken or not safe, or `verify` found problems.
        InstallError, LockError, OutsideError: see `install`; the link is as it was.
    """
    place = PublishedRoot(absolute(root), folder.name)
    _check_root(place)
    place.check()
    digest = lock_digest(lock.for_platform(this_platform()), folders.variables_of(lock))
    if dry_run:
        return _would(place, digest)
    _make_folders(place)
    with place.hold(workplace.reporter.note):
        before = place.current()
        if before is not None and _is_good(before, digest):
            removed, kept = _collect(workplace, place, keeping)
            return PublishResult(
                name=folder.name,
                link=place.link,
                version=before,
                before=before,
                removed=removed,
                kept=kept,
            )
        version = place.place(digest)
        report = _build(workplace, place, version, folder, lock, require_gpu=require_gpu)
        after = _switch(place, replace(version, published=time.time()), before)
        removed, kept = _collect(workplace, place, keeping)
    return PublishResult(
        name=folder.name,
        link=place.link,
        version=after,
        before=before,
        report=report,
        removed=removed,
        kept=kept,
    )


def roll_back(
    workplace: Workplace, name: str, root: Path, *, number: int | None, dry_run: bool = False
) -> PublishResult:
    """Switch to the version before the current one, or to the one of this number.

    Raises:
        InvalidValue: there is no such version.
        NotPublished: it is not good any more.
    """
    place = _published(absolute(root), name)
    _check_root(place)
    place.check()
    if dry_run:
        before, wanted = place.current(), _wanted(place, number)
        return PublishResult(
            name=place.name, link=place.link, version=wanted, before=before, dry_run=True
        )
    with place.hold(workplace.reporter.note):
        before, wanted = place.current(), _wanted(place, number)
        report = _still_good(workplace, place, wanted)
        after = _switch(place, wanted, before)
    return PublishResult(
        name=place.name, link=place.link, version=after, before=before, report=report
    )


def versions(name: str, root: Path) -> tuple[PublishedVersion, ...]:
    """All versions of a published environment, oldest first, with who is seen to use them.

    Raises:
        InvalidValue: nothing of this name was published there.
    """
    place = _published(absolute(root), name)
    return tuple(replace(item, users=users.users_of(item.prefix)) for item in place.versions())


# --- the place ------------------------------------------------------------------------------


def _check_root(place: PublishedRoot) -> None:
    """Whoever may write there could put something else in its place.

    That holds for its owner, too: what root did there, it would do wherever their links lead.
    """
    if not place.root.is_dir():
        raise NotPublished(
            name=place.name,
            root=str(place.root),
            reason="there is no such folder",
            remedy=f"`mkdir -p {place.root}`, by whoever is to publish there",
        )
    try:
        trust.check(place.root)
    except UntrustedStore as error:
        raise NotPublished(
            name=place.name,
            root=str(place.root),
            reason=error.reason,
            remedy=error.remedy,
        ) from error
    owner = place.root.stat().st_uid
    if owner != os.geteuid():
        raise NotPublished(
            name=place.name,
            root=str(place.root),
            reason=f"it belongs to `{name_of(owner)}`, and nobody else publishes there",
            remedy=f"run it as `{name_of(owner)}`, or publish under a folder of your own",
        )


def _make_folders(place: PublishedRoot) -> None:
    """Everybody may look into them who reaches the root, whatever the umask says."""
    for folder in (place.folder.parent, place.folder):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)


def _published(root: Path, name: str) -> PublishedRoot:
    """What goes by that name there: all of it, its beginning, or the folder of its lock.

    Raises:
        InvalidValue: there is none.
    """
    known, wanted = published_names(root), Path(name).name
    beginning = [item for item in known if item.startswith(f"{wanted}-torch")]
    if wanted not in known and len(beginning) == 1:
        wanted = beginning[0]
    place = PublishedRoot(root, wanted)
    if wanted not in known or not place.versions():
        raise InvalidValue(
            what="environment",
            value=name,
            reason=f"was not published under `{root}`",
            remedy=f"published there: {', '.join(known)}"
            if known and wanted not in known
            else f"`envforge install ENV --publish {root}`",
        )
    return place


# --- a version ------------------------------------------------------------------------------


def _is_good(version: PublishedVersion, digest: str) -> bool:
    record = read_record(version.prefix)
    frozen = freezing.message_of(version.prefix) is not None
    return version.digest == digest and record is not None and record.published and frozen


def _build(
    workplace: Workplace,
    place: PublishedRoot,
    version: PublishedVersion,
    folder: Path,
    lock: Lock,
    *,
    require_gpu: bool,
) -> Report:
    sources = place.copy_sources(version, folder)
    if read_state(version.prefix) is not PrefixState.ABSENT:
        freezing.thaw(version.prefix)  # an interruption may have come as late as that
    installing.install_aside(workplace, sources, lock, version.prefix)
    report = verifying.verify_one(
        workplace, sources, version.prefix, Looking(require_gpu=require_gpu)
    )
    if not report.passed:
        raise _refused(place, version, report)
    record = read_record(version.prefix)
    assert record is not None  # noqa: S101 - the install has just written it
    prefix_writer.write_marker(version.prefix, replace(record, published=True))
    with workplace.reporter.step("freezing it"):
        freezing.freeze(version.prefix, _message(place))
    return report


def _message(place: PublishedRoot) -> str:
    return (
        f"{place.link} is published for everybody and does not change."
        " Whoever publishes it adds packages with `envforge add` and"
        f" `envforge install {place.name} --publish {place.root}`;"
        " for one of your own, copy its folder from `envs/` and install that."
    )


def _refused(place: PublishedRoot, version: PublishedVersion, report: Report) -> NotPublished:
    problems = [item.message for item in report.findings if item.severity == "error"]
    problems += [f"check `{item.check}` crashed" for item in report.crashed]
    problems += [item.reason for item in report.unseen]
    return NotPublished(
        name=place.name,
        root=str(place.root),
        reason=f"verify found problems: {'; '.join(problems[:_SHOWN])}",
        remedy=f"`envforge verify --prefix {version.prefix}` tells all",
    )


def _switch(
    place: PublishedRoot, version: PublishedVersion, before: PublishedVersion | None
) -> PublishedVersion:
    """Its record, the link, the note that the other was left: a kill in between is harmless."""
    fresh = replace(version, retired=None)
    place.record(fresh)
    place.switch(fresh)
    if before is not None and before.number != fresh.number:
        place.retire(before, time.time())
    return replace(fresh, is_current=True)


def _would(place: PublishedRoot, digest: str) -> PublishResult:
    before = place.current()
    if before is not None and _is_good(before, digest):
        version = before
    else:
        number = max([0, *(item.number for item in place.versions())]) + 1
        prefix = place.folder / f"{number:04d}-{digest[:8]}"
        version = PublishedVersion(number=number, prefix=prefix, digest=digest, published=0.0)
    return PublishResult(
        name=place.name, link=place.link, version=version, before=before, dry_run=True
    )


def _wanted(place: PublishedRoot, number: int | None) -> PublishedVersion:
    known = place.versions()
    current = next((item for item in known if item.is_current), None)
    if number is not None:
        found = [item for item in known if item.number == number]
    else:
        found = [item for item in known if current is None or item.number < current.number][-1:]
    if found:
        return found[0]
    rollback = f"envforge rollback {place.name} --root {place.root}"
    if number is None:
        others = [item for item in known if item != current]
        raise InvalidValue(
            what="environment",
            value=place.name,
            reason="has no version before the one it leads to",
            remedy=f"`{rollback} --to {others[-1].number}`" if others else None,
        )
    raise InvalidValue(
        what="version",
        value=str(number),
        reason=f"is not there; `{place.name}` has {', '.join(str(item.number) for item in known)}",
        remedy=f"`{rollback} --list`",
    )


def _still_good(workplace: Workplace, place: PublishedRoot, version: PublishedVersion) -> Report:
    sources = version.prefix.with_name(f"{version.prefix.name}.env") / place.name
    report = verifying.verify_one(workplace, sources, version.prefix, Looking(level="static"))
    if not report.passed:
        raise _refused(place, version, report)
    return report


# --- what goes ------------------------------------------------------------------------------


def _collect(
    workplace: Workplace, place: PublishedRoot, keeping: Keeping
) -> tuple[tuple[PublishedVersion, ...], tuple[KeptVersion, ...]]:
    """Remove old versions that nobody needs; each that stays has its reason."""
    try:
        place.sweep()
    except FileNotUsable as error:
        workplace.reporter.warn(f"what an interruption left could not be removed: {error}")
    old = [item for item in place.versions() if not item.is_current]
    for number, version in enumerate(old):
        if version.retired is None:  # a kill between the switch and the note
            old[number] = place.retire(version, time.time())
    removed, kept = [], []
    for version in old[: max(0, len(old) - keeping.number)]:
        reason = _needed(version, keeping)
        if reason is not None:
            kept.append(KeptVersion(version=version, reason=reason))
            continue
        try:
            with workplace.reporter.step(f"removing version {version.number}"):
                place.remove(version)
        except FileNotUsable as error:  # the new one is good, and people have it
            reason = f"it could not be removed ({error}); the next publishing goes on with it"
            kept.append(KeptVersion(version=version, reason=reason))
        else:
            removed.append(version)
    return tuple(removed), tuple(kept)


def _needed(version: PublishedVersion, keeping: Keeping) -> str | None:
    assert version.retired is not None  # noqa: S101 - noted before
    left = time.time() - version.retired
    seen = users.users_of(version.prefix)
    if seen:
        return f"{listed(seen, 1)} {'uses' if len(seen) == 1 else 'use'} it"
    if left < keeping.seconds:
        return "it was current not long ago, and not every process can be seen from here"
    return None

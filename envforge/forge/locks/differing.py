"""`diff`: two locks, wherever they are, compared for people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from envforge.adapters.files import is_folder
from envforge.adapters.version_rules import RealVersionRules
from envforge.errors import InvalidValue
from envforge.forge.locks import lock_sides
from envforge.forge.locks.lock_sides import Side
from envforge.forge.workplace import Workplace
from envforge.install.forecast import unpacked_size
from envforge.model.difference import Comparison, LockDifference
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.solving import without_credentials
from envforge.model.spec import TORCH_NAMES
from envforge.team import difference, gpu_rows, moves, sizes

if TYPE_CHECKING:
    from envforge.model.models import ModelChange, ModelsLock


def diff(workplace: Workplace, old: str, new: str | None = None) -> Comparison:
    """Compare two locks.

    Args:
        workplace: where environments lie.
        old: an environment, a file, a folder, a conda prefix, `installed:ENV`, `REV:PATH` of
            git, or `-`; `#NAME` behind it chooses one of several environments in a file.
        new: the same; None: the working folder, against what `old` is in a revision (or, of an
            environment, in the last commit).

    Raises:
        InvalidFile: one of them cannot be read, or pins nothing.
        InvalidValue: a revision or an environment in it that does not exist.
    """
    if new is None:
        old, new = lock_sides.against_work(workplace, old)
    return compare(workplace, lock_sides.side(workplace, old), lock_sides.side(workplace, new))


def compare(workplace: Workplace, old: Side, new: Side) -> Comparison:
    """The same for locks at hand."""
    one = old.one_platform or new.one_platform
    common = tuple(item for item in new.lock.platforms if item in old.lock.platforms)
    if not common:
        raise InvalidValue(
            what="comparison",
            value=f"{old.shown}, {new.shown}",
            reason=f"is of {', '.join(old.lock.platforms) or 'no platform'} with"
            f" {', '.join(new.lock.platforms) or 'no platform'}, which have none in common",
        )
    before, after = (_only(item.lock, common) if one else item.lock for item in (old, new))
    exact = difference.compare(before, after)
    rules = RealVersionRules()
    asked = None if old.asked is None and new.asked is None else _both(old, new)
    found = moves.moves(exact, before, after, platforms=common, asked=asked, rules=rules)
    direct, groups = moves.groups(found)
    return Comparison(
        old=old.shown,
        new=new.shown,
        difference=exact,
        gpu=gpu_rows.rows(before, after, common, _claim),
        asked=direct,
        groups=groups,
        platforms=common,
        gained_platforms=None if one else _others(after, before),
        lost_platforms=None if one else _others(before, after),
        sizes=sizes.rows(before, after, common, _OnDisk(workplace, exact)),
        models=_models(old.models, new.models),
        notes=tuple(_notes(old, new, exact, common)),
    )


def _both(old: Side, new: Side) -> frozenset[str]:
    return (old.asked or frozenset()) | (new.asked or frozenset())


def _models(old: ModelsLock | None, new: ModelsLock | None) -> tuple[ModelChange, ...]:
    if old is None and new is None:
        return ()
    from envforge.cache import lock_check
    from envforge.model.models import ModelsLock

    empty = ModelsLock(models=())
    return lock_check.compare(old or empty, new or empty)


def _only(lock: Lock, platforms: tuple[str, ...]) -> Lock:
    return replace(
        lock,
        packages=tuple(item for item in lock.packages if item.platform in platforms),
        platforms=tuple(item for item in lock.platforms if item in platforms),
    )


def _others(lock: Lock, other: Lock) -> dict[str, int]:
    """The platforms that the other lock has not, with their packages."""
    return {
        platform: len(lock.for_platform(platform))
        for platform in lock.platforms
        if platform not in other.platforms
    }


def _notes(old: Side, new: Side, exact: LockDifference, common: tuple[str, ...]) -> Iterator[str]:
    yield from (*old.notes, *new.notes)
    if old.one_platform or new.one_platform:
        left = {*old.lock.platforms, *new.lock.platforms} - set(common)
        if left:
            yield f"only {', '.join(common)} is compared: one side holds no other platform"
    before, after = (
        ", ".join(map(without_credentials, side.channels)) for side in (exact.before, exact.after)
    )
    if before and after and before != after:
        yield f"channels: {before}, now {after}"
    noted = len(exact.changes) - len(exact.material)
    if noted:
        yield f"{noted} packages are the same, and described otherwise"
    digests = {exact.before.inputs_digest, exact.after.inputs_digest}
    if not exact.material and None not in digests and len(digests) == 2:
        yield "the packages are the same, and what they were locked from is not"


def _claim(lock: Lock, platform: str) -> Target | None:
    """What the packages amount to; what we wrote down ourselves counts where that fits them."""
    if not any(item.name in TORCH_NAMES for item in lock.packages):
        return None  # the tables take their time
    from envforge.verify.lock_claim import claim_of

    told, own = claim_of(lock.packages, platform), lock.target
    if told is None or own is None or told.cuda != own.cuda:
        return told
    return replace(
        told,
        cudnn=told.cudnn or own.cudnn,
        min_driver=own.min_driver or told.min_driver,
        architectures=told.architectures or own.architectures,
    )


class _OnDisk:
    """Measures what lies unpacked in the cache, as far as it moved; estimates the rest."""

    def __init__(self, workplace: Workplace, exact: LockDifference) -> None:
        self._cache = workplace.settings.package_cache
        moved = (item for change in exact.material for item in (change.before, change.after))
        held = frozenset(os.listdir(self._cache)) if is_folder(self._cache) else frozenset()  # noqa: PTH208 - names only
        self._moved = {
            item.url
            for item in moved
            if item is not None and f"{item.name}-{item.version}-{item.build}" in held
        }

    def __call__(self, package: LockedPackage) -> tuple[int, bool] | None:
        if package.url in self._moved:
            from envforge.adapters import package_cache
            from envforge.model.prefix import ArchiveFacts

            if package_cache.is_cached(self._cache, package):
                size, _ = package_cache.unpacked(self._cache, package, measure=True)
                return unpacked_size(package, ArchiveFacts(unpacked_bytes=size))
        return None if package.size is None else unpacked_size(package)

"""What a collection may remove, and why the rest stays. Pure.

A file goes when nothing that we can see needs it: no view links to it (the kernel counts that), no
lock names it, no lease holds it, no view has it as a copy that could be linked again, and nothing
has happened to it for the time of grace. Reads (atime) only ever lengthen that time: mounts with
`noatime` and read-only mounts, as containers have them, do not record any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from envforge.cache.survey import StoredFile

Reason = Literal["linked", "locked", "leased", "copied", "young", "enough free"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Why a file stays; the first that holds is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """Hashes that are needed, by who says so."""

    locked: Collection[str] = frozenset()
    """Named by a models-lock.yml."""
    leased: Collection[str] = frozenset()
    """Named by a live lease."""
    copied: Collection[str] = frozenset()
    """In a view as a copy or a reflink: link counts do not show those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is to go."""

    now: float
    """By the clock of the store's filesystem; another host's may differ."""
    older_than: float
    """Seconds of grace."""
    free: int
    """Bytes that are free now."""
    keep_free: int | None = None
    """Bytes that shall be free: no more is removed than that takes; None: all that may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectPlan:
    """Files that go, oldest first, and what stays."""

    remove: tuple[StoredFile, ...]
    kept: Mapping[Reason, tuple[int, int]] = field(default_factory=dict)
    """Reason to files and bytes, each inode once."""
    missing: int = 0
    """Bytes that will be free less than was asked for."""

    @property
    def bytes(self) -> int:
        """What removing gives back."""
        return sum(item.facts.disk for item in self.remove)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection came to."""

    plan: CollectPlan
    is_dry_run: bool
    removed: tuple[StoredFile, ...] = ()
    needed_after_all: int = 0
    """Files that were used, or went, between the plan and its end."""
    parts: tuple[int, int] = (0, 0)
    """Unfinished downloads that went, or would: files and bytes."""
    leftovers: tuple[int, int] = (0, 0)
    """What an interrupted collection had left in the trash: files and bytes."""
    damaged: tuple[int, int] = (0, 0)
    """Files of the quarantine that went, or would: files and bytes."""
    scraps: tuple[int, int] = (0, 0)
    """Small files that killed processes never finished: files and bytes."""
    views: tuple[str, ...] = ()
    """Views of environments that are gone: that went, or in a dry run would."""
    gone: tuple[str, ...] = ()
    """Those that stay, since nobody asked for their removal."""
    notes: tuple[str, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes that are free again, or (in a dry run) would be."""
        files = self.plan.remove if self.is_dry_run else self.removed
        besides = (self.parts, self.leftovers, self.damaged, self.scraps)
        return sum(item.facts.disk for item in files) + sum(size for _, size in besides)


def last_use(file: StoredFile) -> float:
    """The last moment at which anything happened to a file, as far as anybody can tell.

    A link made or removed changes ctime, so the grace begins when the last view went.
    """
    facts = file.facts
    return facts.changed if facts.read is None else max(facts.changed, facts.read)


def plan_collection(files: Iterable[StoredFile], in_use: InUse, limits: Limits) -> CollectPlan:
    """Choose what goes; the inodes of one hash stay or go together."""
    groups: dict[str, list[StoredFile]] = defaultdict(list)
    for item in files:
        groups[item.sha256].append(item)
    kept: dict[Reason, tuple[int, int]] = {}
    candidates = []
    for sha256, inodes in groups.items():
        reason = _reason(sha256, inodes, in_use, limits)
        if reason is None:
            candidates.append(inodes)
        else:
            _count(kept, reason, inodes)
    candidates.sort(key=lambda inodes: (max(map(last_use, inodes)), inodes[0].sha256))
    remove, free = list[StoredFile](), limits.free
    for inodes in candidates:
        if limits.keep_free is not None and free >= limits.keep_free:
            _count(kept, "enough free", inodes)
            continue
        # second inodes first: the name without a number is what everybody looks for
        remove += sorted(inodes, key=lambda item: -item.copy)
        free += sum(item.facts.disk for item in inodes)
    return CollectPlan(
        remove=tuple(remove),
        kept={reason: kept[reason] for reason in REASONS if reason in kept},
        missing=max(0, (limits.keep_free or 0) - free),
    )


def _reason(
    sha256: str, inodes: Collection[StoredFile], in_use: InUse, limits: Limits
) -> Reason | None:
    if any(item.facts.links > 1 for item in inodes):
        return "linked"
    if sha256 in in_use.locked:
        return "locked"
    if sha256 in in_use.leased:
        return "leased"
    if sha256 in in_use.copied:
        return "copied"
    if any(limits.now - last_use(item) < limits.older_than for item in inodes):
        return "young"
    return None


def _count(
    kept: dict[Reason, tuple[int, int]], reason: Reason, inodes: Collection[StoredFile]
) -> None:
    count, size = kept.get(reason, (0, 0))
    kept[reason] = count + len(inodes), size + sum(item.facts.disk for item in inodes)

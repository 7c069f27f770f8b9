"""Who uses which bytes, counted by inode. Pure.

A file with five names takes its space once. For a row of a table (a repository, a revision, an
environment, a user) the files are split in three: *shared* with another row, its *own*, and
*reclaimable*: nothing uses it any more. The three add up to the row's bytes; rows overlap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from envforge.cache.survey import FileFacts, LockedModels, Survey, Tree, TreeFile

Grouping = Literal["repo", "revision", "environment", "owner"]
GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)
UNUSED: Final = "(unused)"
"""In the store, and neither in a view nor named by a lock."""
ELSEWHERE: Final = "(elsewhere)"
"""Has names in places that were not looked at."""
PARTIAL: Final = "(partial downloads)"
FLAT: Final = "(flat cache)"
OTHER: Final = "(other files)"
Mode = Literal["hardlink", "reflink", "copy", "own", "no view"]
"""How a file is used: as a view got it, fetched by the client itself, or by a lock alone."""
Part = Literal["shared", "own", "reclaimable"]
Key = tuple[int, int]
"""Device and inode."""
Place = tuple[str, str]
"""Repository, and a commit or a blob of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One reason for which a file is on the disk."""

    repo: str
    commit: str
    environment: str
    """Name of the environment, or path of the tree."""
    owner: str
    mode: Mode
    is_live: bool = True
    """False: a detached revision or an unfinished download; nobody loads it."""

    def row(self, grouping: Grouping) -> str:
        """The row that it belongs to."""
        if grouping == "revision":
            return f"{self.repo}@{self.commit[:12]}" if self.commit else self.repo
        value: str = getattr(self, grouping)
        return value


@dataclass(slots=True)
class _Inode:
    facts: FileFacts
    sha256: str = ""
    """Empty: not of the store."""
    names: int = 0
    uses: set[Use] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedFile:
    """One inode, and all that uses it."""

    facts: FileFacts
    sha256: str
    uses: frozenset[Use]
    has_other_names: bool
    """It has more names than were seen."""

    @property
    def is_reclaimable(self) -> bool:
        """Whether nothing that was looked at, or that could not be, loads it."""
        return not self.has_other_names and not any(use.is_live for use in self.uses)

    def part(self, *, is_shared: bool) -> Part:
        """Which of the three it counts as, in a row that shares it with another or does not."""
        if self.is_reclaimable:
            return "reclaimable"
        return "shared" if self.has_other_names or is_shared else "own"

    @property
    def consumers(self) -> frozenset[tuple[str, str]]:
        """Environment or tree, and user, of everything that uses it."""
        return frozenset((use.environment, use.owner) for use in self.uses)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """Bytes on the disk, each inode once; `bytes` = `shared` + `own` + `reclaimable`."""

    name: str
    files: int
    bytes: int
    shared: int
    own: int
    reclaimable: int
    last_read: float | None
    """Seconds since the epoch; None: reads are not recorded."""
    modes: tuple[Mode, ...]
    environments: tuple[str, ...]
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What `scan` answers."""

    survey: Survey
    files: tuple[UsedFile, ...]
    total: UsageRow
    """Shared: by two trees or more."""

    def rows(self, grouping: Grouping) -> tuple[UsageRow, ...]:
        """One row for each value, largest first."""
        groups: dict[str, list[UsedFile]] = defaultdict(list)
        for item in self.files:
            for name in rows_of(item, grouping):
                groups[name].append(item)
        rows = [_row(name, files, grouping) for name, files in groups.items()]
        return tuple(sorted(rows, key=lambda row: (-row.bytes, row.name)))

    @property
    def aside(self) -> dict[str, tuple[int, int]]:
        """Files and bytes of the store that are no content, by their folder."""
        return {
            place: (len(files), sum(item.disk for item in files))
            for place, files in self.survey.aside.items()
            if files
        }


def rows_of(item: UsedFile, grouping: Grouping) -> frozenset[str]:
    """The rows that a file belongs to."""
    if item.uses:
        return frozenset(use.row(grouping) for use in item.uses)
    return frozenset({ELSEWHERE if item.has_other_names else UNUSED})


def usage(survey: Survey) -> Usage:
    """Add up a survey."""
    files = tuple(_used_files(survey))
    return Usage(survey=survey, files=files, total=_total(files))


def _row(name: str, files: Sequence[UsedFile], grouping: Grouping) -> UsageRow:
    uses = {use for item in files for use in item.uses if use.row(grouping) == name}
    return _sum(name, files, uses, lambda item: len(rows_of(item, grouping)) > 1)


def _total(files: Sequence[UsedFile]) -> UsageRow:
    uses = {use for item in files for use in item.uses}
    return _sum("total", files, uses, lambda item: len(item.consumers) > 1)


def _sum(
    name: str, files: Sequence[UsedFile], uses: set[Use], is_shared: Callable[[UsedFile], bool]
) -> UsageRow:
    sums: dict[Part, int] = {"shared": 0, "own": 0, "reclaimable": 0}
    for item in files:
        sums[item.part(is_shared=is_shared(item))] += item.facts.disk
    reads = [item.facts.read for item in files if item.facts.read is not None]
    return UsageRow(
        name=name,
        files=len(files),
        bytes=sum(sums.values()),
        shared=sums["shared"],
        own=sums["own"],
        reclaimable=sums["reclaimable"],
        last_read=max(reads, default=None),
        modes=tuple(sorted({use.mode for use in uses})),
        environments=tuple(sorted({use.environment for use in uses})),
        owners=tuple(sorted({use.owner for use in uses})),
    )


# --- which file is used by what -------------------------------------------------------------


def _used_files(survey: Survey) -> Iterator[UsedFile]:
    inodes: dict[Key, _Inode] = {}
    by_hash: dict[str, list[_Inode]] = defaultdict(list)
    for stored in survey.stored:
        inode = inodes.setdefault(stored.facts.key, _Inode(stored.facts, stored.sha256))
        inode.names += 1
        by_hash[stored.sha256].append(inode)
    origins = _origins(survey, inodes)
    for tree in survey.trees:
        _add_tree(tree, survey, inodes, by_hash, origins)
    for locked in survey.locks:
        _add_lock(locked, by_hash)
    for facts in (item for files in survey.aside.values() for item in files):
        if facts.key in inodes:  # a kill left it with a name in the trash as well
            inodes[facts.key].names += 1
    for inode in inodes.values():
        yield UsedFile(
            facts=inode.facts,
            sha256=inode.sha256,
            uses=frozenset(inode.uses),
            has_other_names=inode.facts.links > inode.names,
        )


def _add_tree(
    tree: Tree,
    survey: Survey,
    inodes: dict[Key, _Inode],
    by_hash: dict[str, list[_Inode]],
    origins: dict[str, set[Place]],
) -> None:
    revisions = _Revisions.of(tree)
    for item in tree.files:
        own = inodes.get(item.facts.key)
        if own is None and item.role == "other":
            continue  # refs, lock files: no content
        sha256 = own.sha256 if own else survey.names.get(item.name, item.name)
        mode: Mode = "hardlink" if own and own.sha256 else tree.modes.get(sha256, "own")
        lent = by_hash.get(sha256, [])
        if mode == "reflink" and lent and lent[0].facts.size == item.facts.size:
            inode = lent[0]  # the bytes are the store's, though the inode is not
        else:
            inode = own or inodes.setdefault(item.facts.key, _Inode(item.facts))
            inode.names += 1
        for place, is_live in _places(item, tree, revisions, origins.get(sha256, set())):
            use = Use(
                repo=place[0],
                commit=place[1],
                environment=tree.label,
                owner=tree.user,
                mode=mode,
                is_live=is_live,
            )
            inode.uses.add(use)


@dataclass(frozen=True, slots=True)
class _Revisions:
    """What the snapshots of one tree show."""

    shown: dict[Place, list[str]]
    """Repository and blob to the commits that show it."""
    detached: frozenset[Place]
    """Repository and commit of what nothing names."""

    @classmethod
    def of(cls, tree: Tree) -> _Revisions:
        shown: dict[Place, list[str]] = defaultdict(list)
        for snapshot in tree.snapshots:
            for blob in snapshot.blobs:
                shown[snapshot.repo, blob].append(snapshot.commit)
        detached = frozenset((s.repo, s.commit) for s in tree.snapshots if s.is_detached)
        return cls(shown, detached)


def _places(
    item: TreeFile, tree: Tree, revisions: _Revisions, origins: set[Place]
) -> Iterator[tuple[Place, bool]]:
    """Repository and commit, and whether it is live, for each reason that a tree has a file."""
    if item.role == "partial":
        yield (item.repo or PARTIAL, ""), False
    elif item.role == "snapshot":
        place = (item.repo, item.commit)
        yield place, place not in revisions.detached
    elif item.role == "blob":
        commits = revisions.shown.get((item.repo, item.name), [])
        for commit in commits:
            yield (item.repo, commit), (item.repo, commit) not in revisions.detached
        if not commits:
            yield (item.repo, ""), False
    else:
        known = origins & set(tree.models) if tree.models else origins
        for place in known or {(FLAT if item.role == "flat" else OTHER, "")}:
            yield place, True


def _origins(survey: Survey, inodes: Mapping[Key, _Inode]) -> dict[str, set[Place]]:
    """sha256 to the repositories and commits that have the file, for trees that do not say."""
    found: dict[str, set[Place]] = defaultdict(set)
    for locked in survey.locks:
        for model in locked.lock.models:
            for file in model.files:
                found[file.sha256].add((model.repo.shown, model.commit))
    for tree in survey.trees:
        shown = _Revisions.of(tree).shown
        for item in tree.files:
            stored = inodes.get(item.facts.key)
            if stored and item.role == "blob":
                commits = shown.get((item.repo, item.name), [])
                found[stored.sha256] |= {(item.repo, commit) for commit in commits}
    return found


def _add_lock(locked: LockedModels, by_hash: dict[str, list[_Inode]]) -> None:
    """A lock uses what it names, and is told where no view of its environment does."""
    for model in locked.lock.models:
        for file in model.files:
            for inode in by_hash.get(file.sha256, []):
                place = (model.repo.shown, model.commit, locked.environment)
                if all((use.repo, use.commit, use.environment) != place for use in inode.uses):
                    inode.uses.add(
                        Use(
                            repo=model.repo.shown,
                            commit=model.commit,
                            environment=locked.environment,
                            owner=locked.user,
                            mode="no view",
                        )
                    )

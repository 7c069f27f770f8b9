"""Compares what lies in a store and its views with what is locked. Facts in, flaws out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from envforge.cache import layout
from envforge.cache.survey import LockedModels
from envforge.cache.view_plan import RepoTree, Snapshot, ViewPlan
from envforge.model.health import Flaw, FlawKind
from envforge.model.models import LockedModel
from envforge.model.views import RegisteredView, ViewedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """A file that some lock names."""

    size: int
    by: tuple[str, ...]
    """`environment: repository path`, sorted."""
    environments: tuple[str, ...]
    blobs: frozenset[str]
    """What hubs call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One file of the store."""

    sha256: str
    path: str
    copy: int = 0
    """Not 0: one more inode of the same bytes."""
    is_file: bool = True
    size: int = 0
    mode: int = 0o444
    owner: int = 0
    inode: tuple[int, int] = (0, 0)
    """Device and number."""
    found: str = ""
    """sha256 of its bytes; empty: they were not read."""
    problem: str = ""
    """Why its bytes could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InView:
    """A name under `blobs/`, or of a flat view."""

    is_file: bool
    size: int
    is_linked: bool
    """Whether it is an inode of the store for the bytes that it should be."""
    is_damaged: bool = False
    """Whether it is a file that was put aside for its wrong bytes."""
    found: str = ""
    """sha256 of its bytes; empty: they were not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFacts:
    """What lies where a view should be."""

    view: RegisteredView
    plan: ViewPlan
    """What it should hold, as far as the locks tell."""
    is_there: bool = True
    unseen: str = ""
    """Why it could not be looked at."""
    refs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Repository's folder and name, to the commit that stands there."""
    links: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """Repository's folder, commit and path, to where the link points."""
    files: Mapping[tuple[str, str], InView] = field(default_factory=dict)
    """Repository's folder (empty: flat) and name, to the file."""


def needed(locks: Iterable[LockedModels]) -> dict[str, Needed]:
    """Every file that a lock names, by sha256."""
    by: defaultdict[str, set[str]] = defaultdict(set)
    environments: defaultdict[str, set[str]] = defaultdict(set)
    blobs: defaultdict[str, set[str]] = defaultdict(set)
    sizes: dict[str, int] = {}
    for item in locks:
        for model in item.lock.models:
            for file in model.files:
                sizes[file.sha256] = file.size
                by[file.sha256].add(f"{item.environment}: {model.repo.shown} {file.path}")
                environments[file.sha256].add(item.environment)
                blobs[file.sha256].add(file.blob)
    return {
        sha256: Needed(
            size=size,
            by=tuple(sorted(by[sha256])),
            environments=tuple(sorted(environments[sha256])),
            blobs=frozenset(blobs[sha256]),
        )
        for sha256, size in sizes.items()
    }


def must_be_read(item: Stored, owner: int) -> bool:
    """Whether somebody may have written to it: such a file is hashed in every look."""
    return item.is_file and (bool(item.mode & 0o222) or item.owner not in {0, owner})


# --- the store ------------------------------------------------------------------------------


def judge_store(
    stored: Sequence[Stored], needed: Mapping[str, Needed], *, root: str, owner: int
) -> tuple[Flaw, ...]:
    """What is wrong with the files of the store."""
    there = {item.sha256 for item in stored if not item.copy}
    flaws = [flaw for item in stored for flaw in _judge(item, needed.get(item.sha256), owner)]
    for sha256 in sorted(needed.keys() - there):
        item = needed[sha256]
        flaws.append(
            Flaw(
                kind="missing",
                path=f"{root}/{sha256[:2]}/{sha256}",
                message="not in the store",
                sha256=sha256,
                wanted_by=item.by,
                remedy=f"envforge cache prefill {' '.join(item.environments)}",
            )
        )
    return tuple(flaws)


def _judge(item: Stored, needed: Needed | None, owner: int) -> Iterator[Flaw]:
    by = needed.by if needed else ()
    if not item.is_file:
        yield _stored_flaw("no-file", item, by, "is no regular file")
        return
    if needed and item.size != needed.size:
        yield _stored_flaw(
            "wrong-size", item, by, f"has {item.size:,} bytes, locked are {needed.size:,}"
        )
    elif item.found and item.found != item.sha256:
        yield _stored_flaw("wrong-bytes", item, by, f"has other bytes: sha256 {item.found[:12]}…")
    if item.problem:
        yield _stored_flaw("unseen", item, by, f"could not be read: {item.problem}")
    if item.mode & 0o222:
        yield _access_flaw("writable", item, f"can be written (mode {item.mode:04o})")
    elif item.mode & 0o444 != 0o444:
        yield _access_flaw("unreadable", item, f"is not readable for all (mode {item.mode:04o})")
    if item.owner not in {0, owner}:
        yield Flaw(
            kind="foreign",
            path=item.path,
            sha256=item.sha256,
            message=f"belongs to user {item.owner}, who can change it",
            remedy=f"chown {owner} {item.path}",
        )


def _stored_flaw(kind: FlawKind, item: Stored, by: tuple[str, ...], message: str) -> Flaw:
    return Flaw(
        kind=kind,
        path=item.path,
        message=message,
        sha256=item.sha256,
        wanted_by=by,
        remedy="envforge cache verify --deep --repair",
    )


def _access_flaw(kind: FlawKind, item: Stored, message: str) -> Flaw:
    return Flaw(
        kind=kind,
        path=item.path,
        message=message,
        sha256=item.sha256,
        remedy=f"chmod 0444 {item.path}",
    )


def judge_folders(folders: Iterable[tuple[str, int]], *, mode: int) -> Iterator[Flaw]:
    """Folders of the store (path and mode) that those cannot enter whom the store is open to."""
    for path, found in folders:
        closed = mode & ~found & 0o055
        if closed:
            who = "g" if closed & 0o050 else ""
            who += "o" if closed & 0o005 else ""
            yield Flaw(
                kind="unreadable",
                path=path,
                message=f"cannot be entered by who may read the store (mode {found:04o})",
                remedy=f"chmod {who}+rx {path}",
            )


def judge_index(names: Mapping[str, tuple[str, str]], hashed: Mapping[str, str]) -> Iterator[Flaw]:
    """Entries of the index (git-sha1 to its file and sha256) that bytes have proven wrong.

    Args:
        names: what the index says.
        hashed: sha256 to the git-sha1 of the same bytes, of files that were read.
    """
    for sha1, (path, sha256) in sorted(names.items()):
        if hashed.get(sha256, sha1) != sha1:
            yield Flaw(
                kind="wrong-name",
                path=path,
                message=f"leads to {sha256[:12]}…, whose bytes are not those",
                sha256=sha256,
                remedy="envforge cache verify --deep --repair",
            )


# --- views ----------------------------------------------------------------------------------


def shown_models(view: RegisteredView, locks: Iterable[LockedModels]) -> list[LockedModel]:
    """The locked models that a view shows; those of its own environment where several fit."""
    found: dict[ViewedModel, LockedModel] = {}
    for item in sorted(locks, key=lambda item: item.environment == view.environment):
        for model in item.lock.models:
            key = ViewedModel(repo=model.repo, commit=model.commit, revision=model.request.revision)
            found[key] = model
    return [found[model] for model in view.models if model in found]


def judge_view(facts: ViewFacts) -> tuple[Flaw, ...]:
    """What is wrong with a view."""
    view = facts.view
    again = "envforge cache view " + (view.environment or view.path)
    if facts.unseen:
        return (
            _view_flaw(
                facts, "unseen", view.path, f"could not be seen: {facts.unseen}", "", warn=True
            ),
        )
    if not facts.is_there:
        message = "is noted, and not there any more"
        remedy = f"{again}; or --repair forgets it"
        return (_view_flaw(facts, "view-gone", view.path, message, remedy, warn=True),)
    flaws: list[Flaw] = []
    for tree in facts.plan.repos:
        flaws += _judge_tree(facts, tree, again)
    for flat in facts.plan.flat:
        flaws += _judge_file(facts, ("", flat.name), flat.sha256, flat.size, again)
    return tuple(flaws)


def _judge_tree(facts: ViewFacts, tree: RepoTree, again: str) -> Iterator[Flaw]:
    folder = tree.repo.folder
    for blob in tree.blobs:
        yield from _judge_file(facts, (folder, blob.name), blob.sha256, blob.size, again)
    for snapshot in tree.snapshots:
        yield from _judge_links(facts, folder, snapshot, again)
    for name, commit in tree.refs:
        found = facts.refs.get((folder, name))
        if found != commit:
            said = f"says {found[:12]}…" if found else "is missing"
            # a client that went online moves it, and may: only a missing one breaks anything
            yield _view_flaw(
                facts,
                "view-ref",
                f"{facts.view.path}/{folder}/refs/{name}",
                f"{said}; locked is {commit[:12]}…",
                again,
                warn=bool(found and layout.COMMIT.fullmatch(found)),
            )


def _judge_links(facts: ViewFacts, folder: str, snapshot: Snapshot, again: str) -> Iterator[Flaw]:
    for path, blob in snapshot.files:
        key = folder, snapshot.commit, path
        target = facts.links.get(key)
        expected = f"{'../' * (2 + path.count('/'))}blobs/{blob}"
        if target != expected:
            said = f"leads to `{target}`" if target else "is missing"
            where = f"{facts.view.path}/{folder}/snapshots/{snapshot.commit}/{path}"
            yield _view_flaw(facts, "view-file", where, said, again)


def _judge_file(
    facts: ViewFacts, key: tuple[str, str], sha256: str, size: int, again: str
) -> Iterator[Flaw]:
    item = facts.files.get(key)
    where = "/".join([facts.view.path, *([key[0], "blobs"] if key[0] else []), key[1]])
    message = ""
    if item is None:
        message = "is missing"
    elif not item.is_file:
        message = "is no regular file"
    elif item.is_damaged:
        message = "is the file with wrong bytes that lies in quarantine"
    elif item.size != size:
        message = f"has {item.size:,} bytes, locked are {size:,}"
    elif item.found and item.found != sha256:
        message = f"has other bytes: sha256 {item.found[:12]}…"
    elif not item.is_linked and facts.view.modes.get(sha256) == "hardlink":
        message = "is no link to the store any more: it takes space of its own"
        yield _view_flaw(facts, "view-copy", where, message, again, sha256=sha256, warn=True)
        return
    if message:
        yield _view_flaw(facts, "view-file", where, message, again, sha256=sha256)


def _view_flaw(
    facts: ViewFacts,
    kind: FlawKind,
    path: str,
    message: str,
    remedy: str,
    *,
    sha256: str = "",
    warn: bool = False,
) -> Flaw:
    return Flaw(
        kind=kind,
        path=path,
        message=message,
        sha256=sha256,
        view=facts.view.path,
        wanted_by=(facts.view.environment,) if facts.view.environment else (),
        remedy=remedy,
        is_warning=warn,
    )


def in_order(flaws: Collection[Flaw]) -> tuple[Flaw, ...]:
    """Problems before warnings, the store before views, by path."""
    return tuple(sorted(flaws, key=lambda flaw: (flaw.is_warning, flaw.view, flaw.kind, flaw.path)))

"""What a view holds: folders, blobs, relative links, refs. Pure.

A view is an ordinary cache tree of huggingface_hub (`cache/layout.py`). Of all ways to hang a tree
on a store, only hardlinked blobs under folders of the tree's own are both read by hub 0.10 to 2.4
and safe from each of their own clean-ups: those follow symbolic links out of the tree and delete
what they find.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from envforge.cache import git_blob, layout
from envforge.cache.hub_variables import PUBLIC_HUB
from envforge.errors import HostileRepo
from envforge.model.models import MAIN, LockedModel, ModelFile, Repo
from envforge.model.solving import without_credentials
from envforge.model.views import ViewedModel

_LISTING_VERSION: Final = 1
"""`format_version` of `trees/<commit>.json` (huggingface_hub 1.24 to 2.4, `_tree_cache.py`)."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Blob:
    """One file of the store, under the name that the hub knows it by."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`snapshots/<commit>/`."""

    commit: str
    files: tuple[tuple[str, str], ...]
    """Path inside the repository, and its blob; sorted by path."""
    listing: str | None
    """Text of `trees/<commit>.json`; None: only some of the repository's files are locked, and a
    client that trusts a short listing would never fetch the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoTree:
    """One repository's folder in a view."""

    repo: Repo
    blobs: tuple[Blob, ...]
    snapshots: tuple[Snapshot, ...]
    refs: tuple[tuple[str, str], ...]
    """Name and commit; `main` last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatFile:
    """One file of the flat cache, and what its `.json` says."""

    name: str
    sha256: str
    size: int
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPlan:
    """Everything that a view shows."""

    models: tuple[ViewedModel, ...]
    repos: tuple[RepoTree, ...] = ()
    flat: tuple[FlatFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file once, by its sha256."""
        blobs: list[Blob | FlatFile] = [blob for tree in self.repos for blob in tree.blobs]
        return {item.sha256: item.size for item in (*blobs, *self.flat)}

    @property
    def names(self) -> int:
        """Under how many names files are shown."""
        return len(self.flat) + sum(len(s.files) for tree in self.repos for s in tree.snapshots)


def plan_view(models: Sequence[LockedModel]) -> ViewPlan:
    """A cache tree of huggingface_hub.

    Args:
        models: where two are locked for one branch, the later one is what the branch means.

    Raises:
        HostileRepo: a name that would leave its folder, or two files that need one place.
    """
    by_repo: dict[Repo, list[LockedModel]] = {}
    for model in models:
        by_repo.setdefault(model.repo, []).append(model)
    trees: list[RepoTree] = []
    notes: list[str] = []
    for repo in sorted(by_repo):
        refs, said = _refs(repo, by_repo[repo])
        trees.append(_tree(repo, by_repo[repo], refs))
        notes += said
    return ViewPlan(models=_viewed(models), repos=tuple(trees), notes=tuple(notes))


def plan_flat(models: Sequence[LockedModel], endpoint: str = PUBLIC_HUB) -> ViewPlan:
    """The cache of transformers before 4.22: files named by the hashes of address and ETag.

    Datasets and spaces were not fetched through it and are left out.

    Raises:
        HostileRepo: see `plan_view`.
    """
    files: dict[str, FlatFile] = {}
    notes: list[str] = []
    for repo in sorted({model.repo for model in models if model.repo.kind == "model"}):
        locked = [model for model in models if model.repo == repo]
        refs, said = _refs(repo, locked)
        notes += said
        commits = {model.commit: model.commit for model in locked}
        for revision, commit in (*commits.items(), *refs):
            for item in _checked_files(repo, (m for m in locked if m.commit == commit)):
                flat = _flat(repo, revision, item, endpoint)
                files[flat.name] = flat
    return ViewPlan(
        models=_viewed(models),
        flat=tuple(files[name] for name in sorted(files)),
        notes=tuple(notes),
    )


def _viewed(models: Iterable[LockedModel]) -> tuple[ViewedModel, ...]:
    return tuple(
        sorted(
            {
                ViewedModel(repo=model.repo, commit=model.commit, revision=model.request.revision)
                for model in models
            }
        )
    )


# --- one repository -------------------------------------------------------------------------


def _tree(repo: Repo, models: Sequence[LockedModel], refs: tuple[tuple[str, str], ...]) -> RepoTree:
    blobs: dict[str, Blob] = {}
    for item in _checked_files(repo, models):
        blob = Blob(name=item.blob, sha256=item.sha256, size=item.size)
        if blobs.setdefault(item.blob, blob) != blob:
            raise _hostile(repo, item.path, "has the name of other bytes")
    commits = sorted({model.commit for model in models})
    return RepoTree(
        repo=repo,
        blobs=tuple(sorted(blobs.values())),
        snapshots=tuple(_snapshot(repo, commit, models) for commit in commits),
        refs=refs,
    )


def _snapshot(repo: Repo, commit: str, models: Iterable[LockedModel]) -> Snapshot:
    asked = [model for model in models if model.commit == commit]
    files: dict[str, ModelFile] = {}
    for item in (item for model in asked for item in model.files):
        if files.setdefault(item.path, item) != item:
            raise _hostile(repo, item.path, "is locked twice with other bytes")
    layout.check_places(repo.shown, files)
    whole = any(model.request.patterns == ((), ()) for model in asked)
    return Snapshot(
        commit=commit,
        files=tuple((path, files[path].blob) for path in sorted(files)),
        listing=_listing(files.values()) if whole else None,
    )


def _checked_files(repo: Repo, models: Iterable[LockedModel]) -> Iterator[ModelFile]:
    """All files of these locks, each seen to be where it may be and named as hubs name."""
    for model in models:
        if not layout.COMMIT.fullmatch(model.commit):
            raise _hostile(repo, model.commit, "is no commit")
        for item in model.files:
            layout.check_path(item.path, repo.shown)
            if not layout.is_blob_name(item.blob) or not layout.SHA256.fullmatch(item.sha256):
                raise _hostile(repo, item.path, "has a hash that is none")
            yield item


def _refs(
    repo: Repo, models: Sequence[LockedModel]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Branches and tags with their commits, `main` last; and what a person should know of it.

    Clients look for `main` where no revision is named. Offline they find nothing without it, so a
    repository that is locked at one commit gets it, whatever it was asked for by.
    """
    layout.check_path(repo.folder, repo.shown)
    refs: dict[str, str] = {}
    notes: list[str] = []
    for model in models:
        name, commit = model.request.revision, model.commit
        if name == commit:
            continue
        layout.check_path(name, repo.shown)
        if refs.get(name, commit) != commit:
            notes.append(
                f"{repo.shown} is locked at two commits as `{name}`: {refs[name][:7]} and"
                f" {commit[:7]}; `{name}` means {commit[:7]} here"
            )
        refs[name] = commit
    commits = {model.commit for model in models}
    if MAIN not in refs and len(commits) == 1:
        refs[MAIN] = commits.pop()
    elif MAIN not in refs:
        notes.append(
            f"{repo.shown} is locked at {len(commits)} commits, none as `{MAIN}`:"
            " programs must name the revision"
        )
    layout.check_places(repo.shown, refs)
    return tuple(sorted(refs.items(), key=lambda ref: (ref[0] == MAIN, ref[0]))), tuple(notes)


def _listing(files: Iterable[ModelFile]) -> str:
    """What huggingface_hub writes itself: it tells a whole snapshot from a part of one by it."""
    entries = {item.path: _entry(item) for item in sorted(files)}
    return json.dumps({"format_version": _LISTING_VERSION, "files": entries}, indent=1)


def _entry(item: ModelFile) -> dict[str, str | int]:
    if not layout.SHA256.fullmatch(item.blob):
        return {"size": item.size, "blob_id": item.blob}
    entry: dict[str, str | int] = {
        "size": item.size,
        "blob_id": _pointer_id(item),
        "lfs_sha256": item.sha256,
        "lfs_size": item.size,
    }
    if layout.SHA256.fullmatch(item.xet):
        entry["xet_hash"] = item.xet
    return entry


def _pointer_id(item: ModelFile) -> str:
    """Git's name of the text that stands in the repository for an LFS file.

    The text is fixed byte for byte (git-lfs, `docs/spec.md`), so the hub need not be asked.
    """
    text = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{item.sha256}\nsize {item.size}\n"
    )
    return git_blob.name(text.encode("ascii"))


def _flat(repo: Repo, revision: str, item: ModelFile, endpoint: str) -> FlatFile:
    """See `url_to_filename` and `hf_bucket_url` in `file_utils.py` of transformers 4.0 to 4.21."""
    url, etag = f"{endpoint}/{repo.id}/resolve/{revision}/{item.path}", f'"{item.blob}"'
    name = f"{_hashed(url)}.{_hashed(etag)}{'.h5' if url.endswith('.h5') else ''}"
    return FlatFile(
        name=name,
        sha256=item.sha256,
        size=item.size,
        metadata=json.dumps({"url": without_credentials(url), "etag": etag}),
    )


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _hostile(repo: Repo, path: str, reason: str) -> HostileRepo:
    return HostileRepo(repo=repo.shown, path=path, reason=reason)

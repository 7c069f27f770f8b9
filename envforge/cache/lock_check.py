"""Whether models.yml and models-lock.yml agree, and what moved between two locks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from envforge.cache import patterns
from envforge.model.models import (
    FileChange,
    LockedModel,
    ModelChange,
    ModelRequest,
    ModelsLock,
    Repo,
)
from envforge.model.wording import listed

_HASH: Final = re.compile(r"[0-9a-f]{7,40}")
_NAMED: Final = 3
"""So many files are named in one sentence."""


def disagreements(requests: Iterable[ModelRequest], lock: ModelsLock) -> tuple[str, ...]:
    """Why the lock is not what models.yml asks for, a sentence each; empty: they agree.

    No network: whether a branch has moved since is not asked.
    """
    wanted = {_key(request): request for request in requests}
    locked = {_key(model.request): model for model in lock.models}
    missing = [f"`{_shown(key)}` is not locked" for key in wanted if key not in locked]
    extra = [f"`{_shown(key)}` is locked, but not asked for" for key in locked if key not in wanted]
    both = [(wanted[key], model) for key, model in locked.items() if key in wanted]
    return (*missing, *extra, *(said for pair in both for said in _compared(*pair)))


def _compared(request: ModelRequest, model: LockedModel) -> Iterator[str]:
    shown = _shown(_key(request))
    if request != model.request:
        yield f"`{shown}` asks for other files than were locked"
        return
    if _HASH.fullmatch(request.revision) and not model.commit.startswith(request.revision):
        yield f"`{shown}` is locked to another commit, {model.commit[:12]}"
    means = patterns.matcher(request)
    left_out = [item.path for item in model.files if not means(item.path)]
    if left_out:
        names = listed(left_out, _NAMED, quote="`")
        yield f"`{shown}`: its patterns leave out {names}, which are locked"
    if not model.files:
        yield f"`{shown}` is locked without a single file"


def compare(before: ModelsLock, after: ModelsLock) -> tuple[ModelChange, ...]:
    """What moved, sorted by repository; models that are the same in both are left out."""
    old = {_key(model.request): model for model in before.models}
    new = {_key(model.request): model for model in after.models}
    pairs = ((key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()))
    return tuple(
        ModelChange(
            repo=key[0],
            revision=key[1],
            before=was.commit if was else "",
            after=now.commit if now else "",
            files=tuple(_file_changes(was, now)),
        )
        for key, was, now in pairs
        if was is None or now is None or (was.commit, was.files) != (now.commit, now.files)
    )


def _file_changes(before: LockedModel | None, after: LockedModel | None) -> Iterator[FileChange]:
    old = {item.path: item for item in before.files} if before else {}
    new = {item.path: item for item in after.files} if after else {}
    for path in sorted(old.keys() | new.keys()):
        was, now = old.get(path), new.get(path)
        if (was.sha256 if was else "") != (now.sha256 if now else ""):
            yield FileChange(
                path=path, before=was.size if was else None, after=now.size if now else None
            )


def _key(request: ModelRequest) -> tuple[Repo, str]:
    return request.repo, request.revision


def _shown(key: tuple[Repo, str]) -> str:
    return f"{key[0].shown}@{key[1]}"

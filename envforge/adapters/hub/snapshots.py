"""Snapshots that lie in cache trees of huggingface_hub, found without asking anybody."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from envforge.cache import layout, patterns
from envforge.model.found import ModelPath
from envforge.model.models import ModelRequest

_SHORT: Final = re.compile(r"[0-9a-f]{7,39}")


def find(
    cache: Path, request: ModelRequest, *, is_whole: Callable[[Path, str], bool]
) -> ModelPath | None:
    """The snapshot that a cache has of what is asked for; None: none.

    Args:
        cache: a cache tree, which need not exist.
        request: what is asked for; its revision is taken as the cache knows it.
        is_whole: whether the snapshot of a commit in this cache is known to be whole otherwise.
    """
    repo = cache / request.repo.folder
    commit = _commit(repo, request.revision)
    if commit is None:
        return None
    folder = repo / "snapshots" / commit
    if not folder.is_dir():
        return None
    complete = _is_complete(repo, commit, request)
    if complete is None and is_whole(cache, commit):
        complete = not _dangling(folder)
    if complete is None and (_dangling(folder) or not any(folder.iterdir())):
        complete = False
    return ModelPath(
        str(folder), source="local", commit=commit, cache=str(cache), complete=complete
    )


def _commit(repo: Path, revision: str) -> str | None:
    if layout.COMMIT.fullmatch(revision):
        return revision
    ref = repo / "refs" / revision
    try:
        named = ref.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        named = ""
    if layout.COMMIT.fullmatch(named):
        return named
    if not _SHORT.fullmatch(revision):
        return None
    found = [path.name for path in (repo / "snapshots").glob(f"{revision}*")]
    return found[0] if len(found) == 1 and layout.COMMIT.fullmatch(found[0]) else None


def _is_complete(repo: Path, commit: str, request: ModelRequest) -> bool | None:
    """By the list of files that huggingface_hub 1.10 and newer keep, and our views have."""
    try:
        text = (repo / "trees" / f"{commit}.json").read_text(encoding="utf-8")
        names = list(json.loads(text)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    means = patterns.matcher(request)
    folder = repo / "snapshots" / commit
    # `os.path`: a link of a name that leads nowhere is not there
    return all(os.path.isfile(folder / name) for name in names if means(name))  # noqa: PTH113


def _dangling(folder: Path) -> bool:
    """Whether a link in a snapshot leads nowhere: its blob was removed."""
    return any(path.is_symlink() and not path.exists() for path in folder.rglob("*"))

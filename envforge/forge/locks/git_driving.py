"""`git install`, and what git then calls: locks shown and merged by their packages."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from envforge.adapters.environments import CONDA_LOCK_YML
from envforge.adapters.files import is_there, read_text, write_text
from envforge.adapters.git import Git
from envforge.errors import EnvforgeError
from envforge.forge.workplace import Workplace
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.drivers import GitInstalled, LockMerge
from envforge.model.lock import Lock
from envforge.team import lock_text, merge

_NAME: Final = "envforge-lock"
ATTRIBUTES: Final = f"{CONDA_LOCK_YML} diff={_NAME} merge={_NAME} linguist-generated=true"
"""One line of `.gitattributes`: git takes its own ways where the drivers are not set up."""
_PROGRAM: Final = (
    "import sys; sys.path[:] = filter(None, sys.path); from envforge.cli import main; main()"
)
"""Unlike `-m envforge`, it takes no module out of the folder it runs in: git runs it at the top of
a repository, and whatever lies there was written by others."""
_LOCAL: Final = "--local"
_NOTHING: Final = Lock(packages=(), platforms=(), channels=(), content_hash={})


def install(workplace: Workplace, folder: Path, *, remove: bool = False) -> GitInstalled:
    """Write the drivers into the repository's configuration, and the line into `.gitattributes`.

    Raises:
        InvalidValue: the folder is in no repository.
        FileNotUsable: `.gitattributes` cannot be written.
    """
    git = Git(workplace.processes, workplace.settings.environment, folder)
    top = git.top()
    wanted = {} if remove else _settings()
    changed = [key for key, value in _settings().items() if _differs(git, key, value, remove)]
    if remove:
        for section in (f"diff.{_NAME}", f"merge.{_NAME}"):
            git.unset_section(section, scope=_LOCAL)
    for key, value in wanted.items():
        git.set(key, value, scope=_LOCAL)
    attributes = top / ".gitattributes"
    written = _write_attributes(attributes, remove=remove)
    return GitInstalled(
        repository=top, settings=tuple(changed), attributes=attributes, wrote_attributes=written
    )


def _differs(git: Git, key: str, value: str, remove: bool) -> bool:
    found = git.get(key, scope=_LOCAL)
    return found is not None if remove else found != value


def _settings() -> dict[str, str]:
    """The drivers; where this envforge is gone one day, git shows the file as it is."""
    ours = shlex.join([sys.executable, "-c", _PROGRAM, "git"])
    show = f'f() {{ {ours} textconv -- "$1" 2>/dev/null || cat -- "$1"; }}; f'
    driver = ours.replace("%", "%%")
    return {
        f"diff.{_NAME}.textconv": show,
        f"diff.{_NAME}.xfuncname": f"^{lock_text.SECTION} (.*)$",
        f"merge.{_NAME}.name": "envforge: locks, package by package",
        f"merge.{_NAME}.driver": f"{driver} merge -- %O %A %B %P",
    }


def _write_attributes(path: Path, *, remove: bool) -> bool:
    text = read_text(path) if is_there(path) else ""
    lines = [line for line in text.splitlines() if not _is_ours(line)]
    if not remove:
        if ATTRIBUTES in text.splitlines():
            return False
        lines.append(ATTRIBUTES)
    new = "".join(f"{line}\n" for line in lines)
    if new == text or (remove and not is_there(path)):
        return False
    write_text(path, new)
    return True


def _is_ours(line: str) -> bool:
    return f"diff={_NAME}" in line.split() or f"merge={_NAME}" in line.split()


# --- called by git --------------------------------------------------------------------------


def readable(path: Path) -> str:
    """A lock as lines to compare; any other text as it is.

    Raises:
        FileNotUsable: the file cannot be read.
    """
    text = read_text(path)
    try:
        lock = conda_lock_yml.read(text, str(path))
    except EnvforgeError:
        return text
    return "".join(f"{line}\n" for line in lock_text.lines(lock))


def merge_files(workplace: Workplace, base: Path, ours: Path, theirs: Path) -> LockMerge:
    """Merge what two branches made of a lock into `ours`, as git asks a merge driver to.

    Locks that another tool wrote, or that cannot be read, are merged as text.

    Raises:
        FileNotUsable: one of the files cannot be read or written.
    """
    texts = [read_text(path) for path in (base, ours, theirs)]
    locks = _locks(texts, ours)
    if locks is None:
        git = Git(workplace.processes, workplace.settings.environment, ours.absolute().parent)
        return LockMerge(is_clean=git.merge_file(base, ours, theirs), by_package=False)
    merged = merge.merge(*locks)
    write_text(ours, conda_lock_yml.write(merged.lock))
    return LockMerge(
        is_clean=merged.is_solved and not merged.conflicts,
        by_package=True,
        is_solved=merged.is_solved,
        conflicts=tuple(f"{item.name} ({item.platform})" for item in merged.conflicts),
    )


def _locks(texts: Sequence[str], path: Path) -> tuple[Lock, Lock, Lock] | None:
    """Base, ours, theirs; None: not all of them are locks that envforge wrote."""
    if not all(map(conda_lock_yml.is_ours, texts[1:])):
        return None
    try:
        ours, theirs = (conda_lock_yml.read(text, str(path)) for text in texts[1:])
        # git hands over an empty file where both branches added the lock
        is_new = not texts[0].strip()
        base = _NOTHING if is_new else conda_lock_yml.read(texts[0], str(path))
    except EnvforgeError:
        return None
    return base, ours, theirs

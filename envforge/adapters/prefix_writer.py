"""Our own files in a prefix's `conda-meta/`, and the removal of a whole prefix."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from envforge.adapters.files import flush_folder, read_text, unusable, write_text
from envforge.adapters.prefix_reader import leftover_dist_infos, unreadable_records
from envforge.formats.conda import conda_meta
from envforge.model.lock import LockedPackage
from envforge.model.prefix import InstallPlan, InstallRecord

_ATTEMPTS: Final = 40
_PAUSE: Final = 0.05


def write_marker(prefix: Path, record: InstallRecord) -> None:
    """Say in the prefix how far an install is, and flush that to disk.

    Raises:
        FileNotUsable: the prefix cannot be created or written.
    """
    meta = prefix / "conda-meta"
    write_text(meta / conda_meta.MARKER, conda_meta.render_marker(record))
    flush_folder(meta)


def clear_leftovers(prefix: Path) -> None:
    """Drop what an interruption left and no tool makes sense of.

    Cut package records (rattler writes them as `prefix_record_…`, we as `….tmp`, before each gets
    its name), dist-info folders of half a package, half-removed prefixes.
    """
    try:
        meta = prefix / "conda-meta"
        aside = (*meta.glob("prefix_record_*"), *meta.glob("*.tmp"), *meta.glob(".*.tmp"))
        for path in (*unreadable_records(prefix), *aside):
            path.unlink(missing_ok=True)
        for folder in leftover_dist_infos(prefix):
            _remove_tree(folder)
        for folder in prefix.parent.glob(f".{_escaped(prefix.name)}.removing-*"):
            _remove_tree(folder)
    except OSError as error:
        raise unusable(prefix, error) from error


def write_variables(prefix: Path, ours: Mapping[str, str], before: Sequence[str]) -> None:
    """Put the lock's activation variables into `conda-meta/state`, conda's place for them.

    Raises:
        InvalidFile: the file there is not conda's, and may hold what somebody needs.
        FileNotUsable: it may not be read or written.
    """
    path = prefix / "conda-meta" / "state"
    text = read_text(path) if path.is_file() else None
    if text is None and not ours:
        return
    write_text(path, conda_meta.merge_state(text, ours, before, str(path)))


def write_history(
    prefix: Path,
    plan: InstallPlan,
    *,
    packages: Sequence[LockedPackage],
    when: str,
    requested: Sequence[str],
) -> None:
    """Add a revision to `conda-meta/history`; conda takes a folder without that file for none.

    The first one names all `packages`: an interrupted install did some of them before `plan`.
    """
    path = prefix / "conda-meta" / "history"
    try:
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        first = not before.strip()
        changes = InstallPlan(prefix=prefix, add=tuple(packages)) if first else plan
        entry = conda_meta.history_entry(changes, when=when, requested=requested, first=first)
        write_text(path, before + entry)
    except OSError as error:
        raise unusable(path, error) from error


def delete(prefix: Path) -> None:
    """Remove a prefix: renamed aside first, so that nobody meets half of one under its name.

    Of a prefix that is a link, what it leads to goes too.

    Raises:
        FileNotUsable: it, or the folder it lies in, may not be written.
    """
    real = prefix.resolve()
    aside = real.with_name(f".{real.name}.removing-{secrets.token_hex(4)}")
    try:
        real.rename(aside)
        if prefix.is_symlink():
            prefix.unlink()
        _remove_tree(aside)
    except OSError as error:
        raise unusable(prefix, error) from error


def _remove_tree(folder: Path) -> None:
    """Like `rm -rf`: folders that packages made read-only are opened first."""

    def retry(function: Callable[..., object], path: str, _: object) -> None:
        parent = os.path.dirname(path)  # noqa: PTH120 - rmtree hands us text
        os.chmod(parent, os.stat(parent).st_mode | stat.S_IRWXU)  # noqa: PTH101, PTH116
        if function is os.unlink or function is os.rmdir:
            function(path)
        else:  # a folder that could not even be listed
            os.chmod(path, stat.S_IRWXU)  # noqa: PTH101
            shutil.rmtree(path)

    for _ in range(_ATTEMPTS):
        if _is_removed(folder, retry):
            return
        time.sleep(_PAUSE)  # a process that compiles in the background is just ending
    _remove_once(folder, retry)


def _is_removed(folder: Path, retry: Callable[..., object]) -> bool:
    """Try; False: somebody put a file into it meanwhile."""
    try:
        _remove_once(folder, retry)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _remove_once(folder: Path, retry: Callable[..., object]) -> None:
    if folder.is_symlink() or not folder.exists():
        return
    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=retry)
    else:
        shutil.rmtree(folder, onerror=retry)


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)

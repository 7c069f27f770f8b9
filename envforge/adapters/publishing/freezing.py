"""A prefix that nobody changes any more: neither conda, nor pip, nor anybody who reads it.

conda leaves alone what has `conda-meta/frozen` (CEP 22), pip and uv what has `EXTERNALLY-MANAGED`
beside the standard library (PEP 668). Folders lose everybody's right to write. A file that is also
the package cache's, by a hardlink, keeps its mode; where that will not do, or where the cache is
another user's, it is copied first.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envforge.adapters.files import unusable, write_text
from envforge.formats.text import json_text

FROZEN: Final = "conda-meta/frozen"
MANAGED: Final = "EXTERNALLY-MANAGED"
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_NOT_FOR_ALL: Final = _OTHERS_WRITE | stat.S_ISUID | stat.S_ISGID
_ALL_READ: Final = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_ALL_ENTER: Final = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_ALL_WRITE: Final = stat.S_IWUSR | _OTHERS_WRITE


def freeze(prefix: Path, message: str) -> None:
    """Mark the prefix, and take everybody's right to write its folders.

    Whoever reaches the prefix can read all of it afterwards.

    Raises:
        FileNotUsable: a mode could not be changed; the same call goes on.
    """
    thaw(prefix)  # of an interrupted call
    write_text(prefix / FROZEN, f"{json.dumps({'message': message})}\n", mode=0o644)
    for folder in standard_libraries(prefix):
        text = f"[externally-managed]\nError={_indented(message)}\n"
        write_text(folder / MANAGED, text, mode=0o644)
    try:
        for folder, files in _walk(prefix):
            for path, found in files:
                _readable(path, found)
            mode = stat.S_IMODE(folder.stat().st_mode)
            folder.chmod((mode | _ALL_READ | _ALL_ENTER) & ~_ALL_WRITE)
    except OSError as error:
        raise unusable(Path(str(error.filename or prefix)), error) from error


def thaw(prefix: Path) -> None:
    """Give its owner the right to write folders again, so that they can be removed.

    Raises:
        FileNotUsable
    """
    try:
        if prefix.is_dir() and not prefix.is_symlink():
            _open(prefix)
            for folder, _, _ in os.walk(prefix, onerror=_raise):
                for entry in os.scandir(folder):
                    if entry.is_dir(follow_symlinks=False):
                        _open(Path(entry.path))
    except OSError as error:
        raise unusable(Path(str(error.filename or prefix)), error) from error


def message_of(prefix: Path) -> str | None:
    """What a frozen prefix says to whoever wants to change it; None: it is not frozen (CEP 22)."""
    try:
        text = (prefix / FROZEN).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    try:
        found = json_text.parse(text)
    except ValueError:
        return ""
    said = found.get("message") if isinstance(found, dict) else None
    return said if isinstance(said, str) else ""


def standard_libraries(prefix: Path) -> list[Path]:
    """Where an interpreter of the prefix looks for `EXTERNALLY-MANAGED`."""
    return sorted(path.parent for path in prefix.glob("lib/python3*/os.py"))


def _walk(prefix: Path) -> Iterator[tuple[Path, list[tuple[str, os.stat_result]]]]:
    """Each folder after those below it, with its regular files."""
    for folder, _, names in os.walk(prefix, topdown=False, onerror=_raise):
        files = [(path, os.lstat(path)) for path in (f"{folder}/{name}" for name in names)]
        yield Path(folder), [item for item in files if stat.S_ISREG(item[1].st_mode)]


def _raise(error: OSError) -> None:
    raise error


def _readable(path: str, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    wanted = (mode | _ALL_READ | (_ALL_ENTER if mode & stat.S_IXUSR else 0)) & ~_NOT_FOR_ALL
    is_ours = found.st_uid == os.geteuid()
    if wanted == mode and is_ours:
        return
    if found.st_nlink == 1 and is_ours:
        os.chmod(path, wanted)  # noqa: PTH101 - tens of thousands of them
        return
    aside = f"{path}.{secrets.token_hex(4)}.tmp"  # the inode is the package cache's as well
    shutil.copy2(path, aside)
    os.chmod(aside, wanted)  # noqa: PTH101
    os.replace(aside, path)  # noqa: PTH105


def _open(folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        folder.chmod(mode | stat.S_IRWXU)


def _indented(message: str) -> str:
    """A value of several lines, as configparser reads it."""
    return message.replace("\n", "\n ")

"""Writing files so that a reader, or a power cut, never meets half of one."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from envforge.errors import FileNotUsable


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 beside the target, flush to disk, rename.

    The permission bits are those that `open` would give, so the umask decides.

    Raises:
        FileNotUsable: the folder is read-only, the disk full, or a folder is in the way.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("x", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(path, error) from error


def read_text(path: Path) -> str:
    """Read UTF-8.

    Raises:
        FileNotUsable: it does not exist, may not be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileNotUsable(
            path=str(path), reason=f"it is not UTF-8 (byte {error.start})"
        ) from error
    except OSError as error:
        raise unusable(path, error) from error


def is_folder(path: Path) -> bool:
    """Unlike `Path.is_dir`, False where a folder above may not be entered (before Python 3.12)."""
    return os.path.isdir(path)  # noqa: PTH112


def is_there(path: Path) -> bool:
    """Unlike `Path.exists`, False where a folder above may not be entered (before Python 3.12)."""
    return os.path.exists(path)  # noqa: PTH110


_LARGEST: Final = 1 << 28
_SMALL: Final = 1 << 16
"""Bytes that are had in one call, whatever the file is."""
_READING: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def read_start(path: str, most: int = _LARGEST) -> bytes:
    """The first bytes of a file that anybody may have put there; of a pipe or a device, none.

    Quicker than `open`, which counts where thousands of small files are read.

    Raises:
        OSError: it is not there, may not be read, or is no file.
    """
    descriptor = os.open(path, _READING)
    try:
        if most <= _SMALL:
            return os.read(descriptor, most)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        wanted = min(found.st_size, most)
        data = os.read(descriptor, wanted or _SMALL)
        while len(data) < wanted and (more := os.read(descriptor, wanted - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def unusable(path: Path, error: OSError) -> FileNotUsable:
    """Say an OSError in our words."""
    remedies = {
        "EROFS": "choose a folder that can be written, with `--envs` or `--prefix`",
        "EACCES": "choose a folder of yours, with `--envs`, `--prefix` or `ENVFORGE_CACHE`",
        "ENOSPC": "free some space, or choose another disk",
        "EDQUOT": "your quota is used up: free some space, or choose another disk",
    }
    name = _errno_name(error)
    return FileNotUsable(
        path=str(path),
        reason=(error.strerror or str(error)).lower(),
        remedy=remedies.get(name),
    )


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")

"""Writing files so that a reader, or a power cut, never meets half of one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from envforge.errors import FileNotUsable


def write_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write UTF-8 beside the target, flush to disk, rename.

    Args:
        path: the file, replaced where it exists.
        text: all of it.
        mode: permission bits; None: those that `open` would give, so the umask decides.

    Raises:
        FileNotUsable: the folder is read-only, the disk full, or a folder is in the way.
    """
    aside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("x", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                if mode is not None:
                    os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(path, error) from error


def make_folder(path: Path, mode: int) -> None:
    """Make it, and what is missing above it, with this mode whatever our umask.

    Raises:
        OSError: the system refuses.
    """
    if not path.is_dir():
        make_folder(path.parent, mode)
        path.mkdir(mode=mode, exist_ok=True)
        path.chmod(mode)


def refuse_unwritable(path: Path) -> None:
    """See that a file could be written, before an hour of work that it is to hold.

    Raises:
        FileNotUsable: its folder cannot be made or written, or it is a folder.
    """
    aside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch(exist_ok=False)
        aside.unlink()
    except OSError as error:
        raise unusable(path, error) from error
    if is_folder(path):
        raise unusable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(path: Path) -> str:
    """Read UTF-8.

    Raises:
        FileNotUsable: it does not exist, may not be read, is not UTF-8, or has no end.
    """
    try:
        data = bytearray()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                data += chunk
                if len(data) > _LARGEST:  # a clone may hold a link to a device
                    raise FileNotUsable(
                        path=str(path), reason=f"it is larger than {_LARGEST} bytes"
                    )
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise FileNotUsable(
            path=str(path), reason=f"it is not UTF-8 (byte {error.start})"
        ) from error
    except OSError as error:
        raise unusable(path, error) from error


def absolute(path: Path) -> Path:
    """As it will be named in other files: no `~` and no `..`, links as they are.

    What stands before `..` may be a link, so it is followed, as the kernel does.
    """
    full = path.expanduser().absolute()
    if ".." not in full.parts:
        return full
    behind = len(full.parts) - full.parts[::-1].index("..")
    return Path(*full.parts[:behind]).resolve().joinpath(*full.parts[behind:])


def is_folder(path: Path) -> bool:
    """Unlike `Path.is_dir`, False where a folder above may not be entered (before Python 3.12)."""
    return os.path.isdir(path)  # noqa: PTH112


def is_there(path: Path) -> bool:
    """Unlike `Path.exists`, False where a folder above may not be entered (before Python 3.12)."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Like `is_there`, of a regular file only: no pipe makes us wait, no device has no end."""
    return os.path.isfile(path)  # noqa: PTH113


def is_gone(path: Path) -> bool:
    """Whether nothing has this name. Where that cannot be told, something may: False.

    A folder on the way that may not be entered, or a disk that answers with an error, proves
    nothing; who removes what is not needed any more must not take it for an absence.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


_LARGEST: Final = 1 << 28
_CHUNK: Final = 1 << 20
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


def open_to_look(path: str, *, dir_fd: int | None = None) -> int:
    """A descriptor whose reads leave the access time alone: a look of ours is no use of a file.

    A symbolic link is refused, and a pipe does not make us wait.

    Raises:
        OSError: it is not there, or may not be read.
    """
    flags = _READING | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError:  # of another owner: only they, and root, may spare it
        return os.open(path, flags, dir_fd=dir_fd)


def reason(error: OSError) -> str:
    """What the system says, as a part of a sentence."""
    return (error.strerror or str(error)).lower()


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
        reason=reason(error),
        remedy=remedies.get(name),
    )


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")

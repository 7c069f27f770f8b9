"""POSIX ACLs, as the kernel keeps them: `struct posix_acl_xattr_*`, linux/posix_acl_xattr.h."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ACCESS: Final = "system.posix_acl_access"
_DEFAULT: Final = "system.posix_acl_default"
_VERSION: Final = 2
_NOBODY: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, id
_OWNER, _USER, _OWN_GROUP, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_WRITE: Final = 2
_NONE: Final = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_WORDS: Final = {_USER: "user", _GROUP: "group", _OWN_GROUP: "the group", _OTHER: "others"}


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One line of an ACL."""

    tag: int
    id: int
    permissions: int


def read(path: Path, *, default: bool) -> tuple[Entry, ...]:
    """The ACL of a file, or the one that new files in a folder get; empty: none.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        data = os.getxattr(path, _DEFAULT if default else _ACCESS, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NONE:
            return ()
        raise
    entries = _ENTRY.iter_unpack(data[_HEADER.size :])
    return tuple(Entry(tag, owner, permissions) for tag, permissions, owner in entries)


def writers(path: Path) -> tuple[str, ...]:
    """Who besides the owner may write what is made in a folder, by its default ACL."""
    entries = read(path, default=True)
    mask = next((item.permissions for item in entries if item.tag == _MASK), 7)
    return tuple(
        _WORDS[item.tag] + (f" {item.id}" if item.tag in {_USER, _GROUP} else "")
        for item in entries
        if item.tag in _WORDS and item.permissions & (7 if item.tag == _OTHER else mask) & _WRITE
    )


def drop_default(folder: Path) -> None:
    """Remove the ACL that new files get; what is there keeps its own.

    Raises:
        OSError: the folder is not ours.
    """
    os.removexattr(folder, _DEFAULT, follow_symlinks=False)


def let_in(folder: int, uid: int) -> None:
    """Let one more user make and remove files in a folder that we own.

    Args:
        folder: its descriptor.
        uid: the user; what others may do stays.

    Raises:
        OSError: the filesystem has no ACLs, or the folder is not ours.
    """
    mode = os.fstat(folder).st_mode
    entries = (
        Entry(_OWNER, _NOBODY, mode >> 6 & 7),
        Entry(_USER, uid, 7),
        Entry(_OWN_GROUP, _NOBODY, mode >> 3 & 5),
        Entry(_MASK, _NOBODY, 7),
        Entry(_OTHER, _NOBODY, mode & 5),
    )
    packed = (_ENTRY.pack(item.tag, item.permissions, item.id) for item in entries)
    os.setxattr(folder, _ACCESS, _HEADER.pack(_VERSION) + b"".join(packed))

"""The container of a pack: a tar of plain files in which every header has one possible form.

Headers are those of POSIX `ustar` with fixed owner, mode and time, so equal members give equal
bytes; sizes that eleven octal digits cannot hold are written in base 256, as GNU tar, bsdtar and
busybox read them. What is read must be, byte for byte, what would be written: links, devices,
extended headers, sparse files and other modes are not recognised, they are refused.
"""

from __future__ import annotations

import re
from typing import Final

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What a tar ends with; nothing follows."""
LARGEST: Final = 1 << 50
"""Bytes of one member; more is no file of a package or a model, but an attack or an accident."""
_NAME_BYTES: Final = 100
_FOLDER_BYTES: Final = 155
"""Of a folder that goes into a field of its own where the whole name is longer than 100 bytes."""
_FOLDER_AT: Final = 345
_OCTAL_SIZE: Final = 8**11
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~=@-]*")
"""Of a member's name: no blank, no hidden file, nothing that a shell or a filesystem reads."""


def is_name(name: str) -> bool:
    """Whether a member may be called so: relative, plain, and short enough for the header."""
    folder, tail = _split(name)
    fits = len(folder) <= _FOLDER_BYTES and len(tail) <= _NAME_BYTES
    return fits and all(_PART.fullmatch(part) for part in name.split("/"))


def _split(name: str) -> tuple[str, str]:
    if len(name) <= _NAME_BYTES:
        return "", name
    folder, _, tail = name.rpartition("/")
    return folder, tail


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member.

    Raises:
        ValueError: a name or a size that no member has.
    """
    if not is_name(name):
        raise ValueError(f"{name!r} is no name of a member")
    if not 0 <= size <= LARGEST:
        raise ValueError(f"{size} is no size of a member")
    folder, tail = _split(name)
    fields = (
        tail.encode().ljust(_NAME_BYTES, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0" * 2,  # owner and group
        _size(size),
        b"00000000000\0",  # time
        b" " * 8,  # the sum is made with blanks in its own place
        b"0",  # a plain file
        bytes(100),
        b"ustar\0" + b"00",
        bytes(_FOLDER_AT - 265),  # names of owner and group, and of a device
        folder.encode(),
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _size(size: int) -> bytes:
    if size < _OCTAL_SIZE:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")


def padding(size: int) -> int:
    """Zero bytes after a member of this size."""
    return -size % BLOCK


def read_header(block: bytes) -> tuple[str, int]:
    """Name and size of the member that follows.

    Raises:
        ValueError: anything but a header that `header` writes.
    """
    try:
        tail = block[:_NAME_BYTES].rstrip(b"\0").decode("ascii")
        folder = block[_FOLDER_AT : _FOLDER_AT + _FOLDER_BYTES].rstrip(b"\0").decode("ascii")
        name = f"{folder}/{tail}" if folder else tail
        size = _read_size(block[124:136])
        expected = header(name, size)
    except (UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"no header of a plain file ({error})") from error
    if block != expected:
        raise ValueError(f"the header of `{name}` is not that of a plain file")
    return name, size


def _read_size(field: bytes) -> int:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0") or b"x", 8)

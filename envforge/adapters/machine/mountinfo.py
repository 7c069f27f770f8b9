"""Reads `/proc/PID/mountinfo`: what is mounted where, and which mount a path lies on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of mountinfo (proc(5))."""

    point: str
    """Where it is mounted, absolute."""
    root: str
    """Which part of the file system it shows: `/`, or for a bind mount the path in it."""
    kind: str
    """`ext4`, `tmpfs`, `overlay` …"""
    source: str
    """Device or name: `/dev/sda1`, `overlay`."""
    options: frozenset[str]
    """Of the mount and of its file system: `ro`, `noexec`, `size=65536k` …"""

    def option(self, name: str) -> str | None:
        """The value of `name=value`; None: not set."""
        found = (item for item in self.options if item.startswith(f"{name}="))
        return next((item.partition("=")[2] for item in found), None)


def read_mounts(text: str) -> tuple[Mount, ...]:
    """Every mount, in the order of mounting; lines of another form are left out."""
    found = (_read_line(line) for line in text.splitlines())
    return tuple(item for item in found if item is not None)


def _read_line(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields, device = before.split(), after.split()
    if not separator or len(fields) < 6 or len(device) < 2:
        return None
    own = device[2].split(",") if len(device) > 2 else []
    return Mount(
        point=_plain(fields[4]),
        root=_plain(fields[3]),
        kind=device[0],
        source=_plain(device[1]),
        options=frozenset([*fields[5].split(","), *own]),
    )


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute path lies on; of several on one place the last hides the rest."""
    best: Mount | None = None
    for mount in mounts:
        inside = mount.point in {"/", path} or path.startswith(f"{mount.point}/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _plain(text: str) -> str:
    """Blanks and the like are written as octal numbers."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)

"""Reads the machine's own files below a root, with links that stay below it.

The root is `/`, or another tree: a host mounted into a container, a tree that a test built. An
absolute link inside it means a path of that tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envforge.adapters.files import read_start

_LINKS: Final = 40
"""As many as the kernel follows."""
_TEXT: Final = 1 << 20


class HostRoot:
    """What is not there, or may not be read, is None or empty: nothing here raises OSError."""

    def __init__(self, root: Path) -> None:
        self._root = str(root).rstrip("/")

    @property
    def is_own(self) -> bool:
        """Whether these are the files of the machine this process runs on."""
        return not self._root

    def real(self, path: str) -> str:
        """An absolute path of the machine, with every link followed."""
        if self.is_own:
            return os.path.realpath(path)
        done, left, links = "", path.split("/"), 0
        while left:
            part = left.pop(0)
            if part in {"", "."}:
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            target = self._link(f"{done}/{part}") if links < _LINKS else None
            if target is None:
                done = f"{done}/{part}"
                continue
            links += 1
            done = "" if target.startswith("/") else done
            left = target.split("/") + left
        return done or "/"

    def _link(self, path: str) -> str | None:
        try:
            return os.readlink(self._root + path)  # noqa: PTH115 - no Path for each part
        except (OSError, ValueError):
            return None

    def place(self, path: str) -> str:
        """Where a path of the machine is reached from here, links followed."""
        return self._root + (path if self.is_own else self.real(path))

    def status(self, path: str) -> os.stat_result | None:
        """Of what a path leads to."""
        try:
            return os.stat(self.place(path))  # noqa: PTH116 - no Path for hundreds of names
        except (OSError, ValueError):
            return None

    def exists(self, path: str) -> bool:
        return self.status(path) is not None

    def data(self, path: str, most: int = _TEXT) -> bytes | None:
        """The first bytes of a file."""
        try:
            return read_start(self.place(path), most)
        except (OSError, ValueError):
            return None

    def text(self, path: str, most: int = _TEXT) -> str | None:
        found = self.data(path, most)
        return None if found is None else found.decode("utf-8", "replace")

    def line(self, path: str) -> str:
        """A small file's first line, without blanks around it."""
        return (self.text(path, 4096) or "").partition("\n")[0].strip()

    def end(self, path: str, most: int) -> str:
        """The last lines of a file that may be large."""
        status = self.status(path)
        if status is None:
            return ""
        try:
            with open(self.place(path), "rb", buffering=0) as stream:  # noqa: PTH123
                stream.seek(max(status.st_size - most, 0))
                found = stream.read(most)
        except (OSError, ValueError):
            return ""
        return found.decode("utf-8", "replace")

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted."""
        try:
            return sorted(os.listdir(self.place(path)))  # noqa: PTH208 - names only
        except (OSError, ValueError):
            return []

    def link_name(self, path: str) -> str | None:
        """The last part of a link's target, as sysfs names drivers and groups."""
        target = self._link(path)
        return target.rstrip("/").rpartition("/")[2] if target else None

    def below(self, path: str, most: int) -> Iterator[str]:
        """Paths of the files in a folder and its folders; `most` bounds what is looked at."""
        top = self.place(path)
        seen = 0
        for folder, _, files in os.walk(top):
            for name in files:
                seen += 1
                if seen > most:
                    return
                yield f"{path}{folder[len(top) :]}/{name}"

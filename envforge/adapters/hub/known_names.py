"""The sha256 of files that a hub names by git's sha1, so that no file is fetched twice for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from envforge.adapters import locking
from envforge.adapters.files import unusable

_LINE: Final = re.compile(r"([0-9a-f]{40}) ([0-9a-f]{64})")


class KnownNames:
    """One text file, a line a name; lines are added and never changed.

    Git's sha1 stands for the bytes themselves: the file needs no date and no repository.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, str] | None = None

    def get(self, sha1: str) -> str | None:
        """The sha256; None: not known."""
        with self._lock:
            if self._known is None:
                self._known = self._read()
            return self._known.get(sha1)

    def _read(self) -> dict[str, str]:
        try:
            text = self._path.read_text(encoding="ascii", errors="replace")
        except OSError:  # not there, or not for us: then nothing is known
            return {}
        found = map(_LINE.fullmatch, text.splitlines())
        return {match[1]: match[2] for match in found if match}  # half a line after a power cut

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember pairs of sha1 and sha256, seen to be true by the bytes.

        Raises:
            FileNotUsable: the cache cannot be written.
        """
        lines = "".join(f"{sha1} {sha256}\n" for sha1, sha256 in pairs)
        if not lines:
            return
        with self._lock, locking.hold(self._path.with_suffix(".lock"), waiting=lambda _: None):
            try:
                with self._path.open("a+", encoding="ascii", newline="\n") as stream:
                    stream.write(lines if _ends_whole(self._path) else f"\n{lines}")
            except OSError as error:
                raise unusable(self._path, error) from error
            self._known = None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 1))
        return stream.read(1) in {b"", b"\n"}

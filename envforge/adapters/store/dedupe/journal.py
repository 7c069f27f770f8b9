"""What was about to be replaced, written down first, and how to get it back.

One file a run, one JSON line a set of twins: the kept inode, and what each name had of its own.
A line that was not carried out any more does no harm: undoing looks whether the name is a link to
the kept inode.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from envforge.adapters.files import unusable
from envforge.cache.dedupe_plan import Copy, Folder
from envforge.errors import InvalidFile, InvalidValue

VERSION: Final = 1
_SUFFIX: Final = ".journal"
UNDONE: Final = ".undone"


class Linked(NamedTuple):
    """The kept file, as it was."""

    inode: int
    size: int
    claim: str
    written: int
    """Nanoseconds."""


class Replaced(NamedTuple):
    """One name that became, or was about to become, a link."""

    folder: Folder
    name: str
    kept: Linked
    owner: int
    group: int
    mode: int
    accessed: int
    modified: int
    """Nanoseconds; this and what is before it: of the file that was replaced."""


class Journal:
    """Appends to a file of its own, from any thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{time.time_ns():020}-{secrets.token_hex(4)}{_SUFFIX}"
        self._descriptor = -1

    def open(self) -> None:
        """Make the file, readable by us alone.

        Raises:
            FileNotUsable: the folder cannot be written, or the disk is full.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise unusable(self.path, error) from error
        self._write({"version": VERSION})

    def note(self, claim: str, kept: Copy, copies: Sequence[Copy]) -> None:
        """All names of these copies are about to become links to the kept one.

        Names in other encodings survive: as Python keeps them, escaped.
        """
        found = kept.found
        self._write(
            {
                "kept": [
                    *(found.st_dev, found.st_ino, found.st_size, claim, kept.path),
                    found.st_mtime_ns,
                ],
                "copies": [
                    [
                        *(copy.found.st_uid, copy.found.st_gid, stat.S_IMODE(copy.found.st_mode)),
                        *(copy.found.st_atime_ns, copy.found.st_mtime_ns),
                        [(folder.path, folder.inode, name) for folder, name in copy.names],
                    ]
                    for copy in copies
                ],
            }
        )

    def close(self) -> None:
        """Flush to disk."""
        if self._descriptor < 0:
            return
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1

    def _write(self, document: dict[str, Any]) -> None:
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise unusable(self.path, error) from error
        if written != len(line):
            raise unusable(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def latest(folder: Path) -> Path:
    """The last run that was not undone.

    Raises:
        InvalidValue: there is none.
    """
    found = sorted(path for path in folder.glob(f"*{_SUFFIX}"))
    if not found:
        raise InvalidValue(
            what="journals in", value=str(folder), reason="hold no run that could be undone"
        )
    return found[-1]


def retire(path: Path) -> None:
    """Nothing is left to undo; kept for a person to read."""
    path.rename(path.with_suffix(UNDONE))


def read(path: Path) -> Iterator[Replaced]:
    """What a run was about to replace; a line that a kill cut off is the last, and left out.

    Raises:
        InvalidFile: it is no journal.
        FileNotUsable: it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise unusable(path, error) from error
    for number, line in enumerate(lines[:-1], 1):
        try:
            document = json.loads(line)
            if number == 1:
                _check_version(path, document)
            else:
                yield from _replaced(document)
        except (ValueError, KeyError, TypeError) as error:  # noqa: PERF203 - names the line
            raise InvalidFile(
                path=str(path), mistakes=(f"line {number} is none of a journal",)
            ) from error


def _check_version(path: Path, document: dict[str, Any]) -> None:
    if document["version"] != VERSION:
        said = f"version {document['version']}; this envforge reads version {VERSION}"
        raise InvalidFile(path=str(path), mistakes=(said,))


def _replaced(document: dict[str, Any]) -> Iterator[Replaced]:
    device, inode, size, claim, _, written = document["kept"]
    for owner, group, mode, accessed, modified, names in document["copies"]:
        for path, folder, name in names:
            where = Folder(path, device, folder)
            linked = Linked(inode, size, claim, written)
            yield Replaced(where, name, linked, owner, group, mode, accessed, modified)

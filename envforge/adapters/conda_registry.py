"""`~/.conda/environments.txt`: how conda knows of environments that lie anywhere.

One absolute path a line (conda documentation, "conda env list"). conda appends to it without a
lock, so we append in one write as well, and rewrite only to take a line out.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envforge.adapters.files import unusable, write_text


def registry_file(home: Path) -> Path:
    """Where the list lies."""
    return home / ".conda" / "environments.txt"


def registered(home: Path) -> tuple[Path, ...]:
    """The prefixes in the list, whether they still exist or not."""
    try:
        text = registry_file(home).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise unusable(registry_file(home), error) from error
    return tuple(Path(line.strip()) for line in text.splitlines() if line.strip())


def register(home: Path, prefix: Path) -> None:
    """Add a prefix, unless it is there.

    Raises:
        FileNotUsable: the list cannot be written.
    """
    path = registry_file(home)
    if prefix in registered(home):
        return
    try:
        with _alone(path.parent):
            _append(path, f"{prefix}\n")
    except OSError as error:
        raise unusable(path, error) from error


def unregister(home: Path, prefix: Path) -> None:
    """Take a prefix out.

    Raises:
        FileNotUsable: the list cannot be written.
    """
    path = registry_file(home)
    if prefix not in registered(home):
        return
    try:
        with _alone(path.parent):
            kept = [line for line in registered(home) if line != prefix]
            write_text(path, "".join(f"{line}\n" for line in kept))
    except OSError as error:
        raise unusable(path, error) from error


def _append(path: Path, line: str) -> None:
    if Path(line.rstrip("\n")) in registered(path.parent.parent):
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        complete = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
        os.write(descriptor, (line if complete else f"\n{line}").encode())
    finally:
        os.close(descriptor)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Among processes of ours: the folder itself is the lock, so no file is left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

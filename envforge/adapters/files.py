"""Writing files so that a reader, or a power cut, never meets half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

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
    import errno

    return errno.errorcode.get(error.errno or 0, "")

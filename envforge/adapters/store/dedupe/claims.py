"""What a cache says of a file whose own name says nothing: listings, ETags, download records.

All of it is what others wrote: it is read through descriptors, in small amounts, and believed only
as a claim that the bytes must keep.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Final

from envforge.adapters.store.trees.folders import ENTER, READ
from envforge.cache.dedupe_plan import claim_of

_SMALL: Final = 1 << 16
_LISTING: Final = 1 << 26


def from_listing(repo: int, commit: str) -> Mapping[str, str]:
    """Path to claim of a commit's files, from `trees/<commit>.json` (hub 1.24 and later)."""
    try:
        document = json.loads(_read(repo, ("trees", f"{commit}.json"), _LISTING))
        files = document["files"].items()
        return {path: claim_of(item.get("lfs_sha256") or item["blob_id"]) for path, item in files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def from_flat_record(folder: int, name: str) -> str:
    """The ETag in `<name>.json` beside a file of the flat cache; empty: there is none."""
    try:
        etag = json.loads(_read(folder, (f"{name}.json",), _SMALL))["etag"]
        return claim_of(str(etag).removeprefix("W/").strip('"'))
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def from_download_record(
    root: int, records: tuple[str, ...], path: tuple[str, ...], modified: float
) -> str:
    """The ETag of a file of `--local-dir`, unless it was changed after the download.

    Args:
        root: descriptor of the local folder.
        records: the path of the records' folder below it.
        path: the file's path below it.
        modified: its time, in seconds.
    """
    try:
        record = (*records, *path[:-1], f"{path[-1]}.metadata")
        text = _read(root, record, _SMALL).decode()
        _, etag, when = text.splitlines()[:3]
        return claim_of(etag.strip()) if modified - 1 <= float(when) else ""
    except (OSError, ValueError):
        return ""


@contextlib.contextmanager
def below(folder: int, parts: tuple[str, ...]) -> Iterator[int]:
    """The descriptor of a folder below another, entered step by step.

    Raises:
        OSError: it is not there, or a symbolic link is in the way.
    """
    descriptor = os.dup(folder)
    try:
        for part in parts:
            deeper = os.open(part, ENTER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


def is_there(folder: int, parts: tuple[str, ...]) -> bool:
    """Whether there is such a folder below."""
    try:
        with below(folder, parts):
            return True
    except OSError:
        return False


def _read(folder: int, parts: tuple[str, ...], most: int) -> bytes:
    with below(folder, parts[:-1]) as where:
        descriptor = os.open(parts[-1], READ, dir_fd=where)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(most)
    finally:
        os.close(descriptor)

"""What the package cache holds; rattler and packs fill it, and what is damaged is dropped here.

rattler keeps each package as `NAME-VERSION-BUILD/`, unpacked, beside `NAME-VERSION-BUILD.lock`,
which holds a revision (8 bytes) and the SHA-256 of the archive that was unpacked (32 bytes):
crate `rattler_cache`, `package_cache`. Should that change, packages count as not cached, which
costs a check and no more; a test compares with rattler's own answer.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from envforge.adapters.files import unusable
from envforge.errors import CorruptArchive
from envforge.formats.text import json_text
from envforge.model.lock import LockedPackage
from envforge.model.solving import without_credentials

_REVISION_BYTES: Final = 8
_SIZE: Final = re.compile(rb'"size_in_bytes":\s*(\d+)')


def stem(package: LockedPackage) -> str:
    """The name of the package's folder in the cache."""
    return f"{package.name}-{package.version}-{package.build}"


def is_cached(cache: Path, package: LockedPackage) -> bool:
    """Whether exactly the archive that is locked lies unpacked in the cache."""
    try:
        held = (cache / f"{stem(package)}.lock").read_bytes()[_REVISION_BYTES:]
    except OSError:
        return False
    return held.hex() == package.sha256 and index_json(cache, package).is_file()


def not_cached(cache: Path, packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
    """Those that will have to be fetched."""
    return tuple(item for item in packages if not is_cached(cache, item))


def is_damaged(cache: Path, package: LockedPackage) -> bool:
    """Whether files of an unpacked package are gone or have another size than it says.

    Its files are shared with environments, so writing into one of those does this.
    """
    try:
        listed = json_text.parse((cache / stem(package) / "info" / "paths.json").read_bytes())[
            "paths"
        ]
        return not all(_is_as_listed(f"{cache / stem(package)}/", item) for item in listed)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _is_as_listed(root: str, item: dict[str, object]) -> bool:
    found = os.lstat(f"{root}{item['_path']}")  # text: there are many thousands
    plain = item.get("path_type", "hardlink") == "hardlink"
    return not plain or item.get("size_in_bytes", found.st_size) == found.st_size


def drop(cache: Path, package: LockedPackage) -> None:
    """Take an unpacked package out; rattler's own lock keeps others from linking it meanwhile."""
    with (cache / f"{stem(package)}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(cache / stem(package), ignore_errors=True)


def index_json(cache: Path, package: LockedPackage) -> Path:
    """What the package says of itself."""
    return cache / stem(package) / "info" / "index.json"


def unpacked(
    cache: Path, package: LockedPackage, *, measure: bool
) -> tuple[int | None, int | None]:
    """Bytes (where asked for) and number of files of a cached package; None: not known.

    Its own list is counted, not parsed: those of an environment are ten megabytes together.
    """
    try:
        listed = (cache / stem(package) / "info" / "paths.json").read_bytes()
    except OSError:
        return None, None
    size = sum(map(int, _SIZE.findall(listed))) if measure else None
    return size, listed.count(b'"_path"')


def add(cache: Path, package: LockedPackage, archive: Path) -> bool:
    """Unpack an archive, whose hash was checked, as rattler would; False: it is there already.

    Its name ends as the package's own does: that tells the format.

    Raises:
        CorruptArchive: it does not unpack.
        FileNotUsable: the cache cannot be written.
    """
    name = stem(package)
    aside = cache / f".{name}.{secrets.token_hex(4)}.tmp"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _extract(archive, aside, package)
        with (cache / f"{name}.lock").open("a+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_cached(cache, package):
                return False
            shutil.rmtree(cache / name, ignore_errors=True)
            aside.rename(cache / name)
            _note_revision(lock, package)
    except OSError as error:
        raise unusable(cache / name, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _extract(archive: Path, target: Path, package: LockedPackage) -> None:
    from rattler.package_streaming import extract

    try:
        extract(archive, target)
    except OSError as error:
        if "(os error " in str(error):  # the disk's, not the archive's
            raise
        last = str(error).strip().splitlines()[-1]
        raise CorruptArchive(
            url=without_credentials(package.url),
            expected=f"sha256 {package.sha256}",
            found=f"what does not unpack ({last})",
        ) from error


def _note_revision(lock: BinaryIO, package: LockedPackage) -> None:
    """Say which archive lies there: whoever saw the one before sees by the number that it went."""
    lock.seek(0)
    before = int.from_bytes(lock.read(_REVISION_BYTES), "big")
    lock.truncate(0)
    lock.write((before + 1).to_bytes(_REVISION_BYTES, "big") + bytes.fromhex(package.sha256))
    lock.flush()
    os.fsync(lock.fileno())

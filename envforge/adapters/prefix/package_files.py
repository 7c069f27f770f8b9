"""Compares every file of a prefix with what its package recorded.

Sizes always; content where a file was written after its package was installed, or is asked for.
What is usual is no difference: compiled modules, caches that post-link scripts write, settings in
`etc`, documents and static libraries that somebody took out to save space.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from envforge.adapters.files import read_start
from envforge.adapters.linking.elf_size import is_cut
from envforge.adapters.prefix.cache_facts import digest_of
from envforge.adapters.prefix.conda_records import CondaRecords, record_paths
from envforge.adapters.prefix.distributions import Distributions, record_rows
from envforge.formats.text import json_text
from envforge.verify.facts import SharedPath, UnlikeRecorded

_COMPILED: Final = (".pyc", ".pyo")
_REGENERATED: Final = re.compile(
    r"((^|/)cacert\.pem|\.cache|/gschemas\.compiled|/info/dir|/loaders\.cache|/modules\.alias|/fonts\.(scale|dir))$"
    r"|^(condabin|shell)/|^bin/(conda|activate|deactivate)$|^share/jupyter/lab/static/"
)
"""Written by post-link scripts, by `conda init` and by `jupyter lab build`; certificates, to which
organisations add their own."""
_SETTINGS: Final = re.compile(r"^etc/(?!conda/(de)?activate\.d/)")
_SPARED: Final = re.compile(
    r"\.(a|la|js\.map|html|md|rst|txt|pdf|[ch]|hpp|cuh|pxd|pyi|png|svg)$"
    r"|^(share/(man|doc|info|gtk-doc|licenses|locale|help)|man|docs?|conda-meta|pkgs)/"
    r"|(^|/)(tests?|testing|docs?|examples?|__pycache__)/|\.dist-info/"
)
"""What people take out of images, and what nothing that runs misses."""
_LIBRARY: Final = re.compile(r"\.(so[0-9.]*|pyd|dll|dylib)$")
_BY_THE_WAY: Final = 256 << 20
"""Bytes whose content is read unasked; about half a second."""
_TEXT: Final = 1 << 22


@dataclass(slots=True)
class Compared:
    """What differs."""

    unlike: tuple[UnlikeRecorded, ...] = ()
    unhashed: tuple[str, ...] = ()
    shared: tuple[SharedPath, ...] = ()
    broken: tuple[str, ...] = ()
    """Records that turn out unreadable when read to the end."""


@dataclass(slots=True)
class _Owner:
    label: str
    manager: Literal["conda", "pip"]
    written: int
    """When its record was, in nanoseconds; files that are newer were written by others."""


@dataclass(frozen=True, slots=True)
class _Expected:
    path: str
    size: int | None
    digest: str
    original: str = ""
    """SHA-256 before the prefix was written into it."""
    placeholder: str = ""
    is_binary: bool = False
    is_link: bool = False


@dataclass(slots=True)
class _Comparison:
    prefix: Path
    hashes: bool
    matched: set[str] = field(default_factory=set)
    unlike: dict[str, UnlikeRecorded] = field(default_factory=dict)
    libraries: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Shared object to the package that brought it first, and its hash."""
    shared: dict[str, SharedPath] = field(default_factory=dict)
    later: list[tuple[int, _Expected, _Owner]] = field(default_factory=list)
    """Size on disk, and what is to be read: the smallest are read first."""
    unhashed: list[str] = field(default_factory=list)

    # --- one file -------------------------------------------------------------------------

    def look(self, item: _Expected, owner: _Owner) -> None:
        """Compare one file with one owner's word."""
        self._note_owner(item, owner)
        if item.path in self.matched or item.path.endswith(_COMPILED):
            return
        path = f"{self.prefix}/{item.path}"
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode) and not item.is_link:
                found = os.stat(path)  # noqa: PTH116 - linked from the cache
        except (FileNotFoundError, NotADirectoryError):
            if not _SPARED.search(item.path):
                self._add(item, owner, "gone", None)
        except (OSError, ValueError):
            return  # may not be looked at: nothing is known of it
        else:
            self._compare(item, owner, found)

    def _compare(self, item: _Expected, owner: _Owner, found: os.stat_result) -> None:
        if item.is_link or _may_differ(item.path, owner):
            self._match(item)
        elif not stat.S_ISREG(found.st_mode):
            self._add(item, owner, "content", found)
        elif item.size is not None and found.st_size != item.size:
            self._add(item, owner, _how(f"{self.prefix}/{item.path}", item.size, found), found)
        elif item.digest and (self.hashes or found.st_mtime_ns > owner.written):
            self.later.append((found.st_size, item, owner))
        else:
            self._match(item)

    def _match(self, item: _Expected) -> None:
        """One owner's word is enough: where two packages bring a file, the later one wins."""
        self.matched.add(item.path)
        self.unlike.pop(item.path, None)

    def _add(
        self,
        item: _Expected,
        owner: _Owner,
        how: Literal["gone", "cut", "content"],
        found: os.stat_result | None,
    ) -> None:
        if item.path in self.unlike:
            return
        self.unlike[item.path] = UnlikeRecorded(
            path=item.path,
            package=owner.label,
            manager=owner.manager,
            how=how,
            recorded=item.size,
            found=found.st_size if found else None,
            links=found.st_nlink if found else 1,
        )

    # --- content --------------------------------------------------------------------------

    def read_on(self) -> None:
        """Read what was put off, the smallest first, and no more than is quick."""
        read = 0
        for size, item, owner in sorted(self.later, key=lambda one: one[0]):
            if item.path in self.matched:
                continue
            read += size
            if read > _BY_THE_WAY and not self.hashes:
                self.unhashed.append(item.path)
            elif self._is_as_recorded(item):
                self._match(item)
            else:
                try:
                    self._add(item, owner, "content", os.stat(f"{self.prefix}/{item.path}"))  # noqa: PTH116
                except OSError:
                    continue

    def _is_as_recorded(self, item: _Expected) -> bool:
        path = f"{self.prefix}/{item.path}"
        digest = digest_of(path)
        if digest is None or digest == item.digest:
            return True
        return bool(item.placeholder) and self._is_original(path, item)

    def _is_original(self, path: str, item: _Expected) -> bool:
        """Whether it is as the package brought it, but for another spelling of the prefix.

        What conda-pack or a copy wrote anew has another hash than was recorded. In a text the
        prefix can be taken out again; in a program it cannot, and only its size is known.
        """
        if item.is_binary:
            return True
        try:
            data = read_start(path)
        except OSError:
            return True
        if data.startswith(b"#!/usr/bin/env "):  # instead of a line that is too long
            return True
        spellings = {str(self.prefix), str(self.prefix.resolve())}
        taken_out = (data.replace(one.encode(), item.placeholder.encode()) for one in spellings)
        return any(hashlib.sha256(text).hexdigest() == item.original for text in taken_out)

    # --- owners ---------------------------------------------------------------------------

    def _note_owner(self, item: _Expected, owner: _Owner) -> None:
        """Two packages that bring one shared object: the one installed last has won."""
        if not _LIBRARY.search(item.path) or item.is_link:
            return
        before = self.libraries.setdefault(item.path, (owner.label, item.digest))
        if before[0] != owner.label:
            known = self.shared.get(item.path)
            owners = {owner.label, before[0], *(known.owners if known else ())}
            differs = before[1] != item.digest or (known is not None and known.differs)
            self.shared[item.path] = SharedPath(
                path=item.path, owners=tuple(sorted(owners)), differs=differs
            )


def compare(
    prefix: Path,
    records: CondaRecords,
    distributions: Distributions,
    replaced: Mapping[str, str],
    *,
    hashes: bool = False,
) -> Compared:
    """Look at every file that a package of the prefix brought.

    Args:
        prefix: absolute.
        records: the conda packages.
        distributions: the wheels.
        replaced: conda packages in whose place there is a wheel now; what they brought is gone.
        hashes: read everything, seconds for each GB.
    """
    comparison = _Comparison(prefix, hashes)
    broken = []
    gone = set(replaced.values())
    for package, path in record_paths(prefix, records):
        owner = _Owner(f"{package.name} {package.version}", "conda", _written(path))
        try:
            for item in _of_record(path):
                if not (package.name in gone and "-packages/" in item.path):
                    comparison.look(item, owner)
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            broken.append(f"{path.removeprefix(f'{prefix}/')}: its list of files cannot be read")
    for wheel in distributions.found:
        if wheel.conda_owner is None and wheel.folder.endswith(".dist-info"):
            path = f"{prefix}/{wheel.folder}/RECORD"
            owner = _Owner(f"{wheel.name} {wheel.version}", "pip", _written(path))
            for item in _of_wheel(path, wheel.folder):
                comparison.look(item, owner)
    comparison.read_on()
    return Compared(
        unlike=tuple(comparison.unlike[path] for path in sorted(comparison.unlike)),
        unhashed=tuple(sorted(comparison.unhashed)),
        shared=tuple(comparison.shared[path] for path in sorted(comparison.shared)),
        broken=tuple(broken),
    )


def _may_differ(path: str, owner: _Owner) -> bool:
    if _REGENERATED.search(path) or _SETTINGS.search(path):
        return True
    # Scripts of wheels are written by the installer, and again when an environment is packed.
    return owner.manager == "pip" and path.startswith(("bin/", "Scripts/"))


def _how(path: str, recorded: int, found: os.stat_result) -> Literal["cut", "content"]:
    """A file that is shorter was cut off, unless it has an end: an edited text, a stripped ELF."""
    if found.st_size >= recorded:
        return "content"
    if found.st_size == 0:
        return "cut"
    if _LIBRARY.search(path):
        return "cut" if is_cut(path) is not False else "content"
    try:
        data = read_start(path, _TEXT)
    except OSError:
        return "content"
    return "content" if data.endswith(b"\n") and b"\0" not in data else "cut"


# --- what is recorded -----------------------------------------------------------------------


def _of_record(path: str) -> Iterator[_Expected]:
    document = json_text.parse(read_start(path))
    described = (document.get("paths_data") or {}).get("paths") or []
    if not described:
        listed: Iterable[Any] = document.get("files") or []
        yield from (_Expected(str(item), None, "") for item in listed if _is_inside(str(item)))
        return
    for item in described:
        kind = item.get("path_type") or "hardlink"
        if kind == "directory" or not _is_inside(item["_path"]):
            continue
        yield _expected(item, is_link=kind == "softlink", is_plain=kind == "hardlink")


def _expected(item: Mapping[str, Any], *, is_link: bool, is_plain: bool) -> _Expected:
    placeholder = str(item.get("prefix_placeholder") or "")
    is_binary = item.get("file_mode") == "binary"
    size = item.get("size_in_bytes") if is_plain and (is_binary or not placeholder) else None
    original, placed = str(item.get("sha256") or ""), str(item.get("sha256_in_prefix") or "")
    digest = placed or (original if not (placeholder and is_binary) else "")
    return _Expected(
        item["_path"],
        size if isinstance(size, int) else None,
        digest if is_plain else "",
        original,
        placeholder,
        is_binary,
        is_link,
    )


def _of_wheel(path: str, folder: str) -> Iterator[_Expected]:
    try:
        rows = record_rows(read_start(path))
    except OSError:
        return
    site = folder.rpartition("/")[0]
    for name, digest, size in rows:
        place = os.path.normpath(f"{site}/{name}")
        is_ours = not name.startswith("/") and _is_inside(place)
        if is_ours and not place.endswith(".dist-info/RECORD"):
            yield _Expected(place, size, digest)


def _is_inside(path: str) -> bool:
    return not path.startswith(("/", "../")) and "/../" not in path and "\0" not in path


def _written(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0

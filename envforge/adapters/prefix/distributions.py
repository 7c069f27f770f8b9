"""Reads the dist-infos of a prefix: what Python's own metadata says is installed.

Formats: PEP 376 and 427 (RECORD, WHEEL), 566 and 643 (METADATA), 610 (direct_url.json), and
setuptools' older egg-info. Only headers are read, and a file is opened once.
"""

from __future__ import annotations

import base64
import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from envforge.adapters.files import read_start
from envforge.adapters.prefix.conda_records import LARGE
from envforge.formats.conda.conda_record import Library
from envforge.formats.text import json_text
from envforge.verify.facts import Distribution

_EGG_INFO: Final = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(-py[\d.]+[^-]*)?\.egg-info")
_TAG: Final = re.compile(rb"^Tag:[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE)
_LIBRARY_LINE: Final = re.compile(
    rb"\"?(?P<path>[^,\"]*\.so[0-9.]*)\"?,(?:sha256=(?P<hash>[^,]*))?[^,]*,(?P<size>\d*)\s*"
)
_MODULE: Final = re.compile(r"([A-Za-z_]\w*)(\.py|\.[\w.-]*(so|pyd))?")
_HEADERS: Final = 1 << 13
"""Bytes of METADATA that hold the headers nearly always; the rest is a description."""
_MOST_MODULES: Final = 200
_WITHOUT_RECORD: Final = frozenset({"conda", "debian", "apt", "rpm", "apk", "portage", "nix"})
"""Installers that leave the list of files out, and keep their own."""


@dataclass(slots=True)
class Distributions:
    """Every distribution of a prefix."""

    found: list[Distribution] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """`~orch: left behind by an interrupted pip`; one line each."""
    libraries: list[tuple[Distribution, Library]] = field(default_factory=list)
    """Shared objects of the wheels that `LARGE` names; paths relative to the prefix."""
    names: frozenset[str] = frozenset()
    """Everything in the folders."""


def canonical(name: str) -> str:
    """A distribution's name as indexes spell it (PEP 503)."""
    plain = name.replace("_", "-").replace(".", "-").lower()
    return plain if "--" not in plain else re.sub(r"-+", "-", plain)


def read_distributions(
    prefix: Path,
    sites: Sequence[Path],
    owners: Mapping[str, str],
    *,
    of_a_system: bool = False,
) -> Distributions:
    """What lies in these folders.

    Args:
        prefix: for relative paths.
        sites: site-packages and dist-packages, the more important first.
        owners: name of a dist-info to the conda package that brought it.
        of_a_system: a distributor's own tools keep the lists of files, so RECORD may be missing.
    """
    found = Distributions()
    names: set[str] = set()
    for site in sites:
        try:
            entries = sorted(os.listdir(site))  # noqa: PTH208 - names only
        except OSError as error:
            place = os.path.relpath(site, prefix)
            found.broken.append(f"{place}: {(error.strerror or str(error)).lower()}")
            continue
        names.update(entries)
        _Site(prefix, site, owners, found, of_a_system=of_a_system).read(entries)
    found.found.sort(key=lambda item: (item.name, item.version))
    found.names = frozenset(names)
    return found


class _Site:
    """One folder of packages."""

    def __init__(
        self,
        prefix: Path,
        site: Path,
        owners: Mapping[str, str],
        found: Distributions,
        *,
        of_a_system: bool,
    ) -> None:
        self.site = str(site)
        self.below = os.path.relpath(site, prefix)
        self.owners = owners
        self.found = found
        self.of_a_system = of_a_system or site.name == "dist-packages"
        self.seen: dict[str, str] = {}
        self.gutted: dict[str, str] = {}
        """What conda brought, and pip took out to put another version in: name to folder."""

    def read(self, entries: Iterable[str]) -> None:
        for name in entries:
            if name.startswith("~"):
                self.found.broken.append(f"{name}: left behind by an interrupted pip")
            elif name.endswith(".dist-info"):
                self._dist_info(name)
            elif name.endswith(".egg-info"):
                self._egg_info(name)
            elif name.endswith(".egg-link"):
                self._egg_link(name)
        for name, folder in self.gutted.items():
            if name not in self.seen:
                self._broken(folder, "has no METADATA")

    def _dist_info(self, folder: str) -> None:
        name, _, version = folder.removesuffix(".dist-info").rpartition("-")
        if not (name and version):
            self._broken(folder, "not of the form NAME-VERSION.dist-info")
            return
        headers = self._headers(folder)
        if headers is None:
            return
        made = self._distribution(folder, canonical(name), version, headers)
        if before := self.seen.get(made.name):
            self._broken(folder, f"beside {before}, two versions of one name")
        self.seen[made.name] = folder
        self.found.found.append(made)
        if made.conda_owner is None and LARGE.fullmatch(made.name):
            self.found.libraries += [(made, item) for item in self._libraries(folder)]

    def _distribution(
        self, folder: str, name: str, version: str, headers: _Headers
    ) -> Distribution:
        """Of what conda brought, pip's own notes are those of whoever built the package."""
        owner = self.owners.get(folder)
        installer = "conda" if owner else self._small(folder, "INSTALLER").strip().lower()
        modules = self._small(folder, "top_level.txt")
        record = b"" if owner and modules else self._record(folder, installer, owner)
        url, editable, digest = ("", False, "") if owner else self._direct_url(folder)
        return Distribution(
            name=name,
            version=headers.version or version.replace("_", "+"),
            folder=f"{self.below}/{folder}",
            requires=headers.requires,
            requires_python=headers.python,
            tags=() if owner else self._tags(folder),
            installer=installer,
            editable=editable,
            local_url=url,
            archive_sha256=digest,
            has_record=owner is not None or bool(record),
            top_level=_words(modules) if modules else _modules(record),
            conda_owner=owner,
        )

    def _tags(self, folder: str) -> tuple[str, ...]:
        found = _TAG.findall(self._bytes(folder, "WHEEL", 1 << 14))
        return tuple(tag.decode("ascii", "replace") for tag in found)

    def _direct_url(self, folder: str) -> tuple[str, bool, str]:
        return _direct_url(self._small(folder, "direct_url.json"))

    def _record(self, folder: str, installer: str, owner: str | None) -> bytes:
        problem = ""
        try:
            record = read_start(f"{self.site}/{folder}/RECORD")
        except OSError as error:
            record, problem = b"", _why(error, "has no RECORD")
        else:
            if not record.strip():
                problem = "its RECORD is empty"
            elif b"\0" in record[:4096]:
                problem = "its RECORD is no list of files"
        keeps_none = owner is not None or self.of_a_system or installer in _WITHOUT_RECORD
        if problem and not keeps_none and (installer or record.strip()):
            self._broken(folder, problem)  # else nobody says that a whole list was ever written
        return record

    def _headers(self, folder: str) -> _Headers | None:
        try:
            headers = _headers_of(f"{self.site}/{folder}/METADATA")
        except OSError as error:
            if folder in self.owners:
                self.gutted[canonical(folder.partition("-")[0])] = folder
            else:
                self._broken(folder, _why(error, "has no METADATA"))
            return None
        if not (headers.name and headers.version):
            self._broken(folder, f"its METADATA names no {'Version' if headers.name else 'Name'}")
        return headers

    def _egg_info(self, entry: str) -> None:
        """The older format of setuptools, a folder or one file; it is taken as it is."""
        parts = _EGG_INFO.fullmatch(entry)
        path = f"{self.site}/{entry}"
        place = f"{path}/PKG-INFO" if os.path.isdir(path) else path  # noqa: PTH112
        try:
            headers = _headers_of(place)
        except OSError:
            headers = _Headers()
        name = parts["name"] if parts else headers.name or entry.removesuffix(".egg-info")
        version = headers.version or (parts["version"] if parts else "")
        self._add_egg(entry, canonical(name), version, headers, owner=self.owners.get(entry))

    def _egg_link(self, entry: str) -> None:
        """`setup.py develop`: the first line is the folder of the source."""
        name = canonical(entry.removesuffix(".egg-link"))
        source = self._small("", entry).partition("\n")[0].strip()
        stem = re.sub(r"[-.]+", "_", entry.removesuffix(".egg-link"))
        try:
            headers = _headers_of(f"{source}/{stem}.egg-info/PKG-INFO")
        except (OSError, ValueError):
            headers = _Headers()
        self._add_egg(entry, name, headers.version, headers, source=source)

    def _add_egg(
        self,
        entry: str,
        name: str,
        version: str,
        headers: _Headers,
        *,
        owner: str | None = None,
        source: str = "",
    ) -> None:
        self.found.found.append(
            Distribution(
                name=name,
                version=version,
                folder=f"{self.below}/{entry}",
                requires=headers.requires,
                requires_python=headers.python,
                editable=bool(source),
                local_url=f"file://{source}" if source else "",
                conda_owner=owner,
            )
        )

    def _libraries(self, folder: str) -> Iterator[Library]:
        """Found by their ending first: RECORD of torch has 12 000 lines."""
        data = self._bytes(folder, "RECORD")
        at = data.find(b".so")
        while at >= 0:
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            line = _LIBRARY_LINE.fullmatch(data, data.rfind(b"\n", 0, at) + 1, end)
            if line is not None and not line["path"].startswith(b"/"):
                yield self._library(line)
            at = data.find(b".so", end)

    def _library(self, line: re.Match[bytes]) -> Library:
        path = os.path.normpath(f"{self.below}/{line['path'].decode('utf-8', 'replace')}")
        size = int(line["size"]) if line["size"] else None
        return Library(path, size, hex_digest((line["hash"] or b"").decode("ascii", "replace")))

    def _small(self, folder: str, name: str) -> str:
        return self._bytes(folder, name, 1 << 12).decode("utf-8", "replace")

    def _bytes(self, folder: str, name: str, most: int = 1 << 28) -> bytes:
        try:
            return read_start(f"{self.site}/{folder}/{name}", most)
        except (OSError, ValueError):
            return b""

    def _broken(self, folder: str, why: str) -> None:
        self.found.broken.append(f"{folder}: {why}")


class _Headers(NamedTuple):
    name: str = ""
    version: str = ""
    python: str = ""
    requires: tuple[str, ...] = ()


def _headers_of(path: str) -> _Headers:
    data = read_start(path, _HEADERS)
    end = _end_of_headers(data)
    if end < 0 and len(data) == _HEADERS:
        data = read_start(path, 1 << 22)
        end = _end_of_headers(data)
    name = version = python = ""
    requires = []
    for line in data[: end if end >= 0 else len(data)].decode("utf-8", "replace").split("\n"):
        key, _, value = line.partition(": ")
        if key == "Requires-Dist":
            requires.append(value.strip())
        elif key == "Name":
            name = name or value.strip()
        elif key == "Version":
            version = version or value.strip()
        elif key == "Requires-Python":
            python = value.strip()
    return _Headers(name, version, python, tuple(requires))


def _end_of_headers(data: bytes) -> int:
    end = data.find(b"\n\n")
    return end if end >= 0 else data.find(b"\r\n\r\n")


def _words(text: str) -> tuple[str, ...]:
    return tuple(sorted({line.strip() for line in text.splitlines() if line.strip()}))


def _modules(record: bytes) -> tuple[str, ...]:
    """What can be imported, by the first parts of a RECORD's paths.

    Lines of one folder stand together, so the last of them is looked for from the end.
    """
    found: set[bytes] = set()
    at = 0
    while at < len(record) and len(found) < _MOST_MODULES:
        end = record.find(b"\n", at)
        first, slash, _ = (
            record[at : end if end >= 0 else len(record)].partition(b",")[0].partition(b"/")
        )
        found.add(first.lstrip(b'"'))
        last = record.rfind(b"\n" + first + b"/", at) if slash else -1
        end = record.find(b"\n", max(last + 1, at))
        at = end + 1 if end >= 0 else len(record)
    names = (_MODULE.fullmatch(item.decode("utf-8", "replace")) for item in found)
    return tuple(sorted({item[1] for item in names if item} - {"__pycache__"}))


def _direct_url(text: str) -> tuple[str, bool, str]:
    """Address, whether editable, and the archive's SHA-256 (PEP 610)."""
    if not text:
        return "", False, ""
    try:
        document = json_text.parse(text)
        url = str(document.get("url") or "")
        editable = bool((document.get("dir_info") or {}).get("editable"))
        archive = document.get("archive_info") or {}
        hashes = archive.get("hashes") or {}
        digest = hashes.get("sha256") or str(archive.get("hash") or "").partition("sha256=")[2]
    except (ValueError, AttributeError):
        return "", False, ""
    return url, editable, str(digest or "")


def hex_digest(encoded: str) -> str:
    """RECORD's spelling of a SHA-256 (urlsafe base64 without padding) in hexadecimal."""
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    except ValueError:
        return ""


def record_rows(record: bytes) -> list[tuple[str, str, int | None]]:
    """Path, SHA-256 in hexadecimal and size of each line of a RECORD; compiled files left out."""
    try:
        rows = list(csv.reader(record.decode("utf-8", "replace").splitlines()))
    except csv.Error:
        return []
    return [
        (row[0], _digest(row), int(row[2]) if len(row) > 2 and row[2].isdigit() else None)
        for row in rows
        if row and row[0] and not row[0].endswith((".pyc", ".pyo"))
    ]


def _digest(row: Sequence[str]) -> str:
    kind, _, value = row[1].partition("=") if len(row) > 1 else ("", "", "")
    return hex_digest(value) if kind == "sha256" else ""


def _why(error: OSError, absent: str) -> str:
    gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
    return absent if gone else (error.strerror or str(error)).lower()

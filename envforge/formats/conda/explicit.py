"""`@EXPLICIT` lists: one address a line, with a hash behind `#`, for one platform.

Written by `conda list --explicit`, `micromamba env export --explicit` and conda-lock, read by
`conda create --file`. The hash is an md5, or `sha256:` and a sha256 (conda documentation,
"Building identical conda environments"). conda-lock adds wheels as comments
(`# pip NAME @ ADDRESS --hash=sha256:…`), since conda reads conda packages only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, cast

from envforge.errors import InvalidFile
from envforge.formats import archive_name
from envforge.formats.conda.explicit_writer import MARK
from envforge.formats.conda_lock.conda_lock_tree import MD5, SHA256
from envforge.formats.python import python_requirement
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform

ASSUMED_PLATFORM: Final = "linux-64"
"""Where every package is `noarch` and no comment says: what such lists are mostly made on."""

_PLATFORM: Final = re.compile(r"#\s*platform:\s*(?P<platform>[a-z0-9_]+-[a-z0-9_]+)\s*")
_WHEEL: Final = re.compile(
    r"#\s*pip\s+(?P<name>[A-Za-z0-9][\w.-]*)\s*@\s*(?P<url>\S+?)"
    r"(?:#sha256=(?P<fragment>[0-9a-f]{64}))?(?:\s+--hash=(?:md5:)?(?P<hash>\S+))?\s*"
)
_REMEDY: Final = "`conda list --explicit --sha256` writes such a list of an environment"


def read_source(text: str, path: str) -> tuple[ImportedEnvironment, ...]:
    """Read a list, with or without the line `@EXPLICIT`.

    Raises:
        InvalidFile: with every mistake and its line.
    """
    mistakes: list[str] = []
    packages = list(_packages(text, mistakes))
    if not packages and not mistakes:
        mistakes.append("it lists no package")
    platform = _platform(text, packages, mistakes)
    if mistakes:
        raise InvalidFile(path=path, mistakes=tuple(mistakes), remedy=_REMEDY)
    placed = tuple(sorted(replace(item, platform=platform) for item in packages))
    channels = tuple(
        dict.fromkeys(filter(None, (archive_name.channel_of(item.url) for item in packages)))
    )
    lock = Lock(
        packages=placed,
        platforms=(cast("Platform", platform),),
        channels=channels,
        content_hash={},
        sources=(),
    )
    notes = (
        () if _PLATFORM.search(text) or _subdirs(packages) else (f"platform {platform} assumed",)
    )
    return (
        ImportedEnvironment(
            name="", lock=lock, channels=channels, platforms=(platform,), notes=notes
        ),
    )


def _packages(text: str, mistakes: list[str]) -> Iterator[LockedPackage]:
    first: dict[tuple[str, str], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            package = _package(line.strip())
        except ValueError as error:
            mistakes.append(f"line {number}: {error}")
            continue
        if package is None:
            continue
        key = (package.manager, package.name)
        if key in first:
            mistakes.append(
                f"line {number}: `{package.name}` stands here a second time"
                f" (first in line {first[key]})"
            )
        first.setdefault(key, number)
        yield package


def _package(line: str) -> LockedPackage | None:
    """The package of one line; None: a comment, or nothing.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if found := _WHEEL.fullmatch(line):
        return _wheel(found)
    if not line or line.startswith("#") or line == MARK:
        return None
    address, _, digest = line.partition("#")
    named = archive_name.parse_conda(address.strip())
    if named is None:
        raise ValueError(f"`{address[:120]}` is no address of a conda package")
    md5, sha256 = _hashes(digest.strip())
    return LockedPackage(
        platform="",
        name=named.name,
        version=named.version,
        build=named.build,
        url=address.strip(),
        sha256=sha256,
        md5=md5,
    )


def _hashes(digest: str) -> tuple[str, str]:
    value = digest.lower()
    sha256 = value.removeprefix("sha256:")
    if SHA256.fullmatch(sha256):
        return "", sha256
    if value and not MD5.fullmatch(value.removeprefix("md5:")):
        raise ValueError(f"`#{digest[:70]}` is neither an md5 nor `sha256:` and a sha256")
    return value.removeprefix("md5:"), ""


def _wheel(found: re.Match[str]) -> LockedPackage:
    named = archive_name.parse_python(found["url"])
    digest = (found["hash"] or "").removeprefix("sha256:")
    return LockedPackage(
        platform="",
        name=python_requirement.canonical(found["name"]),
        manager="pip",
        version=named.version if named else "",
        url=found["url"],
        sha256=found["fragment"] or (digest if SHA256.fullmatch(digest) else ""),
    )


def _subdirs(packages: list[LockedPackage]) -> list[str]:
    found = (archive_name.subdir_of(item.url) for item in packages if item.manager == "conda")
    return sorted({subdir for subdir in found if subdir not in {"", "noarch"}})


def _platform(text: str, packages: list[LockedPackage], mistakes: list[str]) -> str:
    subdirs = _subdirs(packages)
    said = _PLATFORM.search(text)
    if len(subdirs) > 1:
        mistakes.append(f"it holds packages of several platforms: {', '.join(subdirs)}")
    if said and subdirs and said["platform"] not in subdirs:
        line = text.count("\n", 0, said.start()) + 1
        mistakes.append(
            f"line {line}: it says that it is for {said['platform']}, and holds packages of"
            f" {subdirs[0]}"
        )
    return said["platform"] if said else (subdirs or [ASSUMED_PLATFORM])[0]

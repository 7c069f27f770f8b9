"""pylock.toml (PEP 751): what a resolver writes, and what an installer is given.

Only the part that concerns wheels is read: a package whose source is a folder, a repository or
an sdist is a mistake here, since locks hold wheels alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from envforge.errors import InvalidFile
from envforge.formats.text.quoting import toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True, kw_only=True)
class PylockWheel:
    """One file of a package."""

    url: str
    """Address, or a path relative to the pylock.toml."""
    sha256: str
    """Empty where the file gives another hash, or none."""
    size: int | None = None
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PylockPackage:
    """One package with the wheels that serve the environments of the file."""

    name: str
    version: str
    """Empty where the file does not say (direct addresses); the wheel's name does."""
    wheels: tuple[PylockWheel, ...]
    marker: str = ""
    """Where it is installed; empty: everywhere."""
    sdist: PylockWheel | None = None
    """Its source, for what has no wheel; written, and not read."""


def read_pylock(text: str, path: str) -> tuple[PylockPackage, ...]:
    """Read the packages, in the order of the file.

    Raises:
        InvalidFile: not TOML, not a pylock of version 1, or a package is not a wheel; every
            mistake at once.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile(path=path, mistakes=(f"not TOML: {error}",)) from error
    version = str(document.get("lock-version", ""))
    if version.partition(".")[0] != "1":
        raise InvalidFile(path=path, mistakes=(f"lock-version: `{version}` is not read, 1.x is",))
    mistakes: list[str] = []
    packages = [_package(table, mistakes) for table in document.get("packages", [])]
    if mistakes:
        raise InvalidFile(path=path, mistakes=tuple(mistakes))
    return tuple(packages)


def _package(table: Mapping[str, Any], mistakes: list[str]) -> PylockPackage:
    name = str(table.get("name", ""))
    files = list(table.get("wheels", []))
    # A direct address (`name @ https://…`) is an archive; for a wheel the two mean the same.
    files += [table["archive"]] if "archive" in table else []
    wheels = tuple(_wheel(file) for file in files)
    wheels = tuple(item for item in wheels if item.url.partition("#")[0].endswith(".whl"))
    if not name:
        mistakes.append("packages: an entry has no name")
    elif not wheels:
        mistakes.append(f"packages.{name}: has no wheel")
    return PylockPackage(name=name, version=str(table.get("version", "")), wheels=wheels)


def _wheel(table: Mapping[str, Any]) -> PylockWheel:
    size = table.get("size")
    return PylockWheel(
        url=str(table.get("url") or table.get("path") or ""),
        sha256=str(table.get("hashes", {}).get("sha256", "")).lower(),
        size=size if isinstance(size, int) else None,
    )


def write_pylock(
    packages: Iterable[PylockPackage],
    *,
    requires_python: str = "",
    environments: Iterable[str] = (),
    sizes: bool = False,
) -> str:
    """Write packages for an installer; equal packages give equal text, sorted by name.

    Args:
        packages: several of one name have markers that exclude each other.
        requires_python: `==3.11.*`; empty: not said.
        environments: markers of the environments that it is for; empty: not said.
        sizes: write how large the files are, where that is known.
    """
    head = ['lock-version = "1.0"']
    if listed := ", ".join(map(toml, environments)):
        head.append(f"environments = [{listed}]")
    if requires_python:
        head.append(f"requires-python = {toml(requires_python)}")
    blocks = ["\n".join([*head, 'created-by = "envforge"\n'])]
    ordered = sorted(packages, key=lambda item: (item.name, item.marker))
    blocks += [_block(item, sizes=sizes) for item in ordered]
    return "\n".join(blocks)


def _block(package: PylockPackage, *, sizes: bool) -> str:
    wheels = ", ".join(_file(item, sizes=sizes) for item in package.wheels)
    files = f"wheels = [{wheels}]\n" if package.wheels or package.sdist is None else ""
    if package.sdist is not None:
        files += f"sdist = {_file(package.sdist, sizes=sizes)}\n"
    marker = f"marker = {toml(package.marker)}\n" if package.marker else ""
    return (
        f"[[packages]]\nname = {toml(package.name)}\n"
        f"version = {toml(package.version)}\n{marker}{files}"
    )


def _file(item: PylockWheel, *, sizes: bool) -> str:
    size = f"size = {item.size}, " if sizes and item.size is not None else ""
    hashes = f"{{ sha256 = {toml(item.sha256)} }}"
    return f"{{ url = {toml(item.url)}, {size}hashes = {hashes} }}"

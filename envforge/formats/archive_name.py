"""What a package's address says of it: the parts of an archive's file name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

_CONDA: Final = re.compile(
    r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)(?:\.conda|\.tar\.bz2)"
)
_SUBDIR: Final = re.compile(r"noarch|(?:linux|osx|win|freebsd|emscripten|wasi|zos)-[a-z0-9_]+")


class ArchiveName(NamedTuple):
    """A package as the name of its file tells it."""

    name: str
    version: str
    build: str = ""
    """conda only."""


def file_name(address: str) -> str:
    """The last part of an address or path, without query and fragment, decoded.

    Empty: it is no address at all (`https://[x`).
    """
    return unquote(_path(address).rpartition("/")[2])


def subdir_of(address: str) -> str:
    """The channel's folder that a conda package lies in; empty: the address names none."""
    folder = _path(address).rpartition("/")[0].rpartition("/")[2]
    return folder if _SUBDIR.fullmatch(folder) else ""


def channel_of(address: str) -> str:
    """The address of the channel that a conda package lies in; empty: it lies in none."""
    return address.rsplit("/", 2)[0] if subdir_of(address) else ""


def _path(address: str) -> str:
    try:
        return urlsplit(address).path
    except ValueError:
        return ""


def parse_conda(address: str) -> ArchiveName | None:
    """`…/linux-64/zlib-1.3.1-hb9d3cd8_2.conda` in its parts; None: it is named otherwise."""
    found = _CONDA.fullmatch(file_name(address))
    return ArchiveName(found["name"], found["version"], found["build"]) if found else None


@lru_cache(maxsize=4096)  # environments of one lock share their wheels
def parse_python(address: str) -> ArchiveName | None:
    """Name and version of a wheel or sdist; None: it is named otherwise.

    The version is as the file writes it (`2.7.1+cu126`), not normalised.
    """
    name = file_name(address)
    try:
        if name.endswith(".whl"):
            distribution = parse_wheel_filename(name)[0]
            return ArchiveName(distribution, name.split("-")[1].replace("_", "+"))
        distribution, version = parse_sdist_filename(name)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return ArchiveName(canonicalize_name(distribution), str(version))

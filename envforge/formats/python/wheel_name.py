"""Wheel file names, and which of several wheels a target takes.

The rules are those of the packaging guide's "Platform compatibility tags" and of PEP 600
(`manylinux_2_28` runs where glibc is 2.28 or newer, so a target takes every older one too).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from envforge.errors import InvalidValue
from envforge.model.machine import Platform

DEFAULT_GLIBC: Final = "2.28"
"""What PyTorch's wheels ask for since 2.7, and the oldest C library still in wide use."""
MACOS: Final = (14, 0)
"""Oldest macOS a lock is made for: torch's wheels for Apple silicon ask for it since 2.9."""

_OLDEST_MANYLINUX: Final = {"x86_64": 5, "aarch64": 17}
_ALIASES: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_MACHINES: Final[dict[Platform, str]] = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """What a wheel's file name says."""

    name: str
    """Normalised as PEP 503 asks: `nvidia-cublas-cu12`."""
    version: Version
    tags: frozenset[Tag]

    @property
    def local(self) -> str | None:
        """The local version, which for torch names the accelerator: `cu126`, `cpu`."""
        return self.version.local


def parse_wheel_name(filename: str) -> WheelName:
    """Read a wheel's file name.

    Raises:
        InvalidValue: it is no wheel, or breaks the naming rules.
    """
    try:
        name, version, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise InvalidValue(
            what="wheel file name", value=filename, reason="is not of the form of PEP 427"
        ) from error
    return WheelName(name=canonicalize_name(name), version=version, tags=tags)


def choose_wheel(filenames: Sequence[str], order: Sequence[Tag]) -> str | None:
    """The file that fits the target best, as an installer would choose; None: none fits.

    Between equally good ones the first by name is taken, so the answer does not hang on the
    order an index lists them in.
    """
    ranks = {tag: rank for rank, tag in enumerate(order)}
    fitting = [
        (min(ranks[tag] for tag in tags), filename)
        for filename in filenames
        if (tags := parse_wheel_name(filename).tags & ranks.keys())
    ]
    return min(fitting)[1] if fitting else None


@lru_cache(maxsize=32)
def target_tags(platform: Platform, python: str, glibc: str | None = None) -> tuple[Tag, ...]:
    """Every tag a CPython on the platform accepts, best first; never asks the host.

    Args:
        platform: conda's name of the target.
        python: version of its interpreter, `3.11` or longer.
        glibc: its C library, Linux only.
    """
    version = _major_minor(python)
    interpreter = f"cp{version[0]}{version[1]}"
    platforms = list(_platform_tags(platform, glibc or DEFAULT_GLIBC))
    return (
        *cpython_tags(version, abis=[interpreter], platforms=platforms),
        *compatible_tags(version, interpreter=interpreter, platforms=platforms),
    )


def _major_minor(python: str) -> tuple[int, int]:
    numbers = Version(python).release
    if len(numbers) < 2:
        raise InvalidValue(
            what="Python version", value=python, reason="needs major and minor, such as 3.11"
        )
    return numbers[0], numbers[1]


def _platform_tags(platform: Platform, glibc: str) -> Iterable[str]:
    if platform == "win-64":
        return ["win_amd64"]
    if platform == "osx-arm64":
        return mac_platforms(MACOS, "arm64")
    return _linux_tags(_MACHINES[platform], glibc)


def _linux_tags(machine: str, glibc: str) -> Iterator[str]:
    _, newest = _major_minor(glibc)
    yield f"linux_{machine}"  # built on the very machine: before all others, as packaging has it
    for minor in range(newest, _OLDEST_MANYLINUX[machine] - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _ALIASES:
            yield f"{_ALIASES[minor]}_{machine}"

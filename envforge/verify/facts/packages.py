"""What packages tell of themselves, beyond name and version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envforge.model.prefix import Disk

Layout = Literal["conda", "venv", "system", "none"]
"""What a directory is: by `conda-meta`, by `pyvenv.cfg`, by a Python in it, or no environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A dist-info (or egg-info), whoever brought it."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    """As METADATA spells it; else as the folder's name does."""
    folder: str = ""
    """The dist-info itself, relative to the prefix."""
    requires: tuple[str, ...] = ()
    """`Requires-Dist`, as it stands there: `torch (>=2.0) ; extra == 'x'`."""
    requires_python: str = ""
    tags: tuple[str, ...] = ()
    """Tags of the wheel, `cp310-cp310-manylinux_2_17_aarch64`; empty: not recorded."""
    installer: str = ""
    """Lower case: `pip`, `uv`, `conda`; empty: not recorded."""
    editable: bool = False
    local_url: str = ""
    """Where it was installed from, if from no index: a folder, an archive, a repository."""
    archive_sha256: str = ""
    """Of the archive that `local_url` names, where that is recorded."""
    has_record: bool = True
    """Whether there is a list of its files that is not empty; always so for an egg-info."""
    top_level: tuple[str, ...] = ()
    """Names that it puts into site-packages and that can be imported, sorted."""
    conda_owner: str | None = None
    """The conda package that brought it; None: pip, uv or the system did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPath:
    """One shared object that two packages say they brought."""

    path: str
    """Relative to the prefix."""
    owners: tuple[str, ...]
    """`nvidia-cudnn-cu12 9.1.0`, sorted."""
    differs: bool = True
    """Whether the packages record different content; as good as always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlikeRecorded:
    """A file that is not as any package records it."""

    path: str
    """Relative to the prefix."""
    package: str
    """`numpy 1.26.4`."""
    manager: Literal["conda", "pip"]
    how: Literal["gone", "cut", "content"]
    """`cut`: shorter than recorded and ends in the middle; `content`: whole, and another one."""
    recorded: int | None = None
    """Bytes; None: not recorded."""
    found: int | None = None
    """Bytes on disk; None: the file is gone."""
    links: int = 1
    """Names that the file has: above 1 the package cache or other environments share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDamage:
    """A package in a package cache that is not as its own manifest says."""

    folder: str
    """The unpacked package, absolute."""
    problems: tuple[str, ...]
    """`lib/libx.so: 10 of 12 bytes`; the first few."""
    count: int = 1
    """All of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script in `bin` whose first line does not lead to the prefix's interpreter."""

    path: str
    """Relative to the prefix."""
    interpreter: str
    how: Literal["absent", "foreign", "long"]
    """Does not exist; lies in another environment; the line is longer than kernels read."""
    length: int = 0
    """Bytes of the first line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """Metadata, ownership of files, leftovers and scripts of a prefix."""

    layout: Layout = "conda"
    distributions: tuple[Distribution, ...] = ()
    """All of them, those that conda packages brought included; by name."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Wheel to the conda package that brought the same distribution before: `torch: pytorch`."""
    channels: Mapping[str, str] = field(default_factory=dict)
    """Conda package to its channel as recorded: `conda-forge`, `pkgs/main`, `pytorch`."""
    subdirs: Mapping[str, str] = field(default_factory=dict)
    """Conda package to the channel's folder: `linux-64`, `noarch`."""
    depends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Conda package to what it asks for, `python >=3.10,<3.11.0a0`."""
    unpacked: Mapping[str, str] = field(default_factory=dict)
    """Conda package to the folder of the package cache that it was linked from."""
    shared: tuple[SharedPath, ...] = ()
    """Shared objects of two owners. Level static: of torch and the CUDA libraries only."""
    leftovers: tuple[str, ...] = ()
    """What an interrupted conda left: `lib/libx.so.c~`, `.conda_trash`."""
    unfinished: tuple[str, ...] = ()
    """Packages that `conda-meta/history` says are installed, and that have no record."""
    commands: tuple[str, ...] = ()
    """`conda install numpy`: what `conda-meta/history` says was run here, oldest first."""
    disk: Disk | None = None
    """What is left on the prefix's disk; looked at only where something is left over."""
    scripts: tuple[Script, ...] = ()
    """Those that do not lead to this prefix."""
    recorded_prefix: str | None = None
    """Where activation and settings say that this environment lies, if that is not here."""
    marked_wheels: Mapping[str, str] = field(default_factory=dict)
    """Wheel to SHA-256 of the archive that `envforge install` took."""
    unlike: tuple[UnlikeRecorded, ...] | None = None
    """Of all files; None: not looked at one by one."""
    unhashed: tuple[str, ...] = ()
    """Files written after the install that were too large to be read by the way."""
    cache: tuple[CacheDamage, ...] | None = None
    """Of the packages that this prefix was, or is to be, made of; None: not looked at."""

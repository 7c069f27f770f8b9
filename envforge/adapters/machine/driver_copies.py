"""Every copy of the driver's two libraries that the loader could take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from envforge.adapters.machine.host_root import HostRoot
from envforge.adapters.machine.ld_cache import read_ld_cache
from envforge.adapters.machine.mountinfo import Mount, mount_of
from envforge.verify.facts.machine_files import DriverCopy, Place

NAMES: Final = ("libcuda.so.1", "libnvidia-ml.so.1")
DEFAULT_FOLDERS: Final = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
)
_OTHERS: Final[tuple[tuple[str, Place], ...]] = (
    ("/usr/lib/wsl/lib", "wsl"),
    ("/run/opengl-driver/lib", "other"),
    ("/.singularity.d/libs", "other"),
    ("/usr/local/nvidia/lib64", "other"),
    ("/usr/local/nvidia/lib", "other"),
)
_TOOLKIT: Final = re.compile(r"cuda(?:-\d+(?:\.\d+)?)?")
_FILE: Final = re.compile(r"(libcuda|libnvidia-ml)\.so\.\d{3,}\.\d+(?:\.\d+)?")
_PACKAGE: Final = re.compile(
    r"(?P<name>libcuda1(?:-\d+)?|libnvidia-(?:compute|ml)[\w.-]*|nvidia-(?:driver|utils|libs)[\w.-]*"
    r"|nvidia-compute-utils[\w.-]*)(?::\w+)?\.list"
)
_DPKG: Final = "/var/lib/dpkg/info"
_OWN: Final = HostRoot(Path("/"))


def find_copies(
    host: HostRoot, environment: Mapping[str, str], mounts: Sequence[Mount], *, in_image: bool
) -> tuple[DriverCopy, ...]:
    """For each of the two names in the loader's order, then files no name leads to.

    The same file by two ways is told once, by the first. Owners are looked for `in_image` only.
    """
    cache = read_ld_cache(host.data("/etc/ld.so.cache", 1 << 24) or b"")
    found: dict[tuple[str, str], DriverCopy] = {}
    for name in NAMES:
        for path, place in (*_in_order(host, environment, cache, name), *_leftovers(host, name)):
            copy = _copy(host, name, path, place, mounts)
            if copy is not None:
                found.setdefault((name, copy.real), copy)
    copies = tuple(found.values())
    return _with_owners(host, copies) if in_image and copies else copies


def _in_order(
    host: HostRoot,
    environment: Mapping[str, str],
    cache: Mapping[str, tuple[str, ...]],
    name: str,
) -> Iterator[tuple[str, Place]]:
    for folder in environment.get("LD_LIBRARY_PATH", "").replace(";", ":").split(":"):
        if folder:
            yield f"{folder.rstrip('/')}/{name}", "LD_LIBRARY_PATH"
    for path in cache.get(name, ()):
        yield path, _place_of(path)
    for folder in DEFAULT_FOLDERS:
        yield f"{folder}/{name}", "default"
    for folder, place in _OTHERS:
        yield f"{folder}/{name}", place
    for toolkit in host.names("/usr/local"):
        if _TOOLKIT.fullmatch(toolkit):
            for part in ("compat", "compat/lib", "compat/lib.real"):
                yield f"/usr/local/{toolkit}/{part}/{name}", "compat"


def _place_of(path: str) -> Place:
    folder = path.rpartition("/")[0]
    known = dict(_OTHERS)
    return known.get(folder, "cache")


def _leftovers(host: HostRoot, name: str) -> Iterator[tuple[str, Place]]:
    for folder in DEFAULT_FOLDERS:
        for file in host.names(folder):
            found = _FILE.fullmatch(file)
            if found and name.startswith(f"{found[1]}."):
                yield f"{folder}/{file}", "leftover"


def _copy(
    host: HostRoot, name: str, path: str, place: Place, mounts: Sequence[Mount]
) -> DriverCopy | None:
    real, status = host.real(path), host.status(path)
    if status is None and place == "LD_LIBRARY_PATH" and not host.is_own:
        # the variable is that of this process, and may name a folder of its own
        return _copy(_OWN, name, path, place, ())
    if status is None:
        return None
    mount = mount_of(real, mounts)
    return DriverCopy(
        name=name,
        path=path,
        real=real,
        place=place,
        bytes=status.st_size,
        mounted=mount is not None and mount.point != "/",
    )


def _with_owners(host: HostRoot, copies: tuple[DriverCopy, ...]) -> tuple[DriverCopy, ...]:
    owners = dict(_owned(host))
    return tuple(replace(item, package=owners.get(item.real)) for item in copies)


def _owned(host: HostRoot) -> Iterator[tuple[str, str]]:
    """Real path to the Debian package that brought it; other systems' lists cannot be read."""
    for name in host.names(_DPKG):
        found = _PACKAGE.fullmatch(name)
        if found:
            for path in (host.text(f"{_DPKG}/{name}") or "").splitlines():
                if "/libcuda.so." in path or "/libnvidia-ml.so." in path:
                    yield host.real(path), found["name"]

"""Disks and quotas: room, files, and what a folder lets people do."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Final

from envforge.around.server.server_facts import (
    CACHE,
    ENVIRONMENTS,
    HOME,
    OWN,
    TEMPORARY,
    ServerFacts,
    Spot,
)
from envforge.model.finding import Finding, NotSeen
from envforge.model.place import Place
from envforge.model.wording import size

_LITTLE: Final = 20 * 10**9
"""Bytes in which two CUDA environments of torch fit, archives included."""
_FULL: Final = 2 * 10**9
_FEW_FILES: Final = 100_000
"""Inodes: one environment of torch has about 50,000 files."""
_NO_FILES: Final = 10_000
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_LAYERED: Final = frozenset({"overlay", "aufs"})


# --- disks ----------------------------------------------------------------------------------


def room(seen: ServerFacts) -> Iterator[Finding]:
    """Every disk that work needs has room."""
    for spots in _by_disk(seen.spots):
        place = spots[0].place
        if place.free_bytes < max(_needed(spots), min(_LITTLE, place.all_bytes * 0.1)):
            yield Finding(
                message=f"{size(place.free_bytes)} are left on `{place.mount or place.nearest}`"
                f" ({_names(spots)})",
                seen=f"{size(place.free_bytes)} of {size(place.all_bytes)} free",
                expected=f"at least {size(_LITTLE)}, or a tenth",
                remedy=_largest(spots),
                severity="error" if place.free_bytes < _FULL else "warning",
            )


def _needed(spots: list[Spot]) -> int:
    """Bytes without which nothing can be installed there, however small the disk is."""
    return _FULL if {ENVIRONMENTS, CACHE} & {item.name for item in spots} else 0


def inodes(seen: ServerFacts) -> Iterator[Finding]:
    """Every disk that work needs can take more files."""
    for spots in _by_disk(seen.spots):
        place = spots[0].place
        if place.free_inodes is None or not place.all_inodes:
            continue  # made as they are needed: btrfs, some file servers
        if place.free_inodes < min(_FEW_FILES, place.all_inodes * 0.1):
            yield Finding(
                message=f"{place.free_inodes:,} inodes are left on"
                f" `{place.mount or place.nearest}` ({_names(spots)})",
                seen=f"{place.free_inodes:,} of {place.all_inodes:,} free",
                expected=f"at least {_FEW_FILES:,}, or a tenth",
                remedy=f"du -x --inodes -d 1 {quote(spots[0].place.nearest)} | sort -n | tail",
                severity="error" if place.free_inodes < _NO_FILES else "warning",
            )


def writable(seen: ServerFacts) -> Iterator[Finding]:
    """Where environments, packages and temporary files go can be written."""
    for spot in seen.spots:
        place = spot.place
        if "ro" in place.options:
            yield Finding(
                message=f"`{place.path}` ({spot.name}) is on a file system mounted read-only",
                seen=f"ro on {place.mount}",
                expected="rw",
                remedy=f"sudo mount -o remount,rw {quote(place.mount or '/')}"
                "  # when `dmesg` tells no error of the disk",
            )
    closed: dict[str, list[Spot]] = {}
    for spot in seen.spots:
        if not spot.place.writable and "ro" not in spot.place.options:
            closed.setdefault(spot.place.nearest, []).append(spot)
    for nearest, spots in closed.items():
        place = spots[0].place
        is_home = any(spot.name == HOME for spot in spots)
        remedies = [_ELSEWHERE[spot.name] for spot in spots if spot.name in _ELSEWHERE]
        yield Finding(
            message=f"you may not write `{nearest}` ({_names(spots)})",
            seen=f"owner {place.owner}, group {place.group}, mode {place.mode:04o}",
            expected="a folder that you may write",
            remedy=_for_you(place) if is_home else " && ".join(remedies),
        )


_ELSEWHERE: Final = {
    ENVIRONMENTS: "export ENVFORGE_PREFIXES=$HOME/envs",
    CACHE: "export ENVFORGE_PACKAGE_CACHE=$HOME/.conda/pkgs",
    OWN: "export ENVFORGE_CACHE=$HOME/.cache/envforge",
    TEMPORARY: "mkdir -p $HOME/tmp && export TMPDIR=$HOME/tmp",
}


def _for_you(place: Place) -> str:
    """A command that gives you the folder, but nothing above it."""
    if place.exists:
        return f"sudo chown $USER {quote(place.path)}"
    return f"sudo install -d -o $USER {quote(place.path)}"


def executable(seen: ServerFacts) -> Iterator[Finding]:
    """Programs can be started from where environments and temporary files are."""
    for name, severity in ((ENVIRONMENTS, "error"), (TEMPORARY, "warning")):
        spot = seen.spot(name)
        if spot is not None and "noexec" in spot.place.options:
            what = (
                "no interpreter of an environment starts"
                if severity == "error"
                else "compilers (Triton, torch.compile, pip) cannot run what they make there"
            )
            yield Finding(
                message=f"`{spot.place.path}` ({name}) is mounted noexec: {what}",
                seen=f"noexec on {spot.place.mount}",
                expected="a mount that allows programs",
                remedy=f"sudo mount -o remount,exec {quote(spot.place.mount or '/')}"
                if severity == "error"
                else _ELSEWHERE[TEMPORARY],
                severity="error" if severity == "error" else "warning",
            )


def lasting(seen: ServerFacts) -> Iterator[Finding]:
    """Environments and packages are on a disk that outlives a restart."""
    for name in (ENVIRONMENTS, CACHE):
        spot = seen.spot(name)
        if spot is not None and spot.place.kind in _IN_MEMORY | _LAYERED:
            where = "memory" if spot.place.kind in _IN_MEMORY else "a container's own layer"
            yield Finding(
                message=f"`{spot.place.path}` ({name}) is in {where}, and gone with the next start",
                seen=f"{spot.place.kind} on {spot.place.mount}",
                expected="a disk",
                remedy=_ELSEWHERE[name].replace("$HOME", "/path/on/a/disk"),
                severity="warning",
            )


def linked(seen: ServerFacts) -> Iterator[Finding]:
    """Environments can share the package cache's files by hardlinks."""
    cache, environments = seen.spot(CACHE), seen.spot(ENVIRONMENTS)
    if cache is None or environments is None:
        raise NotSeen("where packages or environments go is not known")
    one, other = cache.place, environments.place
    if one.device != other.device:
        yield Finding(
            message=f"package cache (`{one.path}`) and environments (`{other.path}`) are on two"
            " disks: every environment is a full copy",
            seen=f"{one.mount} and {other.mount}",
            expected="one file system",
            remedy=f"export ENVFORGE_PACKAGE_CACHE={quote(_beside(other, one.path))}",
            source="conda documentation, pkgs_dirs",
            severity="warning",
        )


def sticky(seen: ServerFacts) -> Iterator[Finding]:
    """Nobody can remove or exchange other people's temporary files."""
    spot = seen.spot(TEMPORARY)
    if spot is None or not spot.place.mode & 0o002 or spot.place.mode & 0o1000:
        return
    yield Finding(
        message=f"everybody may remove or exchange everybody's files in `{spot.place.nearest}`",
        seen=f"mode {spot.place.mode:04o}",
        expected="the sticky bit, mode 1777",
        remedy=f"sudo chmod 1777 {quote(spot.place.nearest)}",
    )


# --- quotas ---------------------------------------------------------------------------------


def quota(seen: ServerFacts) -> Iterator[Finding]:
    """Your quota leaves room for an environment."""
    for spots in _by_disk(seen.spots):
        blocks, files = spots[0].quota_bytes, spots[0].quota_files
        names, where = _names(spots), spots[0].place.mount or spots[0].place.nearest
        if blocks is not None and blocks < _LITTLE:
            yield Finding(
                message=f"your quota leaves {size(blocks)} on `{where}` ({names})",
                seen=f"{size(blocks)} left",
                expected=f"at least {size(_LITTLE)}",
                remedy=_largest(spots),
                severity="error" if blocks < _FULL else "warning",
            )
        if files is not None and files < _FEW_FILES:
            yield Finding(
                message=f"your quota leaves {files:,} files on `{where}` ({names})",
                seen=f"{files:,} left",
                expected=f"at least {_FEW_FILES:,}: an environment of torch has some 50,000",
                remedy=f"du --inodes -d 1 {quote(spots[0].place.nearest)} | sort -n | tail",
                severity="error" if files < _NO_FILES else "warning",
            )


def remote_quota(seen: ServerFacts) -> Iterator[Finding]:
    """No file server has a quota that cannot be seen from here."""
    remote = [item for item in seen.spots if item.is_remote]
    if remote:
        raise NotSeen(f"{_names(remote)}: on a file server; `quota -s` may tell")
    yield from ()


# --- words ----------------------------------------------------------------------------------


def _by_disk(spots: tuple[Spot, ...]) -> list[list[Spot]]:
    """Those on one file system together: it is full for all of them at once."""
    found: dict[int, list[Spot]] = {}
    for spot in spots:
        found.setdefault(spot.place.device, []).append(spot)
    return list(found.values())


def _names(spots: list[Spot]) -> str:
    return ", ".join(spot.name for spot in spots)


def _largest(spots: list[Spot]) -> str:
    """A command that shows what takes the space."""
    return f"du -xh -d 1 {quote(spots[0].place.nearest)} | sort -h | tail"


def _beside(place: Place, taken: str) -> str:
    """A folder for packages on the disk of this one; beside a mount lies another disk."""
    above = place.path.rstrip("/").rpartition("/")[0]
    beside, mount = f"{above}/pkgs", (place.mount or "/").rstrip("/")
    is_same_disk = above == mount or above.startswith(f"{mount}/")
    return beside if is_same_disk and beside != taken else f"{place.path.rstrip('/')}/.pkgs"

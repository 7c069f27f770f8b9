"""Package caches: who may read and write them, and whether they serve."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from envforge.around.server.server_facts import PackageCache, ServerFacts
from envforge.model.finding import Finding, NotSeen
from envforge.model.wording import counted, listed


def entered(seen: ServerFacts) -> Iterator[Finding]:
    """Package caches that settings name can be entered."""
    for cache in present(seen):
        if cache.is_closed:
            yield Finding(
                message=f"the package cache `{cache.place.path}`, which settings name, is closed"
                " to you",
                seen=f"owner {cache.place.owner}, group {cache.place.group},"
                f" mode {cache.place.mode:04o}",
                expected="folders that everybody may enter who uses the cache",
                remedy=f"sudo chmod o+rx {quote(cache.place.path)}  # or join its group",
            )
    for cache in seen.caches:
        if cache.is_hidden:
            yield Finding(
                message=f"whether there is a package cache `{cache.place.path}`, which settings"
                f" name, cannot be seen: `{cache.place.nearest}` is closed to you",
                seen=f"owner {cache.place.owner}, mode {cache.place.mode:04o}",
                expected="folders that everybody may enter who uses the cache",
                remedy=f"sudo chmod go+x {quote(cache.place.nearest)}"
                "  # or take it out of `pkgs_dirs`",
                severity="warning",
            )


def safe(seen: ServerFacts) -> Iterator[Finding]:
    """Strangers cannot exchange packages that environments are made of."""
    for cache in present(seen):
        if cache.place.mode & 0o002:
            yield Finding(
                message=f"everybody may write `{cache.place.path}`: what is exchanged there runs"
                " in every environment made from it",
                seen=f"mode {cache.place.mode:04o}",
                expected="written by its owner, or one group",
                remedy=f"sudo chmod o-w {quote(cache.place.path)}",
            )


def of_a_group(seen: ServerFacts) -> Iterator[Finding]:
    """A group's package cache gives its group to what is put into it."""
    for cache in present(seen):
        if cache.place.mode & 0o020 and not cache.place.mode & 0o2000:
            yield Finding(
                message=f"`{cache.place.path}` does not pass its group on: what one member puts"
                " there, the others cannot replace",
                seen=f"mode {cache.place.mode:04o}",
                expected="the setgid bit, mode 2775",
                remedy=f"sudo chmod g+s {quote(cache.place.path)}",
                severity="warning",
            )


def open_to_all(seen: ServerFacts) -> Iterator[Finding]:
    """Every package in the caches can be read."""
    for cache in present(seen):
        if cache.closed_count:
            names = listed(cache.closed, 2, quote="`")
            yield Finding(
                message=f"you may not read {counted(cache.closed_count, 'package')} in"
                f" `{cache.place.path}`: {names}",
                seen=f"{cache.closed_count} of {cache.packages} closed",
                expected="packages that everybody may read who uses the cache",
                remedy=f"sudo chmod -R go+rX {quote(cache.place.path)}",
            )


def linkable(seen: ServerFacts) -> Iterator[Finding]:
    """Packages in the cache can be hardlinked by you."""
    ours = next((item for item in present(seen) if item.is_ours), None)
    if ours is None:
        return
    if ours.foreign_count and seen.protected_hardlinks is None:
        raise NotSeen("the system does not tell fs.protected_hardlinks")
    if ours.foreign_count and seen.protected_hardlinks and seen.uid != 0:
        yield Finding(
            message=f"{counted(ours.foreign_count, 'package')} in `{ours.place.path}` belong to"
            " others, and you may not write them: they are copied into your environments",
            seen="fs.protected_hardlinks = 1",
            expected="packages of a group that may write them, or of your own",
            remedy=f"sudo chmod -R g+w {quote(ours.place.path)}  # for a group that is trusted",
            source="proc_sys_fs(5), protected_hardlinks",
            severity="warning",
        )


def clean(seen: ServerFacts) -> Iterator[Finding]:
    """Nothing half-done lies in the caches."""
    for cache in present(seen):
        if cache.leftover_count:
            yield Finding(
                message=f"{counted(cache.leftover_count, 'leftover')} of interrupted downloads in"
                f" `{cache.place.path}`: {listed(cache.leftovers, 2, quote='`')}",
                seen=f"{cache.leftover_count}, older than a day",
                expected="none",
                remedy="rm -r " + " ".join(quote(item) for item in cache.leftovers),
                severity="warning",
            )


def present(seen: ServerFacts) -> Iterator[PackageCache]:
    return (item for item in seen.caches if item.place.exists)

"""Whether a lock still belongs to the files beside it, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.formats.conda_lock import conda_lock_yml, content_hash
from envforge.model.lock import UNSOLVED, Lock
from envforge.model.machine import Platform
from envforge.model.spec import Dependency, VirtualPackage


def is_current(
    lock: Lock,
    document: EnvironmentDocument,
    virtual: Mapping[Platform, tuple[VirtualPackage, ...]],
) -> tuple[str, ...]:
    """Why the lock is stale, the plainest reasons first; empty: it is current.

    A lock of ours is held against our own digest, any other against the content hashes that
    conda-lock computes.
    """
    spec = document.spec
    if UNSOLVED in lock.metadata:
        return (lock.metadata[UNSOLVED],)
    if lock.inputs_digest is not None:
        stale = lock.inputs_digest != content_hash.inputs_digest(spec, virtual)
    else:
        stale = dict(lock.content_hash) != content_hash.content_hashes(spec, virtual)
    if not stale:
        return ()
    reasons = tuple(dict.fromkeys(_reasons(lock, document, virtual)))
    return reasons or ("environment.yml was changed after it was locked",)


def disagreements(lock: Lock, document: EnvironmentDocument) -> Iterator[str]:
    """What anybody sees: other platforms or channels, and dependencies that are not locked so."""
    spec = document.spec
    if set(spec.platforms) != set(lock.platforms):
        yield (
            f"environment.yml names the platforms {', '.join(spec.platforms)},"
            f" and the lock {', '.join(lock.platforms)}"
        )
    if _channels(spec.channels) != _channels(lock.channels):
        yield "the channels in environment.yml are others"
    for platform in lock.platforms:
        for dependency in spec.dependencies:
            yield from _missing(lock, dependency, platform)


def _reasons(
    lock: Lock,
    document: EnvironmentDocument,
    virtual: Mapping[Platform, tuple[VirtualPackage, ...]],
) -> Iterator[str]:
    spec = document.spec
    yield from disagreements(lock, document)
    yield from _removed(lock, document)
    hashes = content_hash.content_hashes(spec, virtual)
    plain = content_hash.content_hashes(spec, {})
    same_platforms = set(hashes) == set(lock.content_hash)
    if same_platforms and hashes != dict(lock.content_hash) and plain != hashes:
        yield "environment.yml or virtual-packages.yml was changed after it was locked"


def _channels(names: tuple[str, ...]) -> list[str]:
    return [content_hash.channel_entry(name)[0] for name in content_hash.locked_channels(names)]


def _missing(lock: Lock, dependency: Dependency, platform: Platform) -> Iterator[str]:
    found = [
        item
        for item in lock.for_platform(platform)
        if (item.name, item.manager) == (dependency.name, dependency.manager)
    ]
    if not found and not dependency.marker:
        yield f"`{dependency.name}` is not in the lock"
    exact = dependency.version.lstrip("=")
    is_exact = exact and not any(char in exact for char in "<>!~,|*=")
    if found and is_exact and not _begins(found[0].version, exact):
        yield (
            f"`{dependency.name}` is {exact} in environment.yml, and {found[0].version} in the lock"
        )


def _begins(version: str, asked: str) -> bool:
    public = version.partition("+")[0]
    return asked in {version, public} or public.startswith(f"{asked}.")


def _removed(lock: Lock, document: EnvironmentDocument) -> Iterator[str]:
    """A direct dependency that was taken out shows as a package nobody asks for."""
    direct = {item.name for item in document.spec.dependencies}
    for platform in lock.platforms:
        packages = lock.for_platform(platform)
        needed = {
            spec.partition(" ")[0]
            for item in packages
            for spec in conda_lock_yml.merged_depends(item.depends)
        }
        for item in packages:
            if item.name not in needed and item.name not in direct:
                yield f"`{item.name}` is in the lock, and no longer in environment.yml"

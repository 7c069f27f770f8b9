"""A lock as lines for people: what `git diff` compares instead of the file."""

from __future__ import annotations

from collections.abc import Iterator

from envforge.model.cuda import accelerator_name
from envforge.model.difference import origin
from envforge.model.lock import UNSOLVED, Lock, LockedPackage, Target
from envforge.model.solving import without_credentials
from envforge.team.addresses import PUBLIC

SECTION = "=="
"""Begins a platform: git shows the line in the headers of hunks."""


def lines(lock: Lock) -> Iterator[str]:
    """What it is for, then a line a package: name, version, build, origin, start of its hash."""
    if lock.target is not None:
        yield from _target(lock.target)
    yield f"platforms {' '.join(lock.platforms)}"
    yield f"channels {' '.join(map(without_credentials, lock.channels))}"
    if lock.inputs_digest:
        yield f"locked from {lock.inputs_digest[:12]}"
    if UNSOLVED in lock.metadata:
        yield f"not solved: {lock.metadata[UNSOLVED]}"
    for platform in lock.platforms:
        yield ""
        yield f"{SECTION} {platform}"
        yield from map(_package, lock.for_platform(platform))


def _target(target: Target) -> Iterator[str]:
    yield f"torch {target.torch} ({accelerator_name(target.cuda)})"
    facts = {
        "cuDNN": target.cudnn,
        "driver": target.min_driver and f"{target.min_driver} or newer",
        "GPUs": " ".join(target.architectures),
        "python": target.python,
        "source": target.source,
    }
    yield from (f"{name} {value}" for name, value in facts.items() if value)


def _package(item: LockedPackage) -> str:
    place = origin(item).removeprefix(f"{PUBLIC}/")
    digest = (item.sha256 or item.md5)[:12]
    parts = (item.name, item.version, item.build or item.manager, place, digest)
    return " ".join(part for part in parts if part)

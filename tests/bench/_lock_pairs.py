"""Locks of three platforms with 333 packages each: one, and another of which a share has moved."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform

PLATFORMS: tuple[Platform, ...] = ("linux-64", "linux-aarch64", "win-64")
PACKAGES = 333


def write_locks(folder: Path) -> tuple[Path, Path, Path]:
    """A lock; the same with a third of its packages moved; and with all of them moved."""
    first, other = _lock(1), _lock(2)
    third = replace(
        first,
        packages=tuple(
            new if number % 3 == 0 else old
            for number, (old, new) in enumerate(zip(first.packages, other.packages, strict=True))
        ),
    )
    paths = []
    for name, lock in (("first", first), ("third", third), ("all", other)):
        path = folder / f"{name}.conda-lock.yml"
        path.write_text(conda_lock_yml.write(lock), encoding="utf-8")
        paths.append(path)
    return paths[0], paths[1], paths[2]


def _lock(seed: int) -> Lock:
    draw = random.Random(seed)
    names = [f"package-{number:03d}" for number in range(PACKAGES - 2)]
    packages = [_package(draw, name, platform, names) for platform in PLATFORMS for name in names]
    for platform in PLATFORMS:
        packages.append(_torch(draw, platform, seed))
        packages.append(_archive(draw, "python", platform, "3.11.9", "h5ee_0_cpython", ()))
    return conda_lock_yml.normalised(
        Lock(
            packages=tuple(packages),
            platforms=PLATFORMS,
            channels=("conda-forge",),
            content_hash={platform: _digits(draw, 64) for platform in PLATFORMS},
        )
    )


def _package(draw: random.Random, name: str, platform: Platform, names: list[str]) -> LockedPackage:
    version = f"{draw.randrange(10)}.{draw.randrange(30)}.{draw.randrange(20)}"
    needs = sorted(set(draw.choices(names, k=draw.randrange(10))))
    depends = tuple(
        f"{other} >={draw.randrange(9)}.{draw.randrange(9)},<{draw.randrange(9) + 9}.0a0"
        for other in needs
    )
    return _archive(draw, name, platform, version, f"py311h{_digits(draw, 7)}_0", depends)


def _torch(draw: random.Random, platform: Platform, seed: int) -> LockedPackage:
    needs = ("__cuda", "python >=3.11,<3.12.0a0")
    build = f"cuda126_generic_py311_h{_digits(draw, 6)}_20{seed}"
    return _archive(draw, "pytorch", platform, f"2.7.{seed - 1}", build, needs)


def _archive(  # noqa: PLR0917
    draw: random.Random,
    name: str,
    platform: Platform,
    version: str,
    build: str,
    depends: tuple[str, ...],
) -> LockedPackage:
    """A conda package with made-up hashes."""
    root = "https://conda.anaconda.org/conda-forge"
    return LockedPackage(
        platform=platform,
        name=name,
        version=version,
        build=build,
        url=f"{root}/{platform}/{name}-{version}-{build}.conda",
        sha256=_digits(draw, 64),
        md5=_digits(draw, 32),
        depends=depends,
        size=draw.randrange(1000, 10**7),
    )


def _digits(draw: random.Random, number: int) -> str:
    return f"{draw.randrange(16**number):0{number}x}"

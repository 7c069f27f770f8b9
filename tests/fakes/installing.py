"""Fakes of the ports that an install works through, and the real ones over temporary folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from envforge.install.install import InstallTools
from envforge.model.lock import Lock, LockedPackage
from envforge.model.prefix import (
    ArchiveFacts,
    Disk,
    InstalledPackage,
    InstallPlan,
    InstallRecord,
    PrefixContents,
    PrefixState,
)
from envforge.model.settings import Settings
from envforge.ports import LinkOutcome, WheelInstaller

GB = 10**9


@dataclass
class RecordingReporter:
    """Keeps what it is told."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reports: list[tuple[int, int | None, str, str]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.steps.append(title)
        yield

    def progress(self, done: int, total: int | None, unit: str = "", detail: str = "") -> None:
        self.reports.append((done, total, unit, detail))

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass
class World:
    """A prefix in memory, and every port that changes it; `calls` is what happened, in order."""

    contents: PrefixContents = field(
        default_factory=lambda: PrefixContents(state=PrefixState.ABSENT)
    )
    calls: list[str] = field(default_factory=list)
    disks: dict[str, Disk] = field(default_factory=dict)
    facts: dict[str, ArchiveFacts] = field(default_factory=dict)
    linked: LinkOutcome = field(
        default_factory=lambda: LinkOutcome(link_mode="hardlink", downloaded=1)
    )
    fails_at: dict[str, Exception] = field(default_factory=dict)
    while_waiting: Callable[[World], None] = lambda _: None
    """What another process does to the prefix before we get the lock."""
    cleared: int = 0
    after_link: Callable[[World], None] = lambda _: None
    described: dict[str, Any] = field(default_factory=dict)
    link_call: dict[str, Any] = field(default_factory=dict)

    def tools(self, reporter: RecordingReporter | None = None) -> InstallTools:
        return InstallTools(
            conda=FakeConda(self),
            wheels=FakeWheels(self),
            prefixes=FakePrefixes(self),
            registry=FakeRegistry(self),
            space=FakeSpace(self),
            bytecode=FakeBytecode(self),
            reporter=reporter or RecordingReporter(),
        )

    def did(self, call: str) -> None:
        self.calls.append(call)
        word = call.partition(" ")[0]
        if word in self.fails_at:
            raise self.fails_at[word]

    def put(self, packages: Sequence[LockedPackage], manager: str) -> None:
        kept = [item for item in self.contents.packages if item.manager != manager]
        fresh = [as_installed(item) for item in packages]
        self.contents = PrefixContents(
            state=self.contents.state,
            packages=tuple(sorted([*kept, *fresh])),
            damaged=frozenset(item for item in self.contents.damaged if item.manager != manager),
            record=self.contents.record,
        )


@dataclass
class FakeConda:
    world: World

    def check(self, packages: Sequence[LockedPackage]) -> None:
        self.world.did(f"check {len(packages)}")

    def link(
        self,
        packages: Sequence[LockedPackage],
        prefix: Path,
        *,
        platform: str,
        reinstall: frozenset[str] = frozenset(),
        resume: bool = False,
        progress: Callable[[int, int | None, str, str], None],
    ) -> LinkOutcome:
        self.world.did("link")
        self.world.link_call = {"platform": platform, "reinstall": reinstall, "resume": resume}
        progress(len(packages), len(packages), "packages", "")
        self.world.put(packages, "conda")
        self.world.after_link(self.world)
        return self.world.linked


@dataclass
class FakeWheels:
    world: World

    def install(
        self, wheels: Sequence[LockedPackage], prefix: Path, *, remove: Sequence[str] = ()
    ) -> None:
        self.world.did(f"wheels +{[item.name for item in wheels]} -{list(remove)}")
        gone = {*remove, *(item.name for item in wheels)}
        kept = [
            item
            for item in self.world.contents.packages
            if item.manager == "conda" or item.name not in gone
        ]
        packages = tuple(sorted([*kept, *map(as_installed, wheels)]))
        self.world.contents = PrefixContents(
            state=self.world.contents.state, packages=packages, record=self.world.contents.record
        )


@dataclass
class FakePrefixes:
    world: World

    def read(self, prefix: Path) -> PrefixContents:
        return self.world.contents

    def state(self, prefix: Path) -> PrefixState:
        return self.world.contents.state

    @contextmanager
    def hold(self, prefix: Path, waiting: Callable[[str], None]) -> Iterator[None]:
        self.world.did("hold")
        self.world.while_waiting(self.world)
        yield

    def begin(self, prefix: Path, record: InstallRecord) -> None:
        self.world.did("begin")
        self._mark(PrefixState.INCOMPLETE, record)

    def clear(self, prefix: Path) -> None:
        self.world.cleared += 1

    def describe(
        self,
        prefix: Path,
        plan: InstallPlan,
        *,
        packages: Sequence[LockedPackage],
        variables: Mapping[str, str],
        before: Sequence[str],
        requested: Sequence[str],
    ) -> None:
        self.world.did("describe")
        self.world.described = {"variables": dict(variables), "before": tuple(before)}

    def finish(self, prefix: Path, record: InstallRecord) -> None:
        self.world.did("finish")
        self._mark(PrefixState.INSTALLED, record)

    def delete(self, prefix: Path) -> None:
        self.world.did("delete")
        self.world.contents = PrefixContents(state=PrefixState.ABSENT)

    def _mark(self, state: PrefixState, record: InstallRecord) -> None:
        self.world.contents = PrefixContents(
            state=state,
            packages=self.world.contents.packages,
            damaged=self.world.contents.damaged,
            record=record,
        )


@dataclass
class FakeRegistry:
    world: World

    def add(self, prefix: Path) -> None:
        self.world.did("register")

    def remove(self, prefix: Path) -> None:
        self.world.did("unregister")


@dataclass
class FakeSpace:
    world: World

    def disk(self, folder: Path) -> Disk:
        default = Disk(path=str(folder), device=1, free_bytes=100 * GB)
        return self.world.disks.get(str(folder), default)

    def archives(
        self, packages: Sequence[LockedPackage], *, measure: bool
    ) -> Mapping[str, ArchiveFacts]:
        return self.world.facts

    def caches(self) -> tuple[Path, Path]:
        return Path("/cache/conda"), Path("/cache/wheels")


@dataclass
class FakeBytecode:
    world: World

    def compile(
        self, prefix: Path, packages: Sequence[LockedPackage], *, wait: bool
    ) -> Literal["compiled", "background", "skipped"]:
        self.world.did(f"compile {sorted(item.name for item in packages)}")
        return "compiled" if wait else "background"


def as_installed(package: LockedPackage) -> InstalledPackage:
    """What a prefix tells of a package after it was installed as locked."""
    return InstalledPackage(
        name=package.name,
        manager=package.manager,
        version=package.version,
        build=package.build,
        url=package.url,
        sha256=package.sha256,
    )


def conda_package(name: str, version: str = "1.0", build: str = "0", **facts: Any) -> LockedPackage:
    """A conda package as a lock holds it; its hash follows from name, version and build."""
    import hashlib

    stem = f"{name}-{version}-{build}"
    defaults: dict[str, Any] = {
        "platform": "linux-64",
        "url": f"https://conda.anaconda.org/conda-forge/linux-64/{stem}.conda",
        "sha256": hashlib.sha256(stem.encode()).hexdigest(),
    }
    return LockedPackage(name=name, version=version, build=build, **{**defaults, **facts})


def wheel(name: str, version: str = "1.0", **facts: Any) -> LockedPackage:
    """A wheel as a lock holds it."""
    stem = f"{name}-{version}-py3-none-any.whl"
    return conda_package(
        name, version, "", manager="pip", url=f"https://files.example.org/{stem}", **facts
    )


def lock_of(*packages: LockedPackage) -> Lock:
    """A lock of these packages."""
    platforms = tuple(sorted({item.platform for item in packages} or {"linux-64"}))
    return Lock(
        packages=tuple(sorted(packages)),
        platforms=platforms,  # type: ignore[arg-type]
        channels=("conda-forge",),
        content_hash={},
    )


def make_settings(folder: Path, **given: Any) -> Settings:
    """Settings whose every path lies in a temporary folder."""
    defaults: dict[str, Any] = {
        "home": folder / "home",
        "envs_folder": folder / "envs",
        "prefixes": folder / "prefixes",
        "package_cache": folder / "pkgs",
        "cache": folder / "cache",
        "store": folder / "store",
        "views": given.get("store", folder / "store") / "views",
        "environment": dict(os.environ),
    }
    return Settings(**{**defaults, **given})


class NoWheels:
    """A `ports.WheelInstaller` for locks without wheels."""

    def install(
        self, wheels: Sequence[LockedPackage], prefix: Path, *, remove: Sequence[str] = ()
    ) -> None:
        assert not wheels
        assert not remove


def real_tools(
    settings: Settings,
    reporter: RecordingReporter | None = None,
    wheels: WheelInstaller | None = None,
) -> InstallTools:
    """The real adapters over these settings."""
    from envforge.adapters.bytecode import EnvironmentCompiler
    from envforge.adapters.prefixes import CondaRegistry, RealPrefixes
    from envforge.adapters.process import RealProcesses
    from envforge.adapters.rattler_installer import RattlerInstaller
    from envforge.adapters.space_probe import RealSpace

    return InstallTools(
        conda=RattlerInstaller(settings),
        wheels=wheels or NoWheels(),
        prefixes=RealPrefixes(),
        registry=CondaRegistry(settings.home),
        space=RealSpace(settings, settings.cache / "uv"),
        bytecode=EnvironmentCompiler(RealProcesses(), 2),
        reporter=reporter or RecordingReporter(),
    )

"""What every task needs: settings, progress, and engines that are made when first used."""

from __future__ import annotations

import os
import platform as host_platform
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envforge.adapters.environments import Environments
from envforge.adapters.settings import load_settings
from envforge.errors import FileNotUsable, InvalidValue
from envforge.model.machine import Platform
from envforge.model.settings import Settings

if TYPE_CHECKING:
    from envforge.adapters.host_python import HostPython
    from envforge.adapters.machine.machine_probe import LiveMachineProbe
    from envforge.adapters.rattler_solver import RattlerSolver
    from envforge.adapters.uv import Uv
    from envforge.adapters.wheelhouse import Wheelhouse
    from envforge.install.install import InstallTools
    from envforge.matrix import Matrix
    from envforge.ports import (
        ChannelIndex,
        CondaSolver,
        MachineProbe,
        Processes,
        Reporter,
        WheelResolver,
    )

_PLATFORMS: dict[tuple[str, str], Platform] = {
    ("linux", "x86_64"): "linux-64",
    ("linux", "aarch64"): "linux-aarch64",
    ("darwin", "arm64"): "osx-arm64",
    ("win32", "amd64"): "win-64",
}


def this_platform() -> Platform:
    """The platform we run on, in conda's words.

    Raises:
        InvalidValue: one that envforge does not know, such as osx-64.
    """
    machine = host_platform.machine().lower()
    found = _PLATFORMS.get((sys.platform, machine))
    if found is None:
        raise InvalidValue(
            what="platform",
            value=f"{sys.platform} {machine}",
            reason="is none that PyTorch is published for",
            remedy=f"known: {', '.join(_PLATFORMS.values())}; lock for one with `--platform`",
        )
    return found


class SilentReporter:
    """Says nothing: for use as a library."""

    def step(self, title: str) -> Any:
        """See `ports.Reporter.step`."""
        from contextlib import nullcontext

        return nullcontext(title)

    def progress(self, done: int, total: int | None, unit: str = "", detail: str = "") -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """Nothing."""


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise FileNotUsable(
            path=".", reason="the folder we stand in was removed", remedy="`cd` to another one"
        ) from error


class Workplace:
    """Settings and engines of one `Forge`."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        overrides: Mapping[str, Any] | None = None,
        reporter: Reporter | None = None,
        probe: MachineProbe | None = None,
    ) -> None:
        self.settings = settings or load_settings(os.environ, _here(), overrides)
        self.reporter: Reporter = reporter or SilentReporter()
        self.environments = Environments(self.settings.envs_folder)
        self._probe = probe

    @cached_property
    def processes(self) -> Processes:
        """Starts programs."""
        from envforge.adapters.process import RealProcesses

        return RealProcesses()

    @cached_property
    def probe(self) -> MachineProbe:
        """Looks at this machine's driver and GPUs."""
        return self._probe or self.live_probe

    @cached_property
    def live_probe(self) -> LiveMachineProbe:
        """The same with its witnesses, for `verify`."""
        from envforge.adapters.machine.machine_probe import LiveMachineProbe

        return LiveMachineProbe(
            self.processes, self.settings.environment, root=self.settings.host_root
        )

    @cached_property
    def matrix(self) -> Matrix:
        """The tables of what exists."""
        from envforge.matrix import load

        return load()

    @cached_property
    def solver(self) -> CondaSolver:
        """The solver of py-rattler; keeps the channels it has read."""
        return self._rattler

    @cached_property
    def channel_index(self) -> ChannelIndex:
        """What the channels hold; reads none that the solver has read."""
        return self._rattler

    @cached_property
    def _rattler(self) -> RattlerSolver:
        from envforge.adapters.rattler_solver import RattlerSolver

        return RattlerSolver(self.settings)

    def solver_for(self, engine: str) -> CondaSolver:
        """The solver that `--engine` names.

        Raises:
            InvalidValue: neither `rattler` nor `conda-lock`.
        """
        if engine == "rattler":
            return self.solver
        if engine != "conda-lock":
            raise InvalidValue(
                what="engine", value=engine, reason="is neither `rattler` nor `conda-lock`"
            )
        from envforge.adapters.conda_lock_engine import CondaLockEngine
        from envforge.adapters.conda_lock_solver import CondaLockSolver

        return CondaLockSolver(
            CondaLockEngine(processes=self.processes, environment=self.settings.environment)
        )

    def for_trying(self) -> Workplace:
        """The same place, telling nobody, and asking a silent index once only."""
        trying = copy(self)
        trying.reporter = SilentReporter()
        trying.uv = replace(self.uv, environment={**self.uv.environment, "UV_HTTP_RETRIES": "0"})
        trying.__dict__.pop("wheels", None)  # made anew, with that
        return trying

    @cached_property
    def wheels(self) -> WheelResolver:
        """Resolves wheels, with uv."""
        from envforge.adapters.uv_resolver import UvResolver

        return UvResolver(self.uv, Path(sys.executable), self.reporter.note)

    @cached_property
    def uv(self) -> Uv:
        """Uv with what pip is configured with here."""
        from envforge.adapters.pip_settings import read_pip_settings
        from envforge.adapters.uv import Uv

        return Uv(
            processes=self.processes,
            environment=self.settings.environment,
            settings=read_pip_settings(self.settings.environment, home=self.settings.home),
            offline=self.settings.offline,
        )

    @property
    def install_tools(self) -> InstallTools:
        """What installs are carried out with, whatever the lock."""
        return self.tools_for(())

    def tools_for(self, channels: Sequence[str]) -> InstallTools:
        """What installs of a lock with these channels are carried out with.

        A channel `https://host/t/$TOKEN/ch` says how packages that are locked as
        `https://host/ch/…` are read.
        """
        from envforge.adapters.bytecode import EnvironmentCompiler
        from envforge.adapters.pack.download import Downloads
        from envforge.adapters.prefixes import CondaRegistry, RealPrefixes
        from envforge.adapters.rattler_installer import RattlerInstaller
        from envforge.adapters.space_probe import RealSpace
        from envforge.adapters.uv_installer import UvInstaller
        from envforge.install.install import InstallTools

        settings = self.settings_for(channels)
        return InstallTools(
            conda=RattlerInstaller(settings),
            wheels=UvInstaller(self.uv, self.wheelhouse, Downloads(settings, self.uv.settings)),
            prefixes=RealPrefixes(),
            registry=CondaRegistry(self.settings.home),
            space=RealSpace(settings, self.wheel_cache),
            bytecode=EnvironmentCompiler(self.processes, os.cpu_count() or 1),
            reporter=self.reporter,
        )

    def settings_for(self, channels: Sequence[str]) -> Settings:
        """The settings, with a lock's channels."""
        return replace(self.settings, channels=tuple(channels))

    @property
    def wheelhouse(self) -> Wheelhouse:
        """Wheels that came in packs."""
        from envforge.adapters.wheelhouse import Wheelhouse

        return Wheelhouse(self.settings.cache / "wheels")

    @property
    def wheel_cache(self) -> Path:
        """Where uv keeps unpacked wheels (uv's documentation, "Caching")."""
        environment, home = self.settings.environment, self.settings.home
        base = environment.get("XDG_CACHE_HOME") or home / ".cache"
        return Path(environment.get("UV_CACHE_DIR") or Path(base) / "uv")

    def host_python(self) -> HostPython:
        """The one-package channel of the interpreter that runs us; built when not cached."""
        from envforge.adapters.host_python import build_channel

        return build_channel(self.settings.cache / "host-python", None, self.reporter)

"""conda-lock as a second solver (`--engine conda-lock`), and as a renderer.

It runs in a process of its own, in a folder of its own that holds environment.yml and
virtual-packages.yml, and calls conda, mamba or micromamba for each platform. Its locks lack
what ours have beyond the format: sizes, and the build strings of dependencies.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote

from envforge.adapters.files import read_text, write_text
from envforge.errors import ToolFailed, ToolMissing, Unsolvable
from envforge.formats.conda import environment_yml, virtual_packages_yml
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import Channel
from envforge.model.spec import EnvironmentSpec, VirtualPackage
from envforge.ports import Completed, Processes

NEEDED_FOR: Final = "`--engine conda-lock`"
_PROGRAMS: Final = ("mamba", "micromamba", "conda")
"""In this order: mamba and micromamba solve faster, and conda-lock prefers them too."""
_UNSOLVED: Final = re.compile(
    r"^Could not lock the environment for platform (?P<platform>\S+)\n(?P<why>.*?)(?=^ +Command:)",
    re.MULTILINE | re.DOTALL,
)
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaLockEngine:
    """Solves and renders with conda-lock."""

    processes: Processes
    environment: Mapping[str, str]
    """The process environment; `PATH` and `CONDA_EXE` say where conda is."""
    program: str | None = None
    """Name or path of conda, mamba or micromamba; None: the first one found."""
    timeout: float = _HOUR
    """Seconds for one run; conda-lock downloads all repodata anew each time."""

    def lock(
        self,
        spec: EnvironmentSpec,
        virtual_packages: Mapping[Platform, tuple[VirtualPackage, ...]],
        channels: Sequence[Channel],
    ) -> tuple[LockedPackage, ...]:
        """Lock all platforms of the spec, wheels included.

        Args:
            spec: environment.yml.
            virtual_packages: virtual-packages.yml.
            channels: those of the spec, with their canonical addresses and mirrors.

        Raises:
            ToolMissing: conda-lock, or a program to solve with, is not installed.
            Unsolvable: with the solver's words, for the first platform that does not solve.
            ToolFailed: anything else went wrong.
        """
        _require_conda_lock()
        program = self._solver()
        alias = _common_root(channels)
        with tempfile.TemporaryDirectory(prefix="envforge-conda-lock-") as name:
            folder = Path(name)
            asked = replace(spec, channels=_channels_to_ask(channels, alias))
            write_text(folder / "environment.yml", environment_yml.write(asked))
            write_text(
                folder / "virtual-packages.yml", virtual_packages_yml.write(virtual_packages)
            )
            # Any `pip:` section makes conda-lock fetch a table of names, unless it is given one.
            write_text(folder / "pypi-names.json", "{}\n")
            self._run_lock(program, folder, alias)
            text = read_text(folder / "conda-lock.yml")
        lock = conda_lock_yml.read(text, "conda-lock.yml")
        return tuple(_canonical(package, channels) for package in lock.packages)

    def render(
        self, lock: Lock, kind: Literal["explicit", "env"] = "explicit"
    ) -> dict[Platform, str]:
        """Render a lock for conda alone: a list of addresses, or an environment.yml, a platform.

        Raises:
            ToolMissing: conda-lock is not installed.
            ToolFailed: it did not accept the lock.
        """
        _require_conda_lock()
        suffix = ".yml" if kind == "env" else ""
        with tempfile.TemporaryDirectory(prefix="envforge-conda-lock-") as name:
            folder = Path(name)
            write_text(folder / "conda-lock.yml", conda_lock_yml.write(lock))
            arguments = ("--kind", kind, "--filename-template", "{platform}.lock", "conda-lock.yml")
            self._conda_lock("render", *arguments, folder=folder)
            return {
                platform: read_text(folder / f"{platform}.lock{suffix}")
                for platform in lock.platforms
            }

    def _solver(self) -> str:
        """The program conda-lock calls."""
        if self.program is not None:
            wanted: tuple[str, ...] = (self.program,)
        else:
            named = (self.environment.get("MAMBA_EXE"), self.environment.get("CONDA_EXE"))
            wanted = (*_PROGRAMS, *filter(None, named))
        path = self.environment.get("PATH", "")
        found = next(filter(None, (shutil.which(item, path=path) for item in wanted)), None)
        if found is None:
            raise ToolMissing(
                tool=self.program or "conda, mamba or micromamba",
                needed_for=NEEDED_FOR,
                remedy="install micromamba, or lock with envforge's own engine, `--engine rattler`",
            )
        return found

    def _run_lock(self, program: str, folder: Path, alias: str | None) -> None:
        arguments = (
            *("--conda", program, "--no-mamba", "--log-level", "WARNING"),
            *("--file", "environment.yml", "--lockfile", "conda-lock.yml"),
            *("--virtual-package-spec", "virtual-packages.yml"),
            *("--pypi_to_conda_lookup_file", "pypi-names.json"),
        )
        # Under an alias, `pytorch::` in front of a package still names the mirrored channel.
        more = {f"{tool}_CHANNEL_ALIAS": alias for tool in ("CONDA", "MAMBA")} if alias else {}
        try:
            self._conda_lock("lock", *arguments, folder=folder, more=more)
        except ToolFailed as error:
            found = _UNSOLVED.search(error.output)
            if found is None:
                raise
            raise Unsolvable(
                platform=found["platform"], explanation=found["why"].strip()
            ) from error

    def _conda_lock(
        self, *arguments: str, folder: Path, more: Mapping[str, str] | None = None
    ) -> Completed:
        environment = {
            name: value
            for name, value in self.environment.items()
            if not name.startswith("CONDA_LOCK_")  # the arguments decide, not a shell's leftovers
        }
        return self.processes.run(
            [sys.executable, "-m", "conda_lock", *arguments],
            env={**environment, **(more or {})},
            timeout=self.timeout,
            cwd=folder,
        )


def _require_conda_lock() -> None:
    if importlib.util.find_spec("conda_lock") is None:
        raise ToolMissing(
            tool="conda-lock",
            needed_for=NEEDED_FOR,
            remedy="pip install 'envforge[conda-lock]'",
        )


def _address(channel: Channel) -> str | None:
    """The mirror of a channel as an address, without a slash at the end."""
    if channel.mirror is None:
        return None
    if "://" in channel.mirror:
        return channel.mirror.rstrip("/")
    return unquote(Path(channel.mirror).absolute().as_uri())


def _common_root(channels: Sequence[Channel]) -> str | None:
    """Where all mirrored channels lie by their names, if there is such a place."""
    roots = set()
    for channel in channels:
        address = _address(channel)
        if address is not None:
            has_name = address.endswith(f"/{channel.name}")
            roots.add(address.removesuffix(f"/{channel.name}") if has_name else None)
    return roots.pop() if len(roots) == 1 else None


def _channels_to_ask(channels: Sequence[Channel], alias: str | None) -> tuple[str, ...]:
    """Names where conda, or the alias, makes the right address of them; else addresses."""
    if alias is None:
        return tuple(_address(channel) or channel.name for channel in channels)
    return tuple(channel.name if channel.mirror else channel.url for channel in channels)


def _canonical(package: LockedPackage, channels: Sequence[Channel]) -> LockedPackage:
    """The package under its channel's own address, whichever mirror served it."""
    for channel in channels:
        address = _address(channel)
        for served in (address, quote(address, safe=":/%@")) if address else ():
            if package.url.startswith(f"{served}/"):
                return replace(package, url=channel.url + package.url[len(served) :])
    return package

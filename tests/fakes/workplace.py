"""A `Forge` in a temporary folder: settings, files and prefixes are real; engines are fakes.

    forge = fake_forge(tmp_path)
    forge.create("p", torch="2.7.1", cuda="12.6")

conda-forge holds torch 2.7.1 for CUDA 12.6 and for the CPU, Python 3.10, numpy and a few names
more. What is installed are real records in `conda-meta/` that the real readers read; the
interpreter is asked through a fake that answers as torch would. Locks are for linux-64.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fakes.conda_solver import FakeCondaSolver, package
from fakes.installing import FakeBytecode, FakeSpace, RecordingReporter, World, make_settings
from fakes.prefix_on_disk import add_interpreter, add_record, add_torch, add_wheel

from envforge.adapters.host_python import HostPython
from envforge.adapters.machine.machine_probe import LiveMachineProbe
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.prefixes import CondaRegistry, RealPrefixes
from envforge.adapters.process import RealProcesses
from envforge.adapters.uv import Uv
from envforge.errors import Unreachable, Unsolvable
from envforge.forge import Forge
from envforge.forge.workplace import Workplace
from envforge.install.install import InstallTools
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.lock import LockedPackage
from envforge.model.machine import Driver, Gpu, Machine, Platform
from envforge.model.settings import Settings
from envforge.model.solving import WheelProblem
from envforge.ports import Completed, Guard, LinkOutcome
from envforge.verify.probe_output import BEGIN, END

NAME = "p-torch27-cu126"
"""What `create p --torch 2.7.1 --cuda 12.6` is called."""
TORCH = "2.7.1"
PYTHON = "3.10.14"
H200 = Machine(
    driver=Driver(version="570.124.06", cuda=CudaVersion(12, 8)),
    gpus=(Gpu(name="NVIDIA H200", capability=ComputeCapability(9, 0)),),
)


def conda_forge(platform: Platform = "linux-64") -> list[LockedPackage]:
    """What the channel holds for one platform."""
    cpu = ("python >=3.10,<3.11.0a0",)
    ties = (*cpu, "__cuda")
    builds = {
        "cuda126_generic_py310_200": (*ties, "cuda-version >=12.6,<13"),
        "cuda129_generic_py310_200": (*ties, "cuda-version >=12.9,<13"),
        "cpu_generic_py310_0": cpu,
    }
    others = (
        ("python", PYTHON),
        ("pip", "25.1"),
        ("cuda-version", "12.6"),
        ("cuda-version", "12.9"),
        ("numpy", "1.26.4"),
        ("numpy", "2.2.6"),
        ("scikit-learn", "1.5.0"),
    )
    return [
        *(
            package("pytorch", TORCH, build, platform=platform, depends=depends)
            for build, depends in builds.items()
        ),
        *(package(name, version, platform=platform) for name, version in others),
    ]


@dataclass
class FixedProbe:
    """A `ports.MachineProbe` that sees one machine, and counts how often it is asked."""

    machine: Machine = field(default_factory=Machine)
    looks: int = 0

    def look(self) -> Machine:
        self.looks += 1
        return self.machine


@dataclass
class WheelShelf:
    """A `ports.WheelResolver` that has torch for what is asked, and every other name in 1.0."""

    unreachable: str | None = None
    asked: list[WheelProblem] = field(default_factory=list)

    def resolve(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        self.asked.append(problem)
        if self.unreachable:
            raise Unreachable(url=self.unreachable, reason="nothing answers there")
        wanted = (*problem.torch_requirements, *problem.requirements)
        return tuple(sorted(self._wheel(problem, text) for text in wanted))

    def _wheel(self, problem: WheelProblem, requirement: str) -> LockedPackage:
        name, _, url = requirement.partition(" @ ")
        found = re.fullmatch(r"([\w.-]+?)(?:==([\w.+]+))?", name)
        if found is None:
            raise Unsolvable(platform=problem.platform, explanation=f"no {requirement}")
        name, version = found[1], found[2] or "1.0"
        label = f"+{problem.accelerator}" if name == "torch" and problem.torch_index else ""
        index = problem.torch_index if name == "torch" else None
        file = f"{name}-{version}{label}-py3-none-any.whl"
        url = url.partition("#")[0] or f"{index or 'https://wheels.example'}/{quote(file)}"
        return LockedPackage(
            platform=problem.platform,
            name=name,
            manager="pip",
            version=unquote(url.rpartition("/")[2]).split("-")[1],
            url=url,
            sha256="a" * 64,
        )


@dataclass
class RecordWriter:
    """A `ports.CondaInstaller` that writes each package's record, and torch's and Python's files.

    It links as an engine does: what is not among the packages goes, the rest comes.
    """

    linked: list[str] = field(default_factory=list)
    fails: Exception | None = None

    def check(self, packages: Sequence[LockedPackage]) -> None:
        """Everything can be had."""

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
        if self.fails:
            raise self.fails
        self.linked = [item.name for item in packages]
        for old in (prefix / "conda-meta").glob("*.json"):
            old.unlink()
        (prefix / "bin").mkdir(exist_ok=True)
        for item in packages:
            add_record(prefix, item)
            if item.name == "python":
                add_interpreter(prefix)
            if item.name == "pytorch":
                _put_torch(prefix, item.version, "12.6" if "cuda" in item.build else None)
        progress(len(packages), len(packages), "packages", "")
        return LinkOutcome(link_mode="hardlink", downloaded=len(packages))


@dataclass
class DistInfoWriter:
    """A `ports.WheelInstaller` that writes each wheel's dist-info, and torch's files."""

    def install(
        self, wheels: Sequence[LockedPackage], prefix: Path, *, remove: Sequence[str] = ()
    ) -> None:
        assert not remove
        for item in wheels:
            add_wheel(prefix, item.name, item.version)
            if item.name == "torch":
                _put_torch(prefix, item.version, None)


def _put_torch(prefix: Path, version: str, cuda: str | None) -> None:
    folder = prefix / "lib/python3.10/site-packages/torch"
    if not folder.exists():
        add_torch(prefix, {"__version__": version, "cuda": cuda}, cuda_library=cuda is not None)


@dataclass
class Interpreter:
    """A `ports.Processes` on which the probe of an environment is answered; torch is fine."""

    cuda: str | None = "12.6"
    document: Mapping[str, Any] | None = None
    """What the probe prints instead."""
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float | None,
        cwd: Path | None = None,
        stdin: str | None = None,
        check: bool = True,
        guard: Guard | None = None,
    ) -> Completed:
        if command[0] == "git":  # needs nothing that is faked here
            return RealProcesses().run(command, env=env, timeout=timeout, cwd=cwd, check=check)
        self.commands.append(tuple(command))
        document = self.document or self._answer(Path(command[0]).parents[1])
        return Completed(status=0, stdout=f"{BEGIN}\n{json.dumps(document)}\n{END}\n", stderr="")

    def _answer(self, prefix: Path) -> dict[str, Any]:
        site = prefix / "lib/python3.10/site-packages"
        return {
            "python": {
                "version": PYTHON,
                "executable": str(prefix / "bin/python"),
                "prefix": str(prefix),
            },
            "torch": {
                "version": TORCH,
                "file": str(site / "torch/__init__.py"),
                "cuda": self.cuda,
                "architectures": ["sm_90"] if self.cuda else [],
                "libraries": [str(site / "torch/lib/libtorch_cpu.so")],
                "available": False,
                "device_count": 0,
            },
            "devices": [
                {
                    "device": "cpu",
                    "kernel": {"right": True},
                    "matmul": {"right": True, "worst": 0.01},
                }
            ],
        }


class FakeWorkplace(Workplace):
    """Settings, folders and prefixes are real, and lie in one folder; engines are fakes."""

    def __init__(
        self, settings: Settings, *, packages: Sequence[LockedPackage], machine: Machine
    ) -> None:
        super().__init__(settings=settings, reporter=RecordingReporter(), probe=FixedProbe(machine))
        self.conda = FakeCondaSolver(packages)
        self.shelf = WheelShelf()
        self.linker = RecordWriter()
        self.interpreter = Interpreter()
        self.processes = self.interpreter
        self.world = World()
        self.pip = PipSettings()

    @cached_property
    def solver(self) -> FakeCondaSolver:
        return self.conda

    @cached_property
    def channel_index(self) -> FakeCondaSolver:
        return self.conda

    @cached_property
    def wheels(self) -> WheelShelf:
        return self.shelf

    @cached_property
    def uv(self) -> Uv:
        """Only asked what pip is configured with."""
        return Uv(processes=self.processes, environment={}, settings=self.pip)

    @cached_property
    def live_probe(self) -> LiveMachineProbe:
        """A machine where nothing hints at a driver."""
        return LiveMachineProbe(self.processes, {}, root=self.settings.home)

    @property
    def install_tools(self) -> InstallTools:
        return InstallTools(
            conda=self.linker,
            wheels=DistInfoWriter(),
            prefixes=RealPrefixes(),
            registry=CondaRegistry(self.settings.home),
            space=FakeSpace(self.world),
            bytecode=FakeBytecode(self.world),
            reporter=self.reporter,
        )

    def tools_for(self, channels: Sequence[str]) -> InstallTools:
        return self.install_tools

    def host_python(self) -> HostPython:
        return HostPython(
            channel_url=self.settings.cache.as_uri(),
            version=PYTHON,
            build="host_0",
            platform="linux-64",
            path=self.settings.cache / "python.conda",
            sha256="b" * 64,
            md5="c" * 32,
            size=1,
            depends=("__glibc >=2.36",),
            system_libraries=(),
        )


def fake_workplace(
    folder: Path,
    *,
    packages: Sequence[LockedPackage] = (),
    machine: Machine | None = None,
    **settings: Any,
) -> FakeWorkplace:
    """A place where conda-forge holds `conda_forge()` and `packages`."""
    given = {"environment": {"HOME": str(folder / "home")}, **settings}
    return FakeWorkplace(
        make_settings(folder, **given),
        packages=(*conda_forge(), *packages),
        machine=machine or Machine(),
    )


def fake_forge(folder: Path, **given: Any) -> Forge:
    """A `Forge` at such a place; `workplace_of(forge)` gives the fakes to a test."""
    workplace = fake_workplace(folder, **given)
    forge = Forge(settings=workplace.settings)
    forge._workplace = workplace
    return forge


def workplace_of(forge: Forge) -> FakeWorkplace:
    """The fakes behind a `Forge`."""
    assert isinstance(forge._workplace, FakeWorkplace)
    return forge._workplace


def notes_of(forge: Forge) -> list[str]:
    """What was said to the person so far."""
    reporter = workplace_of(forge).reporter
    assert isinstance(reporter, RecordingReporter)
    return reporter.notes


def make_environment(forge: Forge, project: str = "p", **request: Any) -> Path:
    """Lock an environment of torch 2.7.1 for CUDA 12.6 and Python 3.10; its folder."""
    asked = {"torch": TORCH, "cuda": "12.6", "python": "3.10", **request}
    return forge.lock(project, **asked).folder


def warnings_of(forge: Forge) -> list[str]:
    """What they were warned of so far."""
    reporter = workplace_of(forge).reporter
    assert isinstance(reporter, RecordingReporter)
    return reporter.warnings

"""The rows of the matrix, and the questions they answer about themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from envforge.matrix import versions
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.machine import Platform
from envforge.model.spec import Source

Effect = Literal["constraint", "avoid", "note", "record"]
Line = Literal["data-center", "workstation", "geforce", "jetson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of torch."""

    torch: str
    date: str
    python_min: str
    python_max: str
    """The newest Python with official support; `experimental` ones are beyond it."""
    experimental: tuple[str, ...]
    partners: Mapping[str, str]
    """Official versions of torchvision, torchaudio, torchtext, triton; absent: none, or unknown."""
    unrecorded: tuple[str, ...]
    """Sources whose builds of this release nobody has looked at: unknown, not absent."""
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What was published of one torch release for one source, platform and CUDA."""

    torch: str
    source: Source
    platform: Platform
    cuda: CudaVersion | None
    """None: a CPU build."""
    pythons: tuple[str, ...]
    cudnn: str | None
    """None: unknown, or a CPU build. Full version; for conda-forge the pin of its recipe."""
    nccl: str | None
    architectures: tuple[str, ...]
    """`9.0` machine code, `9.0+PTX` both; empty: unknown, or a CPU build."""
    glibc: str | None
    """The oldest C library it runs with; None: unknown, or not Linux."""
    metapackage: str | None
    label: str | None
    """The folder of the wheel index; None for conda."""
    toolkit: str | None
    """The full CUDA release, `12.8.1`; None: unknown."""
    default: bool
    """Whether the package registry itself carries this wheel."""
    sources: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolkitRelease:
    """One release of a toolkit, and the drivers that came with it."""

    version: str
    driver_linux: str | None
    driver_windows: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """One CUDA, major.minor."""

    cuda: CudaVersion
    min_driver_linux: str | None
    """The oldest driver that runs it at all."""
    min_driver_windows: str | None
    minor_version: bool
    """Whether minor-version compatibility exists (CUDA 11 and later)."""
    branch: str | None
    releases: tuple[ToolkitRelease, ...]
    arch_min: ComputeCapability | None
    arch_max: ComputeCapability | None
    ptx: tuple[int, int] | None
    """The version of PTX that its compiler writes."""
    max_gcc: int | None
    sources: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One generation of GPUs."""

    capability: ComputeCapability
    family: str
    integrated: bool | None
    """Part of a system on a chip; None: unknown."""
    first_toolkit: CudaVersion | None
    """None: before the first toolkit of the tables."""
    last_toolkit: CudaVersion | None
    """None: still supported."""
    alias: ComputeCapability | None
    """An older number of the same chip."""
    sources: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A GPU as NVIDIA names it, without the NVIDIA in front."""

    name: str
    capability: ComputeCapability
    line: Line | None
    """None: not known."""
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatPackage:
    """The forward-compatibility package of one CUDA: `cuda-compat-X-Y`."""

    cuda: CudaVersion
    driver: str
    """The driver branch that its libraries are from."""
    on: tuple[str, ...]
    """Branches of kernel drivers it works on top of."""
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """As apt and dnf know it."""
        return f"cuda-compat-{self.cuda.major}-{self.cuda.minor}"

    @property
    def folder(self) -> str:
        """Where it puts its libraries."""
        return f"/usr/local/cuda-{self.cuda}/compat"


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFloor:
    """A library that left GPUs out from one version on."""

    library: str
    since: str
    min_capability: ComputeCapability
    """The oldest GPU it works on."""
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadPair:
    """A combination that is known to fail; empty conditions hold always."""

    name: str
    effect: Effect
    torch: str
    """A condition such as `>=2.3,<2.4.1`."""
    sources: tuple[str, ...]
    platforms: tuple[str, ...]
    pythons: tuple[str, ...]
    cudas: tuple[CudaVersion, ...]
    gpus: str
    """A condition on the compute capability."""
    package: str
    range: str
    """What the package must be (`constraint`), or is when it fails (other effects)."""
    text: str
    fix: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a fact is from."""

    name: str
    title: str
    url: str | None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All tables, indexed. Not slotted: `cached_property` keeps its answers here."""

    releases: tuple[Release, ...]
    """Oldest first."""
    builds: tuple[Build, ...] = field(repr=False)
    toolkits: tuple[Toolkit, ...] = field(repr=False)
    architectures: tuple[Architecture, ...] = field(repr=False)
    boards: tuple[Board, ...] = field(repr=False)
    bad_pairs: tuple[BadPair, ...] = field(repr=False)
    compat_packages: tuple[CompatPackage, ...] = field(repr=False)
    """Oldest CUDA first."""
    library_floors: tuple[LibraryFloor, ...] = field(repr=False)
    partners: Mapping[tuple[str, str], Mapping[str, str]] = field(repr=False)
    """(torch, source) to partner versions that differ from the release's."""
    references: Mapping[str, Reference] = field(repr=False)

    @cached_property
    def _by_release(self) -> dict[str, Release]:
        return {release.torch: release for release in self.releases}

    @cached_property
    def _by_torch(self) -> dict[str, tuple[Build, ...]]:
        found: dict[str, list[Build]] = {release.torch: [] for release in self.releases}
        for build in self.builds:
            found[build.torch].append(build)
        return {torch: tuple(builds) for torch, builds in found.items()}

    @cached_property
    def _by_cuda(self) -> dict[CudaVersion, Toolkit]:
        return {toolkit.cuda: toolkit for toolkit in self.toolkits}

    @cached_property
    def _by_capability(self) -> dict[ComputeCapability, Architecture]:
        return {row.capability: row for row in self.architectures}

    @cached_property
    def cudas(self) -> tuple[CudaVersion, ...]:
        """Every CUDA that some torch was built for, oldest first."""
        return tuple(sorted({build.cuda for build in self.builds if build.cuda}))

    def release(self, torch: str) -> Release | None:
        """The release of this full version, if there was one."""
        return self._by_release.get(torch)

    def of(self, torch: str) -> tuple[Build, ...]:
        """All builds of one release, in the order of the table; none for an unknown one."""
        return self._by_torch.get(torch, ())

    def toolkit(self, cuda: CudaVersion) -> Toolkit | None:
        """The toolkit of this CUDA, if the table has it."""
        return self._by_cuda.get(cuda)

    def architecture(self, capability: ComputeCapability) -> Architecture | None:
        """The architecture of this compute capability, if the table has it."""
        return self._by_capability.get(capability)

    def companions(self, torch: str, source: Source, cuda: CudaVersion | None) -> dict[str, str]:
        """Official partner versions; CPU builds have no Triton.

        None for conda-forge: its torchvision follows other torch releases than the official
        pairs say, so there the packages' own dependencies decide.
        """
        release = self.release(torch)
        if release is None or source == "conda-forge":
            return {}
        found = {**release.partners, **self.partners.get((torch, source), {})}
        return {name: version for name, version in found.items() if cuda or name != "triton"}


def minors(releases: Iterable[Release]) -> tuple[str, ...]:
    """The minors of releases, `2.0`, each once, in their order."""
    return tuple(dict.fromkeys(versions.minor(release.torch) for release in releases))

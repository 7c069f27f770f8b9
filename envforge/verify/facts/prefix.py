"""A prefix, read without running anything in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.verify.facts.code import DeviceCode
from envforge.verify.facts.companions import CompanionFacts
from envforge.verify.facts.linking import Linking
from envforge.verify.facts.packages import PackageFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchFiles:
    """What the files tell of torch, nothing imported."""

    package: str
    """Its folder, relative to the prefix."""
    version: str | None = None
    """`2.0.1`, with its local part where it has one (`2.13.0+cpu`)."""
    cuda: str | None = None
    """`11.8`; None: a build without CUDA."""
    hip: str | None = None
    xpu: str | None = None
    git: str | None = None
    has_cuda_library: bool = False
    """Whether libtorch_cuda is there."""
    problem: str | None = None
    """Why `version.py` says nothing; None: it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CudnnWitness:
    """One place of the prefix that names a cuDNN version."""

    version: str
    witness: str
    """Which place: `conda package cudnn`, `nvidia-cudnn-cu12`, `lib/libcudnn.so.9.10.2` …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedFile:
    """A file that is not as the package's manifest records it."""

    path: str
    recorded: int
    """Bytes by the manifest."""
    found: int | None
    """Bytes on disk; None: the file is gone."""
    package: str = ""
    """Name and version of the last package that records it."""
    manager: str = "conda"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFacts:
    """What keeps a published prefix as it was."""

    frozen: bool
    """Whether conda is told to leave it alone (CEP 22)."""
    managed: bool
    """Whether pip and uv are (PEP 668); True where there is no standard library to tell them in."""
    open_folders: tuple[str, ...] = ()
    """Folders that somebody may write, relative to the prefix; at level static only those few
    that packages are installed into are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixFacts:
    """A prefix, read without running anything in it."""

    prefix: str
    real: str
    """The same with every link followed: what the loader shows."""
    state: PrefixState
    """Handed in by whoever knows the install marker."""
    conda: tuple[InstalledPackage, ...] = ()
    wheels: tuple[InstalledPackage, ...] = ()
    """Distributions that no conda package owns."""
    broken_metadata: tuple[str, ...] = ()
    """`conda-meta/x.json: not JSON`, `~orch: left by an interrupted pip`; one line each."""
    interpreter: str | None = None
    """`bin/python` as a path that exists; None: there is none."""
    interpreter_problem: str = ""
    """Why it, or what lies in its place, cannot be started; empty: nothing speaks against it."""
    torch: TorchFiles | None = None
    cudnn: tuple[CudnnWitness, ...] = ()
    """Most trusted first."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """File name of each shared object in the usual folders, to its folder in the prefix."""
    modules: frozenset[str] = frozenset()
    """Top-level names in site-packages."""
    damaged: tuple[DamagedFile, ...] = ()
    """Of the shared objects of torch and the CUDA libraries, which are the large ones."""
    packages: PackageFacts = field(default_factory=PackageFacts)
    companions: CompanionFacts = field(default_factory=CompanionFacts)
    linking: Linking | None = None
    """None: not looked at."""
    published: PublishedFacts | None = None
    """None: it was not published for everybody (`install --publish`)."""
    code: tuple[DeviceCode, ...] = ()
    """Of libtorch_cuda first, then of every extension that holds GPU code."""
    code_everywhere: bool = False
    """Whether extensions were looked for in all folders, not in the topmost only."""
    user_site: str | None = None
    """`~/.local/lib/pythonX.Y/site-packages`, where it exists."""
    user_packages: tuple[InstalledPackage, ...] = ()
    """What lies in `user_site`."""

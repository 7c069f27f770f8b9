"""What the shell around us sets: caches, compilers, PATH, and variables that change behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

CacheUse = Literal["inductor", "triton", "extensions", "driver"]
"""torch.compile, Triton's kernels, extensions built at run time, the driver's own compiler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the shell starts when a name is typed."""

    name: str
    path: str
    """The first of that name on PATH."""
    real: str
    """The same with every link followed."""
    interpreter: str | None = None
    """Of a script: what its first line names, links followed; None: no script."""
    is_link_of: str | None = None
    """`home` in the pyvenv.cfg of a venv's program: the folder of the Python it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFolder:
    """A folder that compiled code is written to, and loaded from."""

    use: CacheUse
    path: str
    variable: str | None = None
    """The variable that names it; None: the default place."""
    nearest: str = ""
    """The folder itself, or the nearest above it that exists."""
    exists: bool = False
    is_folder: bool = True
    """Whether `nearest` is a folder."""
    per_user: bool = False
    """Whether it lies in a folder of everybody's under our own name."""
    owner: int | None = None
    """User id that `nearest` belongs to."""
    mode: int | None = None
    """Permission bits of `nearest`."""
    writable: bool | None = None
    """Whether this user may write there by owner and mode; None: not known."""
    mount: str | None = None
    """Where the filesystem is mounted; None: mounts could not be read."""
    noexec: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignValue:
    """A variable that leads into an environment that is not the one looked at."""

    variable: str
    path: str
    prefix: str
    exists: bool
    """Whether that environment is still there."""
    active: bool
    """Whether it is the one that is activated in this shell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """A CUDA toolkit as torch's extension builder would find it."""

    source: str
    """`CUDA_HOME`, `CUDA_PATH` or `PATH`."""
    home: str
    exists: bool
    is_system: bool = False
    """Whether it is only there for everybody: found on PATH, in a folder of the system's."""
    version: str | None = None
    """`12.3`, by its files or its compiler's word; None: neither tells."""
    witness: str = ""
    """What told the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PtxAssembler:
    """One of Triton's ptxas, and what it said of the GPUs that are here."""

    path: str
    variable: str | None = None
    """The variable that names it; None: Triton's own."""
    exists: bool = True
    serves: tuple[str, ...] = ()
    """Architectures of the GPUs here that Triton compiles for with it: `sm_121a`."""
    release: str | None = None
    """`12.8`; None: it did not say."""
    refused: tuple[str, ...] = ()
    """Architectures it says it does not know: `sm_121a`."""
    accepted: tuple[str, ...] = ()
    """Architectures it assembled a kernel for."""
    error: str = ""
    """Why it could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonFiles:
    """What Triton's package brings, and what it would compile with."""

    version: str | None = None
    folder: str | None = None
    """Of its package; None: only metadata says that it is installed."""
    has_backend: bool = False
    """Whether its folder for NVIDIA GPUs is there."""
    cuda_header: str | None = None
    """The cuda.h it would include; None: none in the usual places."""
    assemblers: tuple[PtxAssembler, ...] = ()
    """Empty: not asked (level static), or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLibrary:
    """A libcuda that the loader's cache lists."""

    name: str
    """`libcuda.so.1`, or `libcuda.so`, which only compilers ask for."""
    path: str
    exists: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LibcudaPlaces:
    """Where Triton looks for libcuda: a variable, the loader's cache, `LD_LIBRARY_PATH`."""

    named: str | None = None
    """`TRITON_LIBCUDA_PATH`."""
    named_files: tuple[str, ...] = ()
    """Those of `libcuda.so` and `libcuda.so.1` that lie there."""
    cached: tuple[CachedLibrary, ...] = ()
    """As `ldconfig -p` lists them for this processor."""
    beside: tuple[str, ...] = ()
    """`libcuda.so` in the folders of those that are cached."""
    on_library_path: tuple[str, ...] = ()
    """Those in folders of `LD_LIBRARY_PATH`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFiles:
    """Python.h, which Triton and every extension include."""

    python: str | None = None
    """`3.10`: whose header is looked for."""
    found: str | None = None
    looked: tuple[str, ...] = ()
    """Folders that were looked into; empty: it is not known where it would lie."""
    is_system: bool = False
    """Whether the interpreter lies outside the prefix, as a system's does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellFacts:
    """What programs started from here would find and write."""

    uid: int | None = None
    user: str | None = None
    """As Python's `getpass` finds it; None: this user id has no name, and no variable gives one."""
    activated: tuple[tuple[str, str], ...] = ()
    """`CONDA_PREFIX` and `VIRTUAL_ENV` as far as they are set, links followed."""
    programs: tuple[Program, ...] = ()
    """The first `python`, `python3` and `pip` on PATH."""
    own_programs: tuple[str, ...] = ()
    """Which of these names the prefix itself has."""
    foreign: tuple[ForeignValue, ...] = ()
    caches: tuple[CacheFolder, ...] = ()
    toolkit: Toolkit | None = None
    """None: neither a variable nor PATH leads to one."""
    compiler: str | None = None
    """The C compiler that Triton would take; None: there is none."""
    compiler_named: str | None = None
    """`CC`."""
    headers: HeaderFiles = field(default_factory=HeaderFiles)
    triton: TritonFiles | None = None
    """None: not installed."""
    libcuda: LibcudaPlaces = field(default_factory=LibcudaPlaces)
    cpu_flags: frozenset[str] = frozenset()
    """Of an x86 processor, by `/proc/cpuinfo`; empty: not known, or another kind."""
    level_needs: tuple[tuple[str, int], ...] = ()
    """Installed packages that ask for a level of x86-64, by `conda-meta`: name and level."""

"""What the loader would do with the prefix's shared objects, found out without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Via = Literal[
    "path", "loaded", "rpath", "runpath", "LD_LIBRARY_PATH", "LD_PRELOAD", "cache", "default"
]
"""What led the loader to a file.

Its path was named, it was loaded already, the search path of the file that needs it or of one
above, a variable, `/etc/ld.so.cache`, a default folder.
"""
Runtime = Literal["gnu", "llvm"]
"""Families of OpenMP runtimes. Intel's is LLVM's: two of that family refuse each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A library that `import torch` would load.

    Paths in the prefix are relative to it, others absolute; so in all of this module.
    """

    name: str
    """As it is asked for: `libcudnn.so.9`."""
    requester: str
    path: str
    via: Via
    version: str | None = None
    """`9.1.0`, where its file name, a header beside it or the library itself tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """A library that is needed and that the loader would not find."""

    name: str
    requester: str
    of_torch: bool
    """Whether `import torch` needs it; else an extension does."""
    lies_at: str | None = None
    """Where a file of that name lies all the same."""
    others: tuple[str, ...] = ()
    """Files of the same library with another number: `libcudnn.so.8`."""
    machine: str | None = None
    """`aarch64`: a file was found, and is for that processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingVersion:
    """A symbol version that the library that would be taken does not define."""

    version: str
    """`GLIBCXX_3.4.30`."""
    library: str
    """`libstdc++.so.6`."""
    requester: str
    provider: str
    via: Via
    newest: str | None = None
    """The newest of that kind which the provider defines: `GLIBCXX_3.4.28`."""
    in_prefix: str | None = None
    """A file of the prefix that would do, or would with a link: `lib/libstdc++.so.6.0.33`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSymbol:
    """A symbol that nothing in the process would export."""

    symbol: str
    requester: str
    library: str | None = None
    """The library it is wanted of, as far as that is known: `libnvJitLink.so.12`."""
    provider: str | None = None
    """The file that would be taken for that library."""
    via: Via | None = None
    more: int = 0
    """How many others the same requester lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CudnnParts:
    """The sub-libraries that cuDNN opens by name when it is used."""

    main: str
    """The libcudnn that would be loaded."""
    version: str | None = None
    missing: tuple[str, ...] = ()
    """Found nowhere."""
    strays: tuple[tuple[str, str, str | None], ...] = ()
    """Name, path and version of those that come from another folder than `main`."""
    mixed: tuple[tuple[str, str], ...] = ()
    """Name and version of those beside `main` that are of another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvrtcBuiltins:
    """libnvrtc opens its partner by exact name when it compiles."""

    library: str
    wanted: str
    """`libnvrtc-builtins.so.12.4`; without a release where that is not known."""
    present: tuple[str, ...] = ()
    """Those that lie beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MklFiles:
    """The MKL in `lib`, which opens kernels for the processor by name."""

    core: str
    """`lib/libmkl_core.so.2`."""
    missing: tuple[str, ...] = ()
    """Kernels that every release has, and that are not there under this number."""
    others: tuple[str, ...] = ()
    """Files of MKL with another number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMp:
    """One OpenMP runtime, by the file that links at last lead to."""

    path: str
    family: Runtime
    requesters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSymbols:
    """An extension that is linked to torch, or uses its symbols."""

    path: str
    missing: tuple[str, ...] = ()
    """Symbols of torch that no library of torch exports: the first few."""
    count: int = 0
    """All of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """ELF headers of the prefix, and where each needed library would come from."""

    every_file: bool = False
    """Whether all shared objects were read; else those of torch, the CUDA libraries, and the
    modules that lie at the top of a package."""
    machine: str = ""
    """`x86_64`; empty: nothing told."""
    glibc: str | None = None
    """`2.36`, by the C library that would be loaded."""
    torch_loads: tuple[Load, ...] = ()
    """What `import torch` would load beside the C library."""
    unresolved: tuple[Unresolved, ...] = ()
    missing_versions: tuple[MissingVersion, ...] = ()
    missing_symbols: tuple[MissingSymbol, ...] = ()
    extensions: tuple[TorchSymbols, ...] = ()
    cpu_library_read: bool = False
    """Whether the symbols of libtorch_cpu could be read."""
    torch_cxx11: bool | None = None
    """Whether torch's libraries use the C++11 ABI of strings; None: they do not tell."""
    cudnn: CudnnParts | None = None
    opened: tuple[tuple[str, str], ...] = ()
    """File of another package, and the libcudnn that it opens by name and that is not here."""
    nvrtc: tuple[NvrtcBuiltins, ...] = ()
    mkl: MklFiles | None = None
    openmp: tuple[OpenMp, ...] = ()
    """Runtimes that one process would hold: torch's, numpy's, MKL's …"""
    bundled_openmp: tuple[str, ...] = ()
    """Copies of libgomp that wheels bring along."""
    executable_stack: tuple[str, ...] = ()
    """Files of the prefix that would be loaded and that ask for an executable stack."""
    preloaded: tuple[Load, ...] = ()
    """What `LD_PRELOAD` names and the loader finds."""

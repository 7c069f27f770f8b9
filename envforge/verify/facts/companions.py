"""What packages that live beside torch say they were built for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionBuild:
    """A package with compiled parts, and the torch and CUDA that one witness names for it."""

    package: str
    witness: str
    """Which place: `xformers/cpp_lib.json`, `torchvision/version.py`, `build py310_cu118`."""
    torch: str | None = None
    """`2.1.2`, with the local part where it says so; None: unsaid."""
    cuda: str | None = None
    """`12.1`; None: unsaid."""
    is_cpu: bool = False
    """The witness says that it is a build without CUDA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionFacts:
    """Files of known packages that tell what they need; empty where a package is not there."""

    builds: tuple[CompanionBuild, ...] = ()
    bitsandbytes: tuple[str, ...] | None = None
    """Names of its `libbitsandbytes_*` libraries; None: not installed."""
    checked_at_import: tuple[tuple[str, str], ...] = ()
    """Package, and a requirement that it enforces whenever it is imported (transformers)."""
    unreadable: tuple[str, ...] = ()
    """Files that should have told and could not be read, relative to site-packages."""

"""Compiled code of an environment: what torch.compile, Triton and the CUDA driver keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

CompiledKind = Literal["inductor", "triton", "cuda"]
KINDS: Final[tuple[CompiledKind, ...]] = ("inductor", "triton", "cuda")
SHARED_KINDS: Final[tuple[CompiledKind, ...]] = ("inductor", "triton")
"""Kinds whose files are replaced and never changed, so that a link to them is safe. The driver
writes into its own in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledUsage:
    """One kind of compiled code."""

    kind: CompiledKind
    path: Path
    files: int = 0
    """The user's own."""
    size: int = 0
    """Bytes of those."""
    linked: int = 0
    """Files that lie in the environment, and are only linked here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileCache:
    """What one user has of it on this kind of machine."""

    environment: str
    prefix: Path
    machine: str
    """Processor level and GPUs: `x86-64-v4+nvidia-h200`."""
    place: Path
    usage: tuple[CompiledUsage, ...]
    seed: Path
    """Where the environment's owner shares compiled code."""
    seed_files: int
    seed_size: int
    others: tuple[tuple[str, int], ...] = ()
    """Other kinds of machine for which this user has some, with bytes."""

    @property
    def size(self) -> int:
        """Bytes of the user's own on this kind of machine."""
        return sum(item.size for item in self.usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileChange:
    """What sharing, packing, unpacking or collecting did."""

    cache: CompileCache
    task: Literal["shared", "packed", "unpacked", "collected"]
    files: int
    size: int
    where: Path
    sha256: str = ""
    """Of a pack."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CompiledFile:
    """One file, by its path below the folder that was looked at."""

    path: str
    size: int
    used: float
    """Seconds since 1970 of the last read or write."""
    is_link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileTrial:
    """A small function was compiled in a fresh process, with the environment's own variables."""

    environment: str
    machine: str
    hits: int
    misses: int
    seconds: float
    place: str
    """Where torch looked: TORCHINDUCTOR_CACHE_DIR."""
    skipped: str = ""
    """Why nothing was compiled."""

    @property
    def verdict(self) -> Literal["hit", "miss", "unknown"]:
        """Whether it was found compiled."""
        if not (self.hits or self.misses):
            return "unknown"
        return "hit" if self.hits and not self.misses else "miss"

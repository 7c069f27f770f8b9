"""GPU code inside shared objects, as the headers of their fat binaries list it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """The GPU code of one shared object."""

    path: str
    """Relative to the prefix."""
    architectures: tuple[str, ...]
    """As torch spells them: `sm_80` machine code, `compute_90` PTX; sorted."""
    rare: frozenset[str] = frozenset()
    """Of these, the ones that only few of its kernels have: extras, no support for a GPU."""
    ptx: tuple[int, int] | None = None
    """The newest version of PTX in it, `(8, 7)`; None: no PTX, or it does not say."""
    problem: str = ""
    """Why not all of it could be read; empty: all was."""

    @property
    def name(self) -> str:
        """Its file name."""
        return self.path.rpartition("/")[2]

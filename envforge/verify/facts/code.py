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

"""Which compiled code goes: the least recently used, in pieces that can be missing alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from envforge.model.compile_cache import CompiledFile

_KEYED: Final = frozenset({"fxgraph", "aotautograd"})
"""Folders of Inductor where a key of two levels names an entry (`torch/_inductor/codecache`)."""
_UNFINISHED: Final = re.compile(r"(^|/)(\.|tmp\.pid_)|\.(lock|tmp)$|(^|/)locks/")
"""Locks, hidden files, and what Triton and Inductor have not yet given its name."""


def is_finished(path: str) -> bool:
    """Whether a file is what its name says: no lock, and nothing half-written."""
    return _UNFINISHED.search(path) is None


def unit(path: str) -> str:
    """What is removed together: Triton's folder of one kernel, Inductor's of one graph, a file.

    Args:
        path: `MACHINE/triton/HASH/kernel.cubin`, `MACHINE/inductor/fxgraph/ab/HASH/file`.
    """
    parts = path.split("/")
    if parts[1] == "triton":
        depth = 3
    elif len(parts) > 3 and parts[2] in _KEYED:
        depth = 5
    elif len(parts) > 3 and parts[2] == "triton":
        depth = 5  # `inductor/triton/DEVICE/HASH`, where TRITON_CACHE_DIR is not set
    else:
        depth = len(parts)
    return "/".join(parts[: min(depth, len(parts))])


def plan(files: Iterable[CompiledFile], *, limit: int, unused_since: float) -> tuple[str, ...]:
    """Units to remove, the least recently used first, until the rest is within the limit.

    Args:
        files: all that one user has for an environment; links cost nothing.
        limit: bytes that may stay.
        unused_since: what was used after that moment stays.
    """
    sizes: dict[str, int] = {}
    used: dict[str, float] = {}
    for item in files:
        name = unit(item.path)
        sizes[name] = sizes.get(name, 0) + (0 if item.is_link else item.size)
        used[name] = max(used.get(name, 0.0), item.used)
    total, going = sum(sizes.values()), []
    for name in sorted(sizes, key=lambda item: (used[item], item)):
        if total <= limit or used[name] > unused_since:
            break
        if sizes[name]:
            going.append(name)
            total -= sizes[name]
    return tuple(going)

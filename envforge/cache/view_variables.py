"""Which variables make clients use a view. Pure.

`HF_HOME` is not among them: tokens, and code that `trust_remote_code` copies, belong in a folder
that its user can write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

FLAT_BEFORE: Final = (4, 22)
"""transformers that keep a flat cache of their own (its guide, "Cache setup")."""
_IGNORES_ITS_OWN: Final = (5,)
"""transformers that no longer read TRANSFORMERS_CACHE."""


def variables(
    view: str, *, flat: str = "", transformers: Sequence[int] = (), offline: bool = False
) -> dict[str, str]:
    """Names and values, in the order they are shown.

    Args:
        view: a cache tree of huggingface_hub.
        flat: the flat view beside it; empty: none.
        transformers: the version that is used; empty: not known.
        offline: have clients ask no hub.
    """
    found = {
        "HF_HUB_CACHE": view,
        "HUGGINGFACE_HUB_CACHE": view,  # huggingface_hub before 0.19
    }
    version = tuple(transformers)
    if version < _IGNORES_ITS_OWN:  # also where none is known: one set elsewhere would win
        found["TRANSFORMERS_CACHE"] = flat if flat and needs_flat(version) else view
    if offline:
        found |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return found


def needs_flat(transformers: Sequence[int]) -> bool:
    """Whether this version reads nothing but the flat cache; False where none is known."""
    return bool(transformers) and tuple(transformers) < FLAT_BEFORE


def release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; empty: it has none."""
    numbers = version.split(".")[:2]
    return tuple(int(number) for number in numbers) if all(n.isdigit() for n in numbers) else ()

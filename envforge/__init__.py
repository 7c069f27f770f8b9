"""envforge: conda environments for PyTorch, reproducible, on the right GPU build, checked.

    from envforge import Forge
    result = Forge().create("nlp-bert", torch="2.0.1", cuda="11.8")

Importing this package loads nothing heavy: engines are imported when they are first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envforge.version import __version__

if TYPE_CHECKING:
    from envforge.errors import EnvforgeError
    from envforge.forge import Forge

__all__ = ["EnvforgeError", "Forge", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Forge":
        from envforge.forge import Forge

        return Forge
    if name == "EnvforgeError":
        from envforge.errors import EnvforgeError

        return EnvforgeError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

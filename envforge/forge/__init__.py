"""The front door: hands adapters to use cases, one method a task."""

from __future__ import annotations

from envforge.forge.front import Forge

__all__ = ["Forge"]

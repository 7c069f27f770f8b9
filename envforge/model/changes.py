"""A transaction, told to a person."""

from __future__ import annotations

from typing import Final

from envforge.model.prefix import InstallPlan
from envforge.model.wording import counted

_SHOWN: Final = 12
"""Changes told one by one; more are counted."""


def describe_changes(plan: InstallPlan) -> list[str]:
    """The transaction, one change a line, shortened where it is long."""
    kept = counted(plan.keep, "package")
    if plan.is_empty:
        return [f"nothing to do: {kept} {'is' if plan.keep == 1 else 'are'} as locked"]
    lines = [f"+ {item.name} {item.version} {item.build}".rstrip() for item in plan.add]
    lines += [
        f"~ {new.name} {_move(old.version, old.build, new.version, new.build)}"
        for old, new in plan.change
    ]
    lines += [f"- {item.name} {item.version}" for item in plan.remove]
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more changes"]
    return [*lines, f"{kept} {'stays' if plan.keep == 1 else 'stay'}"] if plan.keep else lines


def _move(old: str, old_build: str, new: str, new_build: str) -> str:
    if old != new:
        return f"{old} -> {new}"
    return f"{old} {old_build} -> {new_build}" if old_build != new_build else f"{new} (repaired)"

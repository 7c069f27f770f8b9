"""The variables of an environment's view, for `activate` and `run`. Reads next to nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from envforge.adapters.files import is_folder
from envforge.adapters.users import folder_of
from envforge.cache import view_variables
from envforge.forge.workplace import Workplace


def variables(workplace: Workplace, name: str, prefix: Path) -> dict[str, str]:
    """What points clients to the view that we have of this environment; empty: there is none."""
    view = view_path(workplace, "env", folder_of(os.geteuid()), name)
    if not is_folder(view):
        return {}
    flat = flat_beside(view)
    return view_variables.variables(
        str(view),
        flat=str(flat) if is_folder(flat) else "",
        transformers=installed_transformers(prefix),
    )


def view_path(
    workplace: Workplace, kind: Literal["env", "user"], user: str, name: str = ""
) -> Path:
    """Where the view of an environment, or of a user, lies."""
    return workplace.settings.views.absolute() / kind / user / name


def flat_beside(view: Path) -> Path:
    """Where the flat view beside a view lies."""
    return view.with_name(f"{view.name}.flat")


def installed_transformers(prefix: Path) -> tuple[int, ...]:
    """The version in a prefix, as its dist-info folder is named; empty: none is there."""
    found = prefix.glob("lib/python3.*/site-packages/transformers-*.dist-info")
    versions = (path.name.split("-")[1].removesuffix(".dist") for path in found)
    return next((view_variables.release(version) for version in versions), ())

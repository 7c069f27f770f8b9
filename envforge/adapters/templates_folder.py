"""Where our templates lie: in the installed package, or beside it in a source checkout."""

from __future__ import annotations

from pathlib import Path


def templates_folder() -> Path:
    """The folder that holds `activate/`, `environments/`, `exports/` and `report/`."""
    package = Path(__file__).parents[1]
    installed = package / "_templates"
    return installed if installed.is_dir() else package.parent / "templates"

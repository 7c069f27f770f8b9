"""The templates that environments can start from."""

from __future__ import annotations

import difflib
from pathlib import Path

from envforge.adapters.files import read_text
from envforge.adapters.templates_folder import templates_folder
from envforge.errors import InvalidValue
from envforge.formats import template_yml
from envforge.model.template import Template


def template_names() -> tuple[str, ...]:
    """Names of all templates, `base` first."""
    names = sorted(path.stem for path in _folder().glob("*.yml"))
    return tuple(sorted(names, key=lambda name: name != "base"))


def load_template(name: str) -> Template:
    """Read one.

    Raises:
        InvalidValue: there is none of this name; with the nearest.
    """
    names = template_names()
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        remedy = f"did you mean `{nearest[0]}`?" if nearest else f"known: {', '.join(names)}"
        raise InvalidValue(what="template", value=name, reason="does not exist", remedy=remedy)
    path = _folder() / f"{name}.yml"
    return template_yml.read(read_text(path), str(path))


def _folder() -> Path:
    return templates_folder() / "environments"

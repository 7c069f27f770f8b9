"""Variables that steer the loader, as they are once a conda environment is active.

Two places of an environment set them: what `conda env config vars set` stored, and scripts in
`etc/conda/activate.d`, where many a guide puts an LD_LIBRARY_PATH. Plain assignments are read;
no script is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envforge.adapters.linking.prefix_objects import names
from envforge.formats.text import json_text

_NAMES: Final = ("LD_LIBRARY_PATH", "LD_PRELOAD", "MKL_THREADING_LAYER")
_ASSIGNMENT: Final = re.compile(
    rf"^[ \t]*(?:export[ \t]+)?({'|'.join(_NAMES)})=(\"[^\"\n]*\"|'[^'\n]*'|[^\s;#'\"]*)",
    re.MULTILINE,
)
_REFERENCE: Final = re.compile(r"\$(?:\{(\w+)(?::?[-+][^}]*)?\}|(\w+))")
_LARGEST: Final = 1 << 16


def activated(prefix: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables with those that activation would set."""
    found = {**environment, "CONDA_PREFIX": str(prefix)}
    found.update(_stored(prefix))
    folder = prefix / "etc" / "conda" / "activate.d"
    for name in names(folder):
        if name.endswith(".sh"):
            for variable, value in _assignments(folder / name):
                found[variable] = _expanded(value, found)
    return found


def _stored(prefix: Path) -> dict[str, str]:
    try:
        stored = json_text.parse((prefix / "conda-meta" / "state").read_bytes())["env_vars"]
        return {str(k): str(v) for k, v in stored.items() if str(k) in _NAMES}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _assignments(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return
    for variable, value in _ASSIGNMENT.findall(text):
        yield variable, value.strip("\"'")


def _expanded(value: str, known: Mapping[str, str]) -> str:
    """With references to variables replaced; the folder is left out that says something else."""
    parts = []
    for part in value.split(":"):
        text = _REFERENCE.sub(lambda found: known.get(found[1] or found[2], ""), part)
        if "$" not in text and "`" not in text:
            parts.append(text)
    return ":".join(parts)

"""What every answer is made of; apart from `render`, which imports all of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_json(command: str, document: Mapping[str, Any]) -> str:
    """A document that names its schema and version first."""
    return json.dumps(
        {"schema": f"envforge.{command}/1", **document},
        indent=2,
        ensure_ascii=False,
    )


def size(number: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"

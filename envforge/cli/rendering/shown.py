"""What every answer is made of; apart from `render`, which imports all of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from envforge.model.wording import size as size  # noqa: PLC0414


def as_json(command: str, document: Mapping[str, Any]) -> str:
    """A document that names its schema and version first."""
    return json.dumps(
        {"schema": f"envforge.{command}/1", **document},
        indent=2,
        ensure_ascii=False,
    )

"""JSON that may be hostile: what cannot be read is a ValueError, whatever is wrong with it."""

from __future__ import annotations

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """The document.

    Raises:
        ValueError: it is no JSON, is not UTF-8, or holds lists in lists without end.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error

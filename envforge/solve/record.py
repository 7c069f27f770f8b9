"""The request a folder was made from, kept in its lock, and how another one differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from envforge.model.choice import Choice
from envforge.model.cuda import CPU
from envforge.model.solving import without_credentials
from envforge.model.spec import AUTO, Request

KEY: Final = "envforge.request"
"""Key in the lock's `custom_metadata`."""
EXCLUDE_NEWER: Final = "envforge.exclude_newer"
"""Key of the moment after which nothing was considered, in a lock that was solved so."""


def to_text(request: Request, choice: Choice, wheel_index: str) -> str:
    """The request as it was resolved, as one line of JSON; `wheel_index` is what `auto` became."""
    record = {
        "project": request.project,
        "torch": choice.torch,
        "cuda": str(choice.cuda) if choice.cuda else CPU,
        "python": request.python,
        "packages": list(request.packages),
        "template": request.template,
        "source": choice.source,
        "channels": [without_credentials(item) for item in request.channels],
        "platforms": list(request.platforms),
        "wheel_index": without_credentials(wheel_index) if choice.source == "wheels" else None,
        "exclude_newer": request.exclude_newer,
    }
    return json.dumps({key: value for key, value in record.items() if value}, sort_keys=True)


def differences(metadata: Mapping[str, str], request: Request, choice: Choice) -> tuple[str, ...]:
    """How a request differs from the one recorded, one sentence each; empty: it does not.

    What the person left to us (source `auto`, no Python, no date) does not count.
    """
    if KEY not in metadata:
        return ()
    old: dict[str, Any] = json.loads(metadata[KEY])
    new: dict[str, Any] = json.loads(to_text(request, choice, request.wheel_index))
    if request.source == AUTO:
        new["source"] = old.get("source")
    if request.wheel_index == AUTO:
        new["wheel_index"] = old.get("wheel_index")
    if request.python is None:
        new["python"] = old.get("python")
    if request.exclude_newer is None:
        new["exclude_newer"] = old.get("exclude_newer")
    changed = [key for key in sorted({*old, *new}) if _is_other(key, old.get(key), new.get(key))]
    return tuple(
        f"{key}: {_said(key, old.get(key))}, now {_said(key, new.get(key))}" for key in changed
    )


def _is_other(key: str, old: Any, new: Any) -> bool:
    if key in {"packages", "platforms"}:  # in which order they were typed means nothing
        return sorted(old or ()) != sorted(new or ())
    return bool(old != new)


def _said(key: str, value: Any) -> str:
    if not value:
        return "any" if key in {"python", "wheel_index"} else "none"
    return " ".join(value) if isinstance(value, list) else str(value)

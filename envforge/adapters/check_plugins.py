"""Checks that other installed packages bring, by the entry point group `envforge.checks`.

And which of ours are tested, by the file that is generated beside the page of checks.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
from collections.abc import Mapping
from typing import Final

from envforge.errors import InvalidValue
from envforge.verify.check import Check
from envforge.verify.registry import extended

GROUP: Final = "envforge.checks"


def all_checks() -> dict[str, Check]:
    """Ours and theirs; an entry point's name is the check's id.

    Raises:
        InvalidValue: one cannot be loaded, is no check, or has an id that is taken.
    """
    entries = importlib.metadata.entry_points(group=GROUP)
    return extended({entry.name: _loaded(entry) for entry in entries})


def _loaded(entry: importlib.metadata.EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise InvalidValue(
            what="check",
            value=entry.name,
            reason=f"cannot be loaded from `{entry.value}` ({type(error).__name__}: {error})",
            remedy="uninstall or repair the package that brings it",
        ) from error


def tested_checks() -> Mapping[str, str | None]:
    """Id to None where a catalogue test proves the check, else to the reason why none does."""
    text = (importlib.resources.files("envforge.verify") / "tested.json").read_text("utf-8")
    tested: dict[str, str | None] = json.loads(text)["checks"]
    return tested

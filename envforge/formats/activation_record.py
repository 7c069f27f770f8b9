"""`etc/envforge/activation.json`: what was chosen for an environment's activation."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

from envforge.formats.text import json_text
from envforge.model.activation import ALLOCATORS, ActivationRecord, Choices

RECORD: Final = "etc/envforge/activation.json"
"""In a prefix; not in `conda-meta`, where conda takes every `.json` for a package."""
_VERSION: Final = 1


def render(record: ActivationRecord) -> str:
    """As text; equal records give equal bytes."""
    document = {
        "version": _VERSION,
        "choices": asdict(record.choices),
        "written": {name: list(values) for name, values in record.written.items()},
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def parse(text: str | None) -> ActivationRecord:
    """Read it; what cannot be read says nothing, and what stands in `state` is then the user's."""
    try:
        document = json_text.parse(text or "")
        chosen, written = document["choices"], document["written"]
        threads = str(chosen["threads"])
        if document["version"] != _VERSION or chosen["allocator"] not in ALLOCATORS:
            return ActivationRecord()
        return ActivationRecord(
            choices=Choices(
                allocator=chosen["allocator"],
                deterministic=chosen["deterministic"] is True,
                threads=threads,
            ),
            written={str(name): tuple(map(str, values)) for name, values in written.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ActivationRecord()

"""The probe's document among whatever else an interpreter prints.

Apart from `probe_document`, which knows all facts: the probe is started before they are imported.
"""

from __future__ import annotations

import json
from typing import Any, Final

HERE: Final = "==== envforge probe: here ===="
"""Written first: the interpreter runs the script."""
BEGIN: Final = "==== envforge probe: begin ===="
END: Final = "==== envforge probe: end ===="


def find_document(output: str) -> dict[str, Any] | None:
    """The JSON between the last pair of markers, whatever else was printed; None: none there."""
    before, _, after = output.rpartition(BEGIN)
    text, end, _ = after.partition(END)
    if not end or (not before and BEGIN not in output):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # cut off, or lists in lists without end
        return None
    return document if isinstance(document, dict) else None

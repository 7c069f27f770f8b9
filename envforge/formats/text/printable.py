"""Text that is safe to show: what programs and files told may hold anything."""

from __future__ import annotations

import re
from typing import Any, Final

_CONTROL: Final = re.compile(
    # C0 but tab and newline, DEL, C1; marks that reverse the direction of writing
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_CRLF: Final = re.compile(r"\r\n?")


def clean(text: str) -> str:
    r"""Without what moves a cursor or rings a bell: an escape character becomes `\x1b`."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], printable(_CRLF.sub("\n", text)))


def one_line(text: str) -> str:
    """The same, in one line."""
    return " ".join(clean(text).split())


def printable(text: str) -> str:
    """Names of files that are no UTF-8 come as lone surrogates, which no encoding takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def printable_document(value: Any) -> Any:
    """The same for everything in a JSON document."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): printable_document(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable_document(item) for item in value]
    return value

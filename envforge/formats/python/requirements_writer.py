"""requirements.txt with hashes, as `pip install --require-hashes` and `uv pip sync` read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One entry."""

    name: str
    version: str
    url: str = ""
    """A wheel that the default index may not have; empty: it has it."""
    marker: str = ""
    hashes: tuple[str, ...] = ()
    """SHA-256 of every file that may be taken."""


def write(requirements: Iterable[Requirement], *, header: Iterable[str] = ()) -> str:
    """The file: entries in the order given.

    Args:
        requirements: all that is installed; dependencies are not looked up.
        header: lines of comment for the top, without `#`.
    """
    lines = [f"# {line}".rstrip() for line in header]
    lines += [_entry(item) for item in requirements]
    return "\n".join(lines) + "\n"


def _entry(item: Requirement) -> str:
    head = f"{item.name} @ {item.url}" if item.url else f"{item.name}=={item.version}"
    # A blank before the semicolon: an address could hold one.
    marked = f"{head} ; {item.marker}" if item.marker else head
    return " \\\n    ".join([marked, *(f"--hash=sha256:{digest}" for digest in item.hashes)])

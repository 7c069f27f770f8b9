"""Prints text that programs and files told, which may hold anything."""

from __future__ import annotations

import sys

import click

from envforge.formats.text.printable import printable


def echo(text: str, *, err: bool = False) -> None:
    """Print; a stream of another encoding than UTF-8 gets escapes for what it cannot show."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    safe = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(safe, err=err)

"""YAML with one scalar a line, read quickly into the same nodes as `yaml_text.parse` gives.

Locks of other tools are long and laid out by machines: block mappings, block lists, plain or
quoted scalars. That much is read here, twenty times as quickly as by ruamel.yaml; at the first
sight of anything else the text is left to it, which also finds the place of a mistake.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Node

_KEY: Final = re.compile(r"(?P<key>[A-Za-z_][\w.-]*):(?: (?P<value>.+))?")
_PLAIN_START: Final = re.compile(r"[A-Za-z0-9_./<=~+(^$]|-[^ ]")


class _UnusualError(Exception):
    """Not laid out as expected here; says nothing about right or wrong."""


class _Line(NamedTuple):
    indent: int
    content: str
    number: int
    """From 1."""
    offset: int
    """Where the line begins in the text."""


def parse(text: str, path: str) -> Node:
    """Read one YAML document into nodes that know their places.

    Raises:
        InvalidFile: see `yaml_text.parse`.
    """
    if "\r" not in text and "\t" not in text:
        try:
            return _Reader(_lines(text)).document()
        except (_UnusualError, RecursionError):
            pass
    return yaml_text.parse(text, path)


def _lines(text: str) -> list[_Line]:
    """The lines that say something, the last first."""
    found: list[_Line] = []
    offset = 0
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.lstrip(" ")
        if content and content[0] != "#":
            found.append(_Line(len(line) - len(content), content.rstrip(" "), number, offset))
        offset += len(line) + 1
    found.reverse()
    return found


class _Reader:
    """Takes lines from the end of a list that is in reverse."""

    def __init__(self, lines: list[_Line]) -> None:
        self._lines = lines

    def document(self) -> Node:
        if not self._lines or self._lines[-1].indent:
            raise _UnusualError
        root = self._block(0)
        if self._lines:
            raise _UnusualError
        return root

    def _block(self, indent: int) -> Node:
        is_list = self._lines[-1].content.startswith("- ")
        return self._list(indent) if is_list else self._map(indent)

    def _map(self, indent: int) -> Node:
        pairs: list[tuple[Node, Node]] = []
        lines = self._lines
        first = lines[-1]
        while lines and lines[-1].indent == indent and not lines[-1].content.startswith("- "):
            line = lines.pop()
            found = _KEY.fullmatch(line.content)
            if not found:
                raise _UnusualError
            key = _text(found["key"], line, line.indent)
            value = found["value"]
            if value is None:
                pairs.append((key, self._below(line)))
            else:
                pairs.append((key, _scalar(value, line, indent + found.start("value"))))
        if lines and lines[-1].indent > indent:
            raise _UnusualError
        return _collection("map", first, pairs[-1][1].end if pairs else 0, pairs=tuple(pairs))

    def _below(self, line: _Line) -> Node:
        """What stands under `key:`: a list, also at the key's own indentation, or a mapping."""
        lines = self._lines
        if lines:
            following = lines[-1]
            is_item = following.content.startswith("- ")
            if following.indent > line.indent or (is_item and following.indent == line.indent):
                return self._block(following.indent)
        end = line.indent + len(line.content)
        return _text("", line, end)

    def _list(self, indent: int) -> Node:
        items: list[Node] = []
        lines = self._lines
        first = lines[-1]
        while lines and lines[-1].indent == indent and lines[-1].content.startswith("- "):
            line = lines.pop()
            content = line.content[2:]
            if content.startswith(("- ", " ")):
                raise _UnusualError
            if _KEY.fullmatch(content):
                lines.append(_Line(indent + 2, content, line.number, line.offset))
                items.append(self._map(indent + 2))
            else:
                items.append(_scalar(content, line, indent + 2))
        if lines and lines[-1].indent > indent:
            raise _UnusualError
        return _collection("list", first, items[-1].end, items=tuple(items))


def _collection(
    kind: str,
    line: _Line,
    end: int,
    *,
    items: tuple[Node, ...] = (),
    pairs: tuple[tuple[Node, Node], ...] = (),
) -> Node:
    return Node(
        kind="map" if kind == "map" else "list",
        items=items,
        pairs=pairs,
        line=line.number,
        column=line.indent + 1,
        start=line.offset + line.indent,
        end=end,
    )


def _text(value: str, line: _Line, at: int, quote: str = "", length: int | None = None) -> Node:
    start = line.offset + at
    return Node(
        kind="scalar",
        value=value,
        quote=quote,
        line=line.number,
        column=at + 1,
        start=start,
        end=start + (len(value) if length is None else length),
    )


def _scalar(bare: str, line: _Line, at: int) -> Node:
    first = bare[0]
    if first == "'":
        inner = bare[1:-1].replace("''", "\0")
        if len(bare) < 2 or bare[-1] != "'" or "'" in inner:
            raise _UnusualError
        return _text(inner.replace("\0", "'"), line, at, "'", len(bare))
    if first == '"':
        inner = bare[1:-1]
        if len(bare) < 2 or bare[-1] != '"' or '"' in inner or "\\" in inner:
            raise _UnusualError
        return _text(inner, line, at, '"', len(bare))
    if bare in ("[]", "{}"):
        kind = "list" if bare == "[]" else "map"
        place = _Line(at, bare, line.number, line.offset)
        return _collection(kind, place, line.offset + at + 2)
    if not _PLAIN_START.match(bare) or ": " in bare or " #" in bare or bare[-1] == ":":
        raise _UnusualError
    return _text(bare, line, at)

"""conda-lock.yml read quickly, where its layout is the usual one.

YAML parsers written in Python take a second and more for a lock of 1 500 packages, and the
fast one (libyaml) is no dependency of ours. conda-lock, conda-lockfiles and envforge write one
scalar a line, so such lines are read directly; at the first sight of anything else the file is
left to `conda_lock_strict`, which also finds the place of each mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from envforge.formats.conda_lock.conda_lock_tree import (
    METADATA_KEYS,
    PackageEntry,
    Tree,
    UnusualError,
    entry,
)
from envforge.formats.text import yaml_text

_OPTIONAL_LINES: Final = frozenset({"  optional: false", "  optional: true"})


def read_fast(text: str) -> Tree | None:
    """Read a lock in the layout of conda-lock and envforge; None: read it strictly."""
    head, separator, body = text.partition("\npackage:\n- ")
    if not separator:  # conda-lockfiles indents lists
        head, separator, body = text.partition("\npackage:\n  - ")
        body = body.replace("\n  ", "\n")
    if not separator or "\r" in text or "\t" in text:
        return None
    body, tail = _split_tail(body)
    try:
        top = _block(re.sub(r"^version: 1$", "version: '1'", f"{head}\n{tail}", flags=re.MULTILINE))
        if top.pop("version") != "1" or top.keys() != {"metadata"}:
            return None
        known: dict[str, str] = {}
        packages = tuple(_fast_package(chunk, known) for chunk in body.split("\n- "))
        _refuse_doubles(packages)
        return _tree(top["metadata"], packages)
    except (UnusualError, KeyError, TypeError, AttributeError, ValueError):
        return None


def _split_tail(body: str) -> tuple[str, str]:
    """Top-level keys behind the packages: conda-lock 1 sorted keys, so `version` came last."""
    found = re.search(r"\n[a-z]", body)
    return (body[: found.start()], body[found.start() + 1 :]) if found else (body.rstrip("\n"), "")


def _fast_package(chunk: str, known: dict[str, str]) -> PackageEntry:
    """One package; `known` remembers scalars that were read before."""
    fields: dict[str, str] = {}
    nested: dict[str, dict[str, str]] = {}
    inside = fields
    for line in f"  {chunk}".split("\n"):
        if line in _OPTIONAL_LINES:
            continue
        if line[:4] != "    ":
            inside = fields
            if line[-1:] == ":" or line[-4:] == ": {}":
                inside = nested[line[2:].partition(":")[0]] = {}
                continue
        key, value = _key_value(line, known, 2 if inside is fields else 4)
        if key in inside:
            raise UnusualError
        inside[key] = value
    return entry(fields, nested)


def _key_value(line: str, known: dict[str, str], indent: int) -> tuple[str, str]:
    key, separator, value = line[indent:].partition(": ")
    if not separator or line[:indent].strip(" ") or line[indent] in " -":
        raise UnusualError
    for token in (key, value):
        if token not in known:
            known[token] = _scalar(token)
    return known[key], known[value]


def _scalar(token: str) -> str:
    """The string that a scalar on one line stands for."""
    first = token[:1]
    if first == "'":
        inner = token[1:-1].replace("''", "\0")
        if len(token) < 2 or token[-1] != "'" or "'" in inner:
            raise UnusualError
        return inner.replace("\0", "'")
    if (
        not token
        or not (first.isalnum() or first in "_./<=~+(^$")
        or ": " in token
        or " #" in token
        or token[-1] in ": "
        or not yaml_text.is_string_in_yaml_1_1(token)
    ):
        raise UnusualError
    return token


class _Lines:
    """The lines of a small block of YAML, read from the top; comments are skipped."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at = 0

    def peek(self) -> tuple[int, str]:
        """Indentation and content of the next line; -1 at the end."""
        while self._at < len(self._lines):
            content = self._lines[self._at].lstrip(" ")
            if content and not content.startswith("#"):
                return len(self._lines[self._at]) - len(content), content
            self._at += 1
        return -1, ""

    def skip(self, put_back: str | None = None) -> None:
        """Go to the next line, or put something in place of this one."""
        if put_back is None:
            self._at += 1
        else:
            self._lines[self._at] = put_back

    def literal(self, indent: int) -> str:
        """The lines of `|-` below a key at this indentation."""
        margin = " " * (indent + 2)
        taken: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line and not line.startswith(margin):
                break
            taken.append(line[len(margin) :])
            self._at += 1
        if not taken or taken[0][:1] in ("", " "):
            raise UnusualError
        return "\n".join(taken).rstrip("\n")


def _block(text: str) -> dict[str, Any]:
    lines = _Lines(text)
    value = _mapping(lines, 0)
    if lines.peek()[0] != -1:
        raise UnusualError
    return value


def _mapping(lines: _Lines, indent: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while True:
        here, content = lines.peek()
        if here != indent or content.startswith("- "):
            return values
        key, separator, value = content.partition(": ")
        if not separator:
            key, value = content.removesuffix(":"), ""
            if key == content:
                raise UnusualError
        key = _scalar(key)
        if key in values:
            raise UnusualError
        lines.skip()
        values[key] = _below(lines, indent) if not separator else _inline(lines, indent, value)


def _inline(lines: _Lines, indent: int, value: str) -> Any:
    if value == "|-":
        return lines.literal(indent)
    return {"{}": {}, "[]": []}[value] if value in ("{}", "[]") else _scalar(value)


def _below(lines: _Lines, indent: int) -> Any:
    """What stands under `key:`: a list, also at the key's own indentation, or a mapping."""
    here, content = lines.peek()
    if content.startswith("- ") and here >= indent:
        return _sequence(lines, here)
    if here <= indent:
        raise UnusualError
    return _mapping(lines, here)


def _sequence(lines: _Lines, indent: int) -> list[Any]:
    values: list[Any] = []
    while True:
        here, content = lines.peek()
        if here != indent or not content.startswith("- "):
            return values
        item = content[2:]
        if re.match(r"[a-z_]+:(?: |$)", item):
            lines.skip(put_back=" " * (indent + 2) + item)
            values.append(_mapping(lines, indent + 2))
        else:
            lines.skip()
            values.append(_scalar(item))


def _tree(metadata: Mapping[str, Any], packages: tuple[PackageEntry, ...]) -> Tree:
    """Assemble; anything of another shape than expected is left to the strict reader."""
    channels = tuple(channel["url"] for channel in metadata["channels"])
    tree = Tree(
        packages=packages,
        platforms=tuple(metadata["platforms"]),
        channels=channels,
        content_hash=metadata["content_hash"],
        sources=tuple(metadata["sources"]),
        custom_metadata=metadata.get("custom_metadata", {}),
    )
    texts: list[Any] = [*tree.platforms, *channels, *tree.sources]
    texts += [*tree.content_hash.values(), *tree.custom_metadata.values()]
    if not metadata.keys() <= set(METADATA_KEYS) or not all(
        isinstance(text, str) for text in texts
    ):
        raise UnusualError
    return tree


def _refuse_doubles(packages: Iterable[PackageEntry]) -> None:
    places = [(item.platform, item.name, item.manager, item.category) for item in packages]
    if len(set(places)) != len(places):
        raise UnusualError

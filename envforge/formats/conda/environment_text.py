"""Changing the text of environment.yml by the few characters that change."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from envforge.errors import InvalidFile
from envforge.formats.conda import conda_spec
from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Node
from envforge.model.spec import Dependency

_ASKED: Final = re.compile(r"asked: (?P<range>[^;]+)(?:; (?P<note>.*))?")
SELECTOR: Final = re.compile(r"\S.*?#.*\[(?P<word>[^\[\]]+)\][^()]*$")
"""conda-lock leaves a line with `# [word]` out on platforms that the word does not name."""
_TYPED_HEAD: Final = re.compile(r"(?:\S*?::)?[A-Za-z0-9_.-]+(?:\s*\[[^\]]*\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One dependency, and where it stands."""

    dependency: Dependency
    node: Node
    list_node: Node
    """The list it stands in: `dependencies:` or `pip:`."""


def split_comment(comment: str | None) -> tuple[str | None, str | None]:
    """The range that was asked for, and what else the comment says."""
    found = _ASKED.fullmatch(comment or "")
    return (found["range"].strip(), found["note"]) if found else (None, comment)


def entry_text(dependency: Dependency) -> str:
    """What stands behind the dash of a new line."""
    value = yaml_text.scalar(conda_spec.format_dependency(dependency))
    return f"{value}  # {_one_line(dependency.comment)}" if dependency.comment else value


def replace_line(text: str, line: Line, wanted: Dependency) -> str:
    """Replace a line from its value on; name, channel and quotes stay as they were typed."""
    end = line_end(text, line.node.end)
    new = _value(line, wanted)
    quote = line.node.quote
    written = yaml_text.quoted(new, quote) if quote in ("'", '"') else yaml_text.scalar(new)
    if wanted.comment:
        behind = text[line.node.end : end]
        gap = behind[: len(behind) - len(behind.lstrip())] if "#" in behind else "  "
        written = f"{written}{gap}# {_one_line(wanted.comment)}"
    return text[: line.node.start] + written + text[end:]


def _value(line: Line, wanted: Dependency) -> str:
    before = line.dependency
    typed = _TYPED_HEAD.match(line.node.value)
    same_head = (before.channel, before.extras) == (wanted.channel, wanted.extras)
    if before.url or wanted.url or not same_head or not typed:
        return conda_spec.format_dependency(wanted)
    if wanted.manager == "pip":
        return f"{typed[0]}{wanted.version}{f'; {wanted.marker}' if wanted.marker else ''}"
    return typed[0] + conda_spec.version_text(wanted.version, wanted.build)


def insert(text: str, lines: Sequence[Line], dependencies: Node, dependency: Dependency) -> str:
    """Add a line behind the last one of its manager."""
    newline = _newline(text)
    entry = entry_text(dependency)
    own = [line for line in lines if line.dependency.manager == dependency.manager]
    if own:
        end = line_end(text, own[-1].node.end)
        return f"{text[:end]}{newline}{_indent(text, own[-1].node)}- {entry}{text[end:]}"
    indent = _indent(text, dependencies.items[0]) if dependencies.items else "  "
    if dependency.manager == "pip":
        entry = f"pip:{newline}{indent}    - {entry}"
    if not dependencies.items:  # `dependencies: []`
        head = text[: dependencies.start].rstrip(" ")
        return f"{head}{newline}{indent}- {entry}{text[dependencies.end :]}"
    if dependency.manager == "conda":  # only a `pip:` section so far
        begin = _line_start(text, dependencies.items[0].start)
        return f"{text[:begin]}{indent}- {entry}{newline}{text[begin:]}"
    end = line_end(text, max(line.node.end for line in lines))
    return f"{text[:end]}{newline}{indent}- {entry}{text[end:]}"


def remove(text: str, lines: Sequence[Line], dependencies: Node, gone: Collection[Line]) -> str:
    """Take lines out; an empty `pip:` section goes with its last line."""
    spans = [(_line_start(text, line.node.start), line.node.end) for line in gone]
    left = [line for line in lines if line not in gone]
    if not any(line.dependency.manager == "pip" for line in left):
        heads = [item for item in dependencies.items if item.kind == "map"]
        spans += [(_line_start(text, item.start), item.start) for item in heads]
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[line_end(text, end) :].removeprefix("\r").removeprefix("\n")
    if left:
        return text
    return re.sub(r"^dependencies:", "dependencies: []", text, count=1, flags=re.MULTILINE)


def expand(text: str, node: Node, path: str) -> str:
    """Write `[a, b]` as lines.

    Raises:
        InvalidFile: a comment stands between the brackets and would be lost.
    """
    inside = re.sub(r"'[^']*'|\"[^\"]*\"", "", text[node.start : node.end])
    if re.search(r"\s#", inside):
        mistake = f"{node.place}: a comment inside `[…]` cannot be kept; write one item a line"
        raise InvalidFile(path=path, mistakes=(mistake,))
    line = text[_line_start(text, node.start) :]
    margin = " " * (len(line) - len(line.lstrip(" -")) + 2)
    listed = "".join(
        f"{_newline(text)}{margin}- {_bare_map(text[item.start : item.end])}" for item in node.items
    )
    return text[: node.start].rstrip(" ") + listed + text[node.end :]


def _bare_map(item: str) -> str:
    """`{pip: [a]}` as `pip: [a]`, which a block may hold."""
    return item.strip()[1:-1].strip() if item.startswith("{") else item.strip()


def line_end(text: str, offset: int) -> int:
    """The offset of the line break behind an offset, or of the end of the text."""
    end = text.find("\n", offset)
    if end < 0:
        return len(text)
    return end - 1 if text[end - 1] == "\r" and end > offset else end


def _line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent(text: str, node: Node) -> str:
    """What stands before the dash of an item."""
    return text[_line_start(text, node.start) : node.start].partition("-")[0]


def _one_line(comment: str) -> str:
    """Without line breaks, and without brackets that conda-lock takes for a selector."""
    line = re.sub(r"\s*[\r\n]+\s*", " ", comment.strip())
    return line.replace("[", "(").replace("]", ")") if SELECTOR.search(f"x # {line}") else line

"""YAML as text: what may stand bare, what needs quotes, and where a mistake is.

Our files are read by ruamel.yaml (YAML 1.2; conda), PyYAML (YAML 1.1; conda-lock) and
yaml-cpp (micromamba). A scalar that any of them takes for something else than a string is
quoted when written, and is a mistake when read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from envforge.errors import InvalidFile

_NOT_A_STRING: Final = re.compile(
    r"""
      (?: ~ | null | true | false | yes | no | on | off | y | n | = | << )?   # the empty one too
    | [-+]? [0-9.] [0-9_.,:]* (?: e [-+]? [0-9]* )?                    # numbers, base 60, 1e5
    | [-+]? 0 (?: b [01_]* | o [0-7_]* | x [0-9a-f_]* )
    | [-+]? \. (?: inf | nan )
    | [0-9]{4} - [0-9]{1,2} - [0-9]{1,2} .*                            # dates
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Wider than any resolver of YAML 1.1 and 1.2: a needless quote does no harm."""

_NOT_A_STRING_IN_YAML_1_1: Final = re.compile(
    r"""
      (?: ~ | null | true | false | yes | no | on | off | = | << )?
    | [-+]? (?: 0b[01_]+ | 0[0-7_]+ | 0x[0-9a-f_]+ | 0 | [1-9][0-9_]* (?: :[0-5]?[0-9] )* )
    | [-+]? [0-9][0-9_]* (?: \.[0-9_]* (?: e[-+][0-9]+ )? | (?: :[0-5]?[0-9] )+ \.[0-9_]* )
    | \. [0-9][0-9_]* (?: e[-+][0-9]+ )?
    | [-+]? \. (?: inf | nan )
    | [0-9]{4} - [0-9]{1,2} - [0-9]{1,2} (?: (?: t | [ ]+ ) [0-9].* )?
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What PyYAML resolves to something else than a string."""

_DOTTED: Final = re.compile(r"[0-9]+(?:\.[0-9]+){2,}")
"""`2.0.1` is a string to everybody, and too common to quote."""

_BARE: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_./+~=@*<>|!,;'()\[\]# :-]*[A-Za-z0-9_./+~=@*<>|!,;'()\[\]#-])?"
)
_ENDS_BARE: Final = re.compile(r": |:\t| #")
_NEEDS_ESCAPE: Final = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
_TAGS: Final = re.compile(
    r"tag:yaml\.org,2002:(?:str|int|float|bool|null|timestamp|merge|value|map|seq)"
)


def is_string(bare: str) -> bool:
    """Whether every YAML reader takes this text, written without quotes, as a string."""
    return not _NOT_A_STRING.fullmatch(bare) or bool(_DOTTED.fullmatch(bare))


def is_string_in_yaml_1_1(bare: str) -> bool:
    """Whether PyYAML takes this text, written without quotes, as a string: `12e5`, `08`.

    conda-lock writes with PyYAML, so its locks hold such scalars without quotes.
    """
    return not _NOT_A_STRING_IN_YAML_1_1.fullmatch(bare)


def scalar(text: str) -> str:
    """The text as a YAML scalar on one line, quoted only where a reader could mistake it."""
    if _BARE.fullmatch(text) and not _ENDS_BARE.search(text) and is_string(text):
        return text
    return quoted(text)


def quoted(text: str, quote: str = "'") -> str:
    """The text in quotes; double ones where characters have to be escaped."""
    if quote == '"' or _NEEDS_ESCAPE.search(text):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + _NEEDS_ESCAPE.sub(lambda char: _escape(char[0]), escaped) + '"'
    return "'" + text.replace("'", "''") + "'"


def _escape(char: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char, f"\\U{ord(char):08X}")


_LONGEST: Final = 60
"""Characters of a value that a message repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a YAML document with its place in the text."""

    kind: Literal["scalar", "list", "map"]
    value: str = ""
    quote: str = ""
    """`'`, `"`, `|` or `>`; empty: the scalar stands bare."""
    items: tuple[Node, ...] = ()
    pairs: tuple[tuple[Node, Node], ...] = ()
    flow: bool = False
    """Written as `[a, b]` or `{a: b}`."""
    line: int
    """From 1, as the column."""
    column: int
    start: int
    """Offset in the text; `end` is behind the last character."""
    end: int

    @property
    def place(self) -> str:
        """`line 3, column 5`."""
        return f"line {self.line}, column {self.column}"

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands here: `key:` without a value."""
        return self.kind == "scalar" and not self.quote and not self.value


@dataclass(slots=True)
class Mistakes:
    """Everything that is wrong with one file, gathered before it is refused."""

    path: str
    found: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, node: Node, message: str) -> None:
        """Note a mistake at a node."""
        self.found.append((node.line, node.column, f"{node.place}: {message}"))

    def raise_any(self, remedy: str | None = None) -> None:
        """Refuse the file if there is a mistake.

        Raises:
            InvalidFile: with all of them, in the order of the text.
        """
        if self.found:
            lines = dict.fromkeys(message for _, _, message in sorted(self.found))
            raise InvalidFile(path=self.path, mistakes=tuple(lines), remedy=remedy)


def parse(text: str, path: str) -> Node:
    """Read one YAML document into nodes that know their places.

    Anchors, aliases and tags are refused: not every reader of our files follows them.

    Raises:
        InvalidFile: for a syntax error, with line and column, or an empty document.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    _refuse_conflict_markers(text, path)
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False  # refused below, with their place
        root = yaml.compose(text)
        if root is None:
            raise InvalidFile(path=path, mistakes=("the file is empty",))
        return _node(root, path)
    except MarkedYAMLError as error:
        raise InvalidFile(path=path, mistakes=(_syntax(error, text),)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        mistake = f"line {line}: a character that YAML does not allow ({error.reason})"
        raise InvalidFile(path=path, mistakes=(mistake,)) from error
    except RecursionError as error:
        raise InvalidFile(path=path, mistakes=("it is nested too deeply",)) from error


_CONFLICT: Final = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?= |\r?$)", re.MULTILINE)


def _refuse_conflict_markers(text: str, path: str) -> None:
    lines = [text.count("\n", 0, found.start()) + 1 for found in _CONFLICT.finditer(text)]
    if lines:
        raise InvalidFile(
            path=path,
            mistakes=tuple(f"line {line}: a merge conflict marker" for line in lines),
            remedy="take one side of the conflict, then `envforge lock` again",
        )


def _syntax(error: Any, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    said = str(error.problem or error.context or "not YAML")
    if said.startswith("but") and error.context:
        said = f"{error.context}, {said}"
    problem = " ".join(said.split())
    if mark is None:
        return problem
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: mark.column + 1]:
        problem = "a tab stands where YAML wants spaces"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _node(raw: Any, path: str) -> Node:
    kind: Literal["scalar", "list", "map"] = "scalar"
    if not isinstance(raw.value, str):
        kind = "map" if str(raw.tag).endswith(":map") else "list"
    mark = raw.start_mark
    node = Node(
        kind=kind,
        line=mark.line + 1,
        column=mark.column + 1,
        start=mark.index,
        end=raw.end_mark.index,
    )
    if raw.anchor is not None:
        _refuse(path, node, "anchors and aliases are not read by every tool; write it out")
    if not _TAGS.fullmatch(str(raw.tag)):
        _refuse(path, node, f"the tag `{raw.tag}` is not read by every tool")
    if kind == "scalar":
        return replace(node, value=raw.value, quote=raw.style or "")
    flow = bool(raw.flow_style)
    if kind == "map":
        pairs = tuple((_node(key, path), _node(value, path)) for key, value in raw.value)
        return replace(node, pairs=pairs, flow=flow)
    return replace(node, items=tuple(_node(item, path) for item in raw.value), flow=flow)


def _refuse(path: str, node: Node, message: str) -> None:
    raise InvalidFile(path=path, mistakes=(f"{node.place}: {message}",))


def mapping(
    node: Node, what: str, mistakes: Mistakes, known: Collection[str] | None = None
) -> dict[str, Node]:
    """The values of a mapping by key; notes wrong types, doubled keys and unknown ones.

    Args:
        node: what should be a mapping.
        what: how it is called in a mistake.
        mistakes: where mistakes go.
        known: the keys that may stand here; None: any.
    """
    if node.kind != "map":
        mistakes.add(node, f"{what} is {described(node)}, and should be `key: value` lines")
        return {}
    values: dict[str, Node] = {}
    for key, value in node.pairs:
        if key.value in values:
            first = next(other.line for other, _ in node.pairs if other.value == key.value)
            mistakes.add(key, f"`{key.value}` stands here a second time (first in line {first})")
        elif known is not None and key.value not in known:
            mistakes.add(key, f"`{key.value}`: unknown key{did_you_mean(key.value, known)}")
        else:
            values[key.value] = value
    return values


def items(node: Node, what: str, mistakes: Mistakes) -> tuple[Node, ...]:
    """The items of a list; notes a wrong type."""
    if node.kind == "list":
        return node.items
    mistakes.add(node, f"{what} is {described(node)}, and should be a list")
    return ()


def string(
    node: Node,
    what: str,
    mistakes: Mistakes,
    is_text: Callable[[str], bool] = is_string,
) -> str | None:
    """The text of a scalar that is a string to every reader; else None, and a mistake is noted."""
    if node.kind == "scalar" and (node.quote or is_text(node.value)):
        return node.value
    advice = f"; write `'{node.value}'`" if node.kind == "scalar" and node.value else ""
    mistakes.add(node, f"{what} is {described(node)}, and should be text{advice}")
    return None


def strings(
    node: Node, what: str, mistakes: Mistakes, is_text: Callable[[str], bool] = is_string
) -> list[tuple[Node, str]]:
    """The texts of a list of strings, each with its node."""
    texts = [
        (item, string(item, f"an item of {what}", mistakes, is_text))
        for item in items(node, what, mistakes)
    ]
    return [(item, text) for item, text in texts if text is not None]


def _shortened(value: str) -> str:
    """For a sentence: another kind of file is one text from its first line to its last."""
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST].rstrip()}…"


def described(node: Node) -> str:
    """What a node is, in a sentence: `a list`, `empty`, `the number 1.10`."""
    if node.kind != "scalar":
        return {"list": "a list", "map": "a mapping"}[node.kind]
    if node.is_empty:
        return "empty"
    if node.quote or is_string(node.value):
        return f"the text `{_shortened(node.value)}`"
    if re.fullmatch(r"[A-Za-z~]+", node.value):
        return f"the YAML value `{node.value}`"
    return f"the number `{node.value}`"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest known word, or nothing."""
    import difflib  # only a mistake pays for it

    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else ""

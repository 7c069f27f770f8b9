"""A solver's reasons, shortened to what a person can act on.

rattler draws a tree with a branch for every build that does not fit: 59 lines for one Python
too many. Here branches that differ only in versions become one, what a channel does not have
is told with what it has, and missing virtual packages are told in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from envforge.model.solving import CondaConflict, CondaProblem

LONGEST: Final = 12
"""Lines; past that nobody reads on."""
_BRANCH: Final = re.compile(r"(?P<indent>(?:[│ ]  )*(?:[├└]─ )?)(?P<text>.*)")
_VIRTUAL: Final = re.compile(r"(__[a-z_]+)(?: +([^,]*?))?, for which no candidates were found")
_VERSIONS: Final = r"(\S+ [^|\s]+(?: \| [^|\s]+)*) is excluded because"
_HIDDEN: Final = re.compile(
    rf"{_VERSIONS} due to strict channel priority not using this option from: '([^']+)'"
)
_ELSEWHERE: Final = re.compile(rf"{_VERSIONS} candidate not in requested channel: '([^']+)'")
_PREFIX: Final = re.compile(
    r"(?P<name>[\w.-]+) (?P<rest>[\d=<>!~*][^\s\[]*(?: [^\s\[]+)?)"
    r"\[channel=\"(?P<channel>[^\"]+)\"\]"
)
_ONE_MINOR: Final = re.compile(r">=(\d+)\.(\d+)(?:\.0)?,<(\d+)\.(\d+)(?:\.0)?(?:a0)?(?![\w.])")
_SEVERAL: Final = re.compile(r"[^\s|]+(?: \| [^\s|,]+)+")
_NUMBER: Final = re.compile(r"[<>=!~]*\d[^\s]*")


@dataclass(slots=True)
class _Node:
    text: str
    children: list[_Node] = field(default_factory=list)


def shortened(conflict: CondaConflict, problem: CondaProblem) -> str:
    """At most `LONGEST` lines: what is missing first, then the solver's tree."""
    facts = [
        *_empty(conflict),
        *_unknown(conflict),
        *_available(conflict),
        *_virtual(conflict, problem),
        *_limits(conflict, problem),
        *_channels(conflict.explanation),
    ]
    facts = list(dict.fromkeys(facts))[:6]
    if conflict.unknown:  # nothing else can be said before the name is right
        return "\n".join(facts)
    return "\n".join([*facts, *_drawn(_tree(conflict.explanation), LONGEST - len(facts))])


def _empty(conflict: CondaConflict) -> Iterator[str]:
    for channel in conflict.empty_channels:
        yield f"channel `{channel}` lists no package at all for {conflict.platform}"


def _unknown(conflict: CondaConflict) -> Iterator[str]:
    for name, near in sorted(conflict.unknown.items()):
        hint = f"; did you mean {' or '.join(f'`{item}`' for item in near)}?" if near else ""
        yield f"`{name}`: no channel has a package of this name for {conflict.platform}{hint}"


def _available(conflict: CondaConflict) -> Iterator[str]:
    for name, versions in sorted(conflict.available.items()):
        yield f"`{name}`: what the channels have nearest is {', '.join(versions)}"


def _virtual(conflict: CondaConflict, problem: CondaProblem) -> Iterator[str]:
    """`__cuda >=12, for which no candidates were found`, in words."""
    has = {item.name: item.version for item in problem.virtual_packages}
    wanted: dict[str, list[str]] = {}
    for name, asked in _VIRTUAL.findall(conflict.explanation):
        wanted.setdefault(name, []).append(asked.strip().strip("*").strip())
    for name, ranges in wanted.items():
        asked = " or ".join(dict.fromkeys(filter(None, ranges)))
        needs = f"`{name}{f' {asked}' if asked else ''}` is needed"
        got = f"`{name} {has[name]}`" if name in has else f"no `{name}`"
        yield f"{needs}, and the target has {got}: {_meaning(name)}"


def _limits(conflict: CondaConflict, problem: CondaProblem) -> Iterator[str]:
    """A known-bad range in the way is no whim of the solver's: say whose, and why."""
    for limit in problem.constraints:
        if f"constraint {limit.package} {limit.range} " in conflict.explanation:
            source = f" ({limit.source})" if limit.source else ""
            yield f"`{limit.package} {limit.range}` is known to be needed: {limit.reason}{source}"


def _meaning(name: str) -> str:
    meanings = {
        "__cuda": "that is the driver's CUDA, in virtual-packages.yml; CPU targets have none",
        "__glibc": "that is the C library, in virtual-packages.yml",
        "__osx": "that is the macOS release, in virtual-packages.yml",
        "__archspec": "that is the processor, in virtual-packages.yml",
    }
    return meanings.get(name, "see virtual-packages.yml")


def _channels(text: str) -> Iterator[str]:
    for package, channel in _HIDDEN.findall(text):
        yield (
            f"strict channel priority: {package} of `{channel.rstrip('/')}` does not count,"
            " because a channel before it has that name too"
        )
    for package, channel in _ELSEWHERE.findall(text):
        yield f"{package} is there, but not in the channel asked for, `{channel.rstrip('/')}`"


def _tree(text: str) -> list[_Node]:
    """Read the drawing back, a node for each line, and join what is alike."""
    root = _Node(text="")
    open_nodes = [root]
    for line in text.splitlines():
        found = _BRANCH.fullmatch(line.rstrip())
        if not found or not found["text"]:
            continue
        depth = len(found["indent"]) // 3
        del open_nodes[depth + 1 :]
        node = _Node(text=found["text"])
        open_nodes[-1].children.append(node)
        open_nodes.append(node)
    return _joined([_chained(node) for node in root.children])


def _chained(node: _Node) -> _Node:
    """`a would require` with one child below it becomes one line."""
    children = [_chained(child) for child in node.children]
    text = node.text
    while len(children) == 1 and text.endswith(("would require", "would constrain")):
        text = f"{text} {children[0].text}"
        children = children[0].children
    return _Node(text=_plain(text), children=children)


def _plain(text: str) -> str:
    text = _PREFIX.sub(lambda found: f"{found['channel']}::{found['name']} {found['rest']}", text)
    text = _ONE_MINOR.sub(_minor, text)
    text = _SEVERAL.sub(_ends, text)
    text = text.replace("which cannot be installed because there are no viable options", "where")
    text = text.replace("cannot be installed because there are no viable options", "does not fit")
    text = text.replace("can be installed with any of the following options", "may be")
    text = text.replace(", for which no candidates were found.", ", and none is left")
    return text.replace(", which conflicts with any installable versions previously reported", "")


def _minor(found: re.Match[str]) -> str:
    """`>=3.12,<3.13.0a0` is 3.12.*."""
    major, minor, next_major, next_minor = map(int, found.groups())
    one = (next_major, next_minor) == (major, minor + 1)
    return f"{major}.{minor}.*" if one else found[0]


def _ends(found: re.Match[str]) -> str:
    """`1.0 | 1.1 | 1.2` → `1.0 … 1.2`."""
    versions = found[0].split(" | ")
    return found[0] if len(versions) < 3 else f"{versions[0]} … {versions[-1]}"


def _joined(nodes: Sequence[_Node]) -> list[_Node]:
    """Nodes that differ only in versions become one, and so do their children."""
    groups: dict[str, list[_Node]] = {}
    for node in nodes:
        groups.setdefault(_NUMBER.sub("N", node.text), []).append(node)
    return [
        _Node(
            text=_together([node.text for node in group]),
            children=_joined([child for node in group for child in node.children]),
        )
        for group in groups.values()
    ]


def _together(texts: Sequence[str]) -> str:
    """`x 1 needs y 2`, `x 1 needs y 3` → `x 1 needs y 2 or 3`."""
    columns = zip(*(text.split() for text in dict.fromkeys(texts)), strict=False)
    return " ".join(_alternatives(column) for column in columns)


def _alternatives(words: Iterable[str]) -> str:
    different = list(dict.fromkeys(word.rstrip(",:") for word in words))
    end = ""
    first = next(iter(words))
    if first.endswith((",", ":")):
        end = first[-1]
    if len(different) > 4:
        different = [*different[:3], "…"]
    return " or ".join(different).replace(" or …", " …") + end


def _drawn(nodes: Sequence[_Node], room: int) -> Iterator[str]:
    """Draw level by level until the lines are used up, and say how many are left out."""
    kept, left_out = _kept(nodes, room)
    yield from _lines(nodes, kept, 0)
    if left_out:
        yield f"(and {left_out} reasons below these)"


def _kept(nodes: Sequence[_Node], room: int) -> tuple[set[int], int]:
    level, order = list(nodes), []
    while level:
        order += level
        level = [child for node in level for child in node.children]
    fits = len(order) <= room
    chosen = order if fits else order[: max(1, room - 1)]
    return {id(node) for node in chosen}, len(order) - len(chosen)


def _lines(nodes: Sequence[_Node], kept: set[int], depth: int) -> Iterator[str]:
    for node in nodes:
        if id(node) in kept:
            yield "  " * depth + node.text
            yield from _lines(node.children, kept, depth + 1)

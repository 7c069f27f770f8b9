"""environment.yml: what is asked for. It belongs to the user.

Read strictly, every mistake at once. Changed by replacing the few characters that change,
guided by ruamel.yaml's marks: a dump of ruamel's round-trip document keeps comments, but not
indentation, quotes, line ends and blanks between comment and value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from envforge.errors import InvalidValue
from envforge.formats.conda import conda_spec, environment_text
from envforge.formats.conda.environment_text import (
    SELECTOR,
    Line,
    entry_text,
    line_end,
    split_comment,
)
from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Mistakes, Node
from envforge.model.machine import PLATFORMS, Platform
from envforge.model.spec import Dependency, EnvironmentSpec

_KEYS: Final = (
    "name",
    "channels",
    "platforms",
    "dependencies",
    "variables",
    "prefix",
    "category",
)
"""CEP 24's seven. conda warns about `platforms`, a key of conda-lock's, and ignores it."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CHANNEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*|(?:https?|file)://[^\s#?]+")
_CREDENTIAL: Final = re.compile(r"://(?![^/@]*\$)[^/@]+@|/t/(?!\$)[^/]+/")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ANY: Final = "any"
"""Stands in the comment for an empty range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDocument:
    """environment.yml as text and as data. Each change gives a new document."""

    path: str
    text: str
    spec: EnvironmentSpec
    lines: tuple[Line, ...]
    """Where each dependency of the spec stands, in the same order."""
    dependencies_node: Node

    @property
    def list_nodes(self) -> tuple[Node, ...]:
        """`dependencies:`, and `pip:` inside."""
        return (self.dependencies_node, *(line.list_node for line in self.lines))

    def with_versions(
        self, conda: Mapping[str, str], pip: Mapping[str, str] | None = None
    ) -> EnvironmentDocument:
        """Write exact versions back; nothing else in the text changes.

        A range becomes `name=version  # asked: range`; a comment that stood there follows
        behind a semicolon. A line that names this version already stays as it is, so doing it
        twice changes nothing. Builds, channels, extras and wheels given by address stay.

        Args:
            conda: versions of conda packages by name; those not in it stay as they are.
            pip: versions of wheels by name.
        """
        pins = {("conda", name): version for name, version in conda.items()}
        pins |= {("pip", name): version for name, version in (pip or {}).items()}

        def pinned(item: Dependency) -> Dependency:
            version = pins.get((item.manager, item.name))
            return item if version is None or item.url else _pinned(item, version)

        return self._rewritten(pinned)

    def with_asked_ranges(self, names: Collection[str] | None = None) -> EnvironmentDocument:
        """Put the ranges that were asked for back in place of exact versions.

        Args:
            names: packages to loosen; None: all.
        """

        def loosened(item: Dependency) -> Dependency:
            asked, note = split_comment(item.comment)
            if asked is None or (names is not None and item.name not in names):
                return item
            return replace(item, version=asked_range(item), comment=note)

        return self._rewritten(loosened)

    def with_dependency(self, dependency: Dependency) -> EnvironmentDocument:
        """Add a dependency, or replace the line of the same name and manager.

        A new line goes behind the last one of its manager. A comment that stands behind a
        replaced line is kept, the range that was asked for is not.
        """
        wanted = (dependency.manager, dependency.name)

        def replaced(item: Dependency) -> Dependency:
            if (item.manager, item.name) != wanted:
                return item
            _, note = split_comment(item.comment)
            return replace(dependency, comment=dependency.comment or note)

        if any((item.manager, item.name) == wanted for item in self.spec.dependencies):
            return self._rewritten(replaced)
        block = self._in_block_style()
        text = environment_text.insert(block.text, block.lines, block.dependencies_node, dependency)
        return read(text, self.path)

    def without_dependency(
        self, name: str, manager: Literal["conda", "pip"] | None = None
    ) -> EnvironmentDocument:
        """Remove a dependency's line; lines of comment around it stay.

        Raises:
            InvalidValue: it is not in the file.
        """
        block = self._in_block_style()
        gone = [
            line
            for line in block.lines
            if line.dependency.name == name and manager in (None, line.dependency.manager)
        ]
        if not gone:
            names = [item.name for item in self.spec.dependencies]
            raise InvalidValue(
                what="package",
                value=name,
                reason=f"is not in `{self.path}`{yaml_text.did_you_mean(name, names)}",
            )
        text = environment_text.remove(block.text, block.lines, block.dependencies_node, gone)
        return read(text, self.path)

    def _rewritten(self, change: Callable[[Dependency], Dependency]) -> EnvironmentDocument:
        """Replace the lines whose dependency changes."""
        if all(change(item) == item for item in self.spec.dependencies):
            return self
        document = self._in_block_style()
        text = document.text
        for line in reversed(document.lines):  # from the end, so that offsets stay right
            wanted = change(line.dependency)
            if wanted != line.dependency:
                text = environment_text.replace_line(text, line, wanted)
        return read(text, self.path)

    def _in_block_style(self) -> EnvironmentDocument:
        """`[a, b]` cannot carry comments: one line each."""
        document = self
        while flow := [node for node in document.list_nodes if node.flow and node.items]:
            document = read(environment_text.expand(document.text, flow[0], self.path), self.path)
        return document


def read(text: str, path: str, *, need_platforms: bool = True) -> EnvironmentDocument:
    """Read environment.yml.

    Args:
        text: the file's content; CRLF is kept.
        path: how the file is called in mistakes.
        need_platforms: False: `platforms:` may be missing, and is empty then. conda-lock would
            take four platforms of its own choice for it.

    Raises:
        InvalidFile: with every mistake, its line and column.
    """
    root = yaml_text.parse(text, path)
    mistakes = Mistakes(path)
    fields = yaml_text.mapping(root, "the file", mistakes, _KEYS)
    if need_platforms and "platforms" not in fields and root.kind == "map":
        mistakes.add(root, "`platforms` is missing; list them, for example `platforms: [linux-64]`")
    for key in ("name", "dependencies"):
        if key not in fields and root.kind == "map":
            mistakes.add(root, f"`{key}` is missing")
    lines = _read_dependencies(fields.get("dependencies"), text, mistakes)
    _refuse_selectors(text, mistakes)
    _check_category(fields.get("category"), mistakes)
    spec = EnvironmentSpec(
        name=_read_name(fields.get("name"), mistakes),
        channels=_read_channels(fields.get("channels"), mistakes),
        dependencies=tuple(line.dependency for line in lines),
        platforms=_read_platforms(fields.get("platforms"), mistakes),
        variables=_read_variables(fields.get("variables"), mistakes),
    )
    mistakes.raise_any()
    return EnvironmentDocument(
        path=path,
        text=text,
        spec=spec,
        lines=lines,
        dependencies_node=fields["dependencies"],
    )


def write(spec: EnvironmentSpec, header: str = "") -> str:
    """A fresh environment.yml.

    Args:
        spec: what is asked for. A dependency's `comment` stands behind its line.
        header: lines of comment for the top, without `#`.
    """
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    lines.append(f"name: {yaml_text.scalar(spec.name)}")
    lines += _list("channels", map(yaml_text.scalar, spec.channels))
    if spec.platforms:  # a key of conda-lock's: conda has none, and warns
        lines += _list("platforms", spec.platforms)
    lines += _list("dependencies", map(entry_text, spec.conda()))
    if spec.pip():
        lines += ["  - pip:", *(f"      - {entry_text(item)}" for item in spec.pip())]
    if spec.variables:
        lines.append("variables:")
        lines += [
            f"  {name}: {yaml_text.scalar(value)}" for name, value in sorted(spec.variables.items())
        ]
    return "\n".join(lines) + "\n"


def asked_range(dependency: Dependency) -> str:
    """The range a person asked for: of the comment behind an exact version, else of the line.

    Empty: any version.
    """
    asked, _ = split_comment(dependency.comment)
    if asked is None or not conda_spec.is_exact(dependency):
        return dependency.version
    return "" if asked == _ANY else asked


def with_asked_ranges(spec: EnvironmentSpec) -> EnvironmentSpec:
    """The spec with the ranges that were asked for in place of exact versions."""
    loose = tuple(replace(item, version=asked_range(item)) for item in spec.dependencies)
    return replace(spec, dependencies=loose)


def _list(key: str, values: Iterable[str]) -> list[str]:
    lines = [f"  - {value}" for value in values]
    return [f"{key}:", *lines] if lines else [f"{key}: []"]


def _pinned(item: Dependency, version: str) -> Dependency:
    exact = conda_spec.is_exact(item)
    if exact and item.version.lstrip("=") == version:
        return item
    _, note = split_comment(item.comment)
    # Not exact any more: a person has asked anew, and the old comment is about the past.
    comment = f"asked: {item.version or _ANY}" + (f"; {note}" if note else "")
    operator = "==" if item.manager == "pip" else "="
    return replace(item, version=f"{operator}{version}", comment=comment)


def _read_dependencies(node: Node | None, text: str, mistakes: Mistakes) -> tuple[Line, ...]:
    if node is None:
        return ()
    lines: list[Line] = []
    for item in yaml_text.items(node, "`dependencies`", mistakes):
        if item.kind == "map":
            lines += _read_pip(item, text, mistakes)
        else:
            lines += _read_line(item, node, conda_spec.parse_line, text, mistakes)
    _refuse_doubles(lines, mistakes)
    return tuple(lines)


def _read_pip(node: Node, text: str, mistakes: Mistakes) -> list[Line]:
    fields = yaml_text.mapping(node, "an item of `dependencies`", mistakes, ("pip",))
    if "pip" not in fields:
        return []
    listed = fields["pip"]
    return [
        line
        for item in yaml_text.items(listed, "`pip`", mistakes)
        for line in _read_line(item, listed, conda_spec.parse_pip, text, mistakes)
    ]


def _read_line(
    item: Node,
    listed: Node,
    parse: Callable[[str], Dependency],
    text: str,
    mistakes: Mistakes,
) -> list[Line]:
    value = yaml_text.string(item, "a dependency", mistakes)
    if value is None:
        return []
    try:
        dependency = parse(value)
    except InvalidValue as error:
        is_special = error.remedy and error.remedy not in conda_spec.EXAMPLES
        mistakes.add(item, f"{error}; {error.remedy}" if is_special else str(error))
        return []
    behind = text[item.end : line_end(text, item.end)].strip()
    comment = behind[1:].strip() if behind.startswith("#") and not listed.flow else None
    dependency = replace(dependency, comment=comment or None)
    return [Line(dependency=dependency, node=item, list_node=listed)]


def _refuse_doubles(lines: Iterable[Line], mistakes: Mistakes) -> None:
    first: dict[tuple[str, str], Node] = {}
    for line in lines:
        key = (line.dependency.manager, line.dependency.name)
        if key in first:
            mistakes.add(
                line.node,
                f"`{line.dependency.name}` is listed a second time (first in line"
                f" {first[key].line}), and conda-lock keeps the last; join the ranges by a comma",
            )
        first.setdefault(key, line.node)


def _refuse_selectors(text: str, mistakes: Mistakes) -> None:
    for number, line in enumerate(text.splitlines(), start=1):
        found = SELECTOR.search(line.rstrip())
        if found and not line.lstrip().startswith("#"):
            node = Node(kind="scalar", line=number, column=found.start("word"), start=0, end=0)
            mistakes.add(
                node,
                f"conda-lock takes `[{found['word']}]` in the comment for a platform selector,"
                " and may leave the line out; write it without the brackets",
            )


def _check_category(node: Node | None, mistakes: Mistakes) -> None:
    if node is not None and node.value != "main":
        mistakes.add(node, "`category` can only be `main` here")


def _read_name(node: Node | None, mistakes: Mistakes) -> str:
    name = yaml_text.string(node, "`name`", mistakes) if node else None
    if node and name is not None and not _NAME.fullmatch(name):
        mistakes.add(node, f"`name` is `{name}`; it may hold letters, digits, `_`, `.` and `-`")
    return name or ""


def _read_channels(node: Node | None, mistakes: Mistakes) -> tuple[str, ...]:
    channels: list[str] = []
    for item, channel in yaml_text.strings(node, "`channels`", mistakes) if node else ():
        if not _CHANNEL.fullmatch(channel):
            mistakes.add(item, f"`{channel}` is neither a channel's name nor its address")
        elif _CREDENTIAL.search(channel):
            mistakes.add(
                item,
                "the channel's address holds a secret, which would be committed;"
                " name an environment variable in its place, as `$NAME`",
            )
        elif channel in channels:
            mistakes.add(item, f"the channel `{channel}` stands here a second time")
        channels.append(channel)
    return tuple(channels)


def _read_platforms(node: Node | None, mistakes: Mistakes) -> tuple[Platform, ...]:
    platforms: list[Platform] = []
    for item, name in yaml_text.strings(node, "`platforms`", mistakes) if node else ():
        known = next((platform for platform in PLATFORMS if platform == name), None)
        if known is None:
            near = yaml_text.did_you_mean(name, PLATFORMS) or f"; known: {', '.join(PLATFORMS)}"
            mistakes.add(item, f"`{name}` is no platform that can be locked{near}")
        elif known in platforms:
            mistakes.add(item, f"`{name}` stands here a second time")
        else:
            platforms.append(known)
    return tuple(platforms)


def _read_variables(node: Node | None, mistakes: Mistakes) -> dict[str, str]:
    variables: dict[str, str] = {}
    fields = yaml_text.mapping(node, "`variables`", mistakes) if node else {}
    for name, value in fields.items():
        if not _VARIABLE.fullmatch(name):
            mistakes.add(value, f"`{name}` is no name of an environment variable")
        # A whole number comes out of every reader as it went in; 1.10, 0x1 and true do not.
        is_number = value.kind == "scalar" and re.fullmatch(r"0|-?[1-9][0-9]*", value.value)
        text = value.value if is_number else yaml_text.string(value, f"`{name}`", mistakes)
        if text is not None:
            variables[name] = text
    return variables

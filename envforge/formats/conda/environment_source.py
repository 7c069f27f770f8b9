"""environment.yml of anybody: hand-written, `conda env export`, `--from-history`, micromamba.

`environment_yml` reads our own files, strictly, since they are locked and written back. Here
what a lock cannot hold is told in a note, and what cannot be read is a mistake with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from envforge.errors import InvalidFile, InvalidValue
from envforge.formats.conda import conda_spec
from envforge.formats.conda.environment_text import SELECTOR, line_end
from envforge.formats.python import requirements_txt
from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Mistakes, Node
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform
from envforge.model.spec import Dependency

_KEYS: Final = ("name", "channels", "platforms", "dependencies", "variables")


@dataclass(slots=True)
class _Read:
    text: str
    mistakes: Mistakes
    dependencies: list[Dependency] = field(default_factory=list)
    local: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_source(text: str, path: str) -> tuple[ImportedEnvironment, ...]:
    """Read what is asked for.

    Raises:
        InvalidFile: with every mistake, its line and column.
    """
    root = yaml_text.parse(text, path)
    read = _Read(text, Mistakes(path))
    fields = yaml_text.mapping(root, "the file", read.mistakes)
    if "dependencies" not in fields:
        read.mistakes.add(root, "`dependencies` is missing")
    for key in fields.keys() - set(_KEYS) - {"prefix", "category"}:
        read.notes.append(f"`{key}` (line {fields[key].line})")
    _dependencies(fields.get("dependencies"), read)
    channels = tuple(_texts(fields.get("channels"), "`channels`", read.mistakes))
    platforms = tuple(_texts(fields.get("platforms"), "`platforms`", read.mistakes))
    variables = dict(_variables(fields.get("variables"), read))
    name = fields.get("name")
    read.mistakes.raise_any()
    return (
        ImportedEnvironment(
            name="" if name is None or _is_null(name) else name.value,
            dependencies=tuple(read.dependencies),
            channels=channels,
            platforms=platforms,
            indexes=tuple(dict.fromkeys(read.indexes)),
            variables=variables,
            local=tuple(read.local),
            notes=tuple(read.notes),
        ),
    )


def is_full_export(environment: ImportedEnvironment) -> bool:
    """Whether `conda env export` wrote it: every conda package, with version and build."""
    conda = [item for item in environment.dependencies if item.manager == "conda"]
    exact = [item for item in conda if item.build and conda_spec.is_exact(item)]
    return len(exact) > 10 and len(exact) >= 0.9 * len(conda)


def as_lock(environment: ImportedEnvironment, platform: Platform) -> Lock:
    """The conda packages of a full export as a lock, without the addresses that it leaves out."""
    packages = (
        LockedPackage(
            platform=platform,
            name=item.name,
            version=item.version.lstrip("="),
            build=item.build,
            url=f"{item.name}-{item.version.lstrip('=')}-{item.build}.conda",
            sha256="",
        )
        for item in environment.dependencies
        if item.manager == "conda"
    )
    return Lock(
        packages=tuple(sorted(packages)),
        platforms=(platform,),
        channels=environment.channels,
        content_hash={},
        sources=(),
    )


def _is_null(node: Node) -> bool:
    return node.is_empty or (not node.quote and node.value in {"null", "~"})


def _texts(node: Node | None, what: str, mistakes: Mistakes) -> Iterator[str]:
    if node is None or _is_null(node):
        return
    for item in yaml_text.items(node, what, mistakes):
        if item.kind == "scalar" and item.value:
            yield item.value
        else:
            mistakes.add(item, f"an item of {what} is {yaml_text.described(item)}")


def _variables(node: Node | None, read: _Read) -> Iterator[tuple[str, str]]:
    if node is None or _is_null(node):
        return
    for name, value in yaml_text.mapping(node, "`variables`", read.mistakes).items():
        if value.kind != "scalar":
            read.mistakes.add(value, f"`{name}` is {yaml_text.described(value)}")
        yield name, value.value


def _dependencies(node: Node | None, read: _Read) -> None:
    if node is None or _is_null(node):
        return
    for item in yaml_text.items(node, "`dependencies`", read.mistakes):
        if item.kind == "map":
            _section(item, read)
        elif item.kind == "scalar" and item.value:
            _conda(item, read)
        else:
            read.mistakes.add(item, f"a dependency is {yaml_text.described(item)}")


def _section(node: Node, read: _Read) -> None:
    """`- pip: [...]`; other tools have other sections."""
    for key, value in yaml_text.mapping(node, "an item of `dependencies`", read.mistakes).items():
        if key != "pip":
            read.notes.append(f"the section `{key}:` (line {value.line})")
            continue
        if _is_null(value):
            continue
        for item in yaml_text.items(value, "`pip`", read.mistakes):
            if item.kind == "scalar" and item.value:
                _pip(item, read)
            else:
                read.mistakes.add(item, f"a requirement is {yaml_text.described(item)}")


def _conda(node: Node, read: _Read) -> None:
    try:
        dependency = conda_spec.parse(_spelt(node.value))
    except InvalidValue as error:
        read.mistakes.add(node, str(error))
        return
    line = read.text[node.start : line_end(read.text, node.end)]
    if found := SELECTOR.search(line.rstrip()):
        read.notes.append(
            f"the selector `[{found['word']}]` of `{dependency.name}` (line {node.line}):"
            " it counts for all platforms now"
        )
    earlier = [item.name for item in read.dependencies if item.manager == "conda"]
    if dependency.name in earlier:
        read.notes.append(f"a second line for `{dependency.name}` (line {node.line})")
        return
    read.dependencies.append(dependency)


def _spelt(text: str) -> str:
    """What conda takes and our grammar does not: blanks around `=`, the folder in a channel."""
    channel, colons, rest = text.rpartition("::")
    channel = re.sub(r"/(?:noarch|(?:linux|osx|win)-\w+)$", "", channel)
    return f"{channel}{colons}{rest}".strip()


def _pip(node: Node, read: _Read) -> None:
    """One line of a requirements file, which is what conda makes of it."""
    try:
        found = requirements_txt.read_source(node.value, "")[0]
    except InvalidFile as error:
        read.mistakes.add(node, re.sub(r"^line 1: ", "", error.mistakes[0]))
        return
    read.dependencies += [replace(item, manager="pip") for item in found.dependencies]
    read.indexes += found.indexes
    read.local += found.local
    read.notes += [
        re.sub(r"\(line 1\)", f"(line {node.line})", note)
        for note in found.notes
        if not note.startswith("platform ")
    ]

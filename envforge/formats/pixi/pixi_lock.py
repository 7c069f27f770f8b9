"""pixi.lock, format versions 4 to 7, as rattler_lock writes them.

4 and 5 say `kind: conda` and the package's fields; 6 has `conda: URL`, and what the URL says is
left out; 7 adds platforms with names of their own and packages that are built from source.
Older ones, of pixi before 0.6, are conda-lock's format with other keys, and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

from envforge.errors import InvalidFile
from envforge.formats import archive_name
from envforge.formats.conda.conda_spec import split_depends
from envforge.formats.conda_lock.conda_lock_tree import MD5, SHA256
from envforge.formats.python import python_requirement
from envforge.formats.text import yaml_lines, yaml_text
from envforge.formats.text.yaml_text import Mistakes, Node
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform

VERSIONS: Final = (4, 5, 6, 7)
_REMEDY: Final = "take the file from version control, or let `pixi lock` write it anew"
_KINDS: Final[tuple[tuple[str, Literal["conda", "pip"]], ...]] = (
    ("conda", "conda"),
    ("pypi", "pip"),
    ("conda_source", "conda"),
)
"""Key of a package, and of what an environment names, to who installs it."""

_Place = tuple[str, str]
"""Manager, and address or path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """One entry of `packages:`, which any environment may name."""

    package: LockedPackage
    """Without a platform."""
    is_local: bool
    conditional: tuple[str, ...] = ()
    """Dependencies that a marker excludes for some: they count where the package is there."""


def read_source(text: str, path: str) -> tuple[ImportedEnvironment, ...]:
    """Read every environment, in the order of the file.

    Raises:
        InvalidFile: with every mistake, its line and column; or for a version that is not read.
    """
    root = yaml_lines.parse(text, path)
    mistakes = Mistakes(path)
    top = yaml_text.mapping(root, "the file", mistakes)
    _check_version(top.get("version"), path)
    for key in ("environments", "packages"):
        if key not in top:
            mistakes.add(root, f"`{key}` is missing")
    mistakes.raise_any(_REMEDY)
    reader = _Reader(mistakes)
    reader.read_platforms(top.get("platforms"))
    reader.read_packages(top["packages"])
    environments = tuple(reader.environments(top["environments"]))
    if not environments:
        mistakes.add(top["environments"], "`environments` names none")
    mistakes.raise_any(_REMEDY)
    return environments


def _check_version(node: Node | None, path: str) -> None:
    value = node.value if node else ""
    if value not in map(str, VERSIONS):
        said = f"format version {value}" if value else "no format version"
        place = f"{node.place}: " if node else ""
        raise InvalidFile(
            path=path,
            mistakes=(f"{place}{said}; versions {VERSIONS[0]} to {VERSIONS[-1]} can be read",),
            remedy="`pixi lock` with a current pixi writes it anew",
        )


class _Reader:
    """Goes through one file and keeps what its parts refer to."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._records: dict[_Place, list[_Record]] = {}
        self._subdirs: dict[str, str] = {}

    def read_platforms(self, node: Node | None) -> None:
        """Version 7: a platform may have a name of its own (`linux-64-cuda`)."""
        for item in yaml_text.items(node, "`platforms`", self._mistakes) if node else ():
            fields = self._map(item, "a platform")
            name = self._value(fields, "name")
            self._subdirs[name] = self._value(fields, "subdir") or name

    def read_packages(self, node: Node) -> None:
        for item in yaml_text.items(node, "`packages`", self._mistakes):
            fields = self._map(item, "a package")
            found = _place(fields)
            if found is None:
                self._mistakes.add(item, "a package has neither `conda` nor `pypi` nor `kind`")
                continue
            record = self._record(item, fields, found)
            if record is not None:
                self._records.setdefault(found, []).append(record)

    def _record(self, node: Node, fields: Mapping[str, Node], place: _Place) -> _Record | None:
        manager, address = place
        named = (
            archive_name.parse_conda(address)
            if manager == "conda"
            else archive_name.parse_python(address)
        )
        name = self._value(fields, "name") or (named.name if named else "")
        version = self._value(fields, "version") or (named.version if named else "")
        if not name:
            self._mistakes.add(node, f"`{address}` has no `name`, and its address names none")
            return None
        sha256, md5 = (self._hash(fields, key, name) for key in ("sha256", "md5"))
        depends, conditional = self._depends(fields, manager)
        package = LockedPackage(
            platform="",
            name=name if manager == "conda" else python_requirement.canonical(name),
            manager="conda" if manager == "conda" else "pip",
            version=version,
            build=self._value(fields, "build") or (named.build if named else ""),
            url=address,
            sha256=sha256,
            md5=md5,
            depends=depends,
            constrains=self._texts(fields, "constrains"),
            size=self._number(fields, "size"),
        )
        is_local = "://" not in address or "conda_source" in fields or "editable" in fields
        return _Record(package=package, is_local=is_local, conditional=conditional)

    def _depends(
        self, fields: Mapping[str, Node], manager: str
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if manager == "conda":
            specs = self._texts(fields, "depends")
            return tuple(" ".join(filter(None, split_depends(item))) for item in specs), ()
        return python_requirement.depends(self._texts(fields, "requires_dist"))

    def _hash(self, fields: Mapping[str, Node], key: str, name: str) -> str:
        value = self._value(fields, key)
        rule = SHA256 if key == "sha256" else MD5
        if value and not rule.fullmatch(value):
            self._mistakes.add(
                fields[key], f"`{key}` of package `{name}` is no {key}: `{value[:70]}`"
            )
        return value

    # --- environments -------------------------------------------------------------------

    def environments(self, node: Node) -> Iterator[ImportedEnvironment]:
        for name, item in self._map(node, "`environments`").items():
            fields = self._map(item, f"environment `{name}`")
            records = list(self._environment(name, fields))
            channels = tuple(self._channels(fields))
            platforms = tuple(dict.fromkeys(platform for platform, _ in self._platforms(fields)))
            lock = Lock(
                packages=tuple(sorted(_unique(records))),
                platforms=cast("tuple[Platform, ...]", platforms),
                channels=channels,
                content_hash={},
                sources=("pixi.toml",),
            )
            local = {record.package.name for _, record in records if record.is_local}
            yield ImportedEnvironment(
                name=name,
                lock=lock,
                channels=channels,
                platforms=platforms,
                indexes=self._texts(fields, "indexes"),
                local=tuple(sorted(local)),
                notes=tuple(self._notes(fields)),
            )

    def _platforms(self, fields: Mapping[str, Node]) -> Iterator[tuple[str, Node]]:
        node = fields.get("packages")
        for name, listed in (self._map(node, "`packages`") if node else {}).items():
            yield self._subdirs.get(name, name), listed

    def _environment(
        self, environment: str, fields: Mapping[str, Node]
    ) -> Iterator[tuple[str, _Record]]:
        for platform, listed in self._platforms(fields):
            for item in yaml_text.items(listed, f"`{platform}` of `{environment}`", self._mistakes):
                found = self._find(item)
                if found is not None:
                    yield platform, found

    def _find(self, item: Node) -> _Record | None:
        """The record that an environment names; several of one path differ in further fields."""
        wanted = self._map(item, "a package")
        place = _place(wanted)
        if place is None:
            self._mistakes.add(item, "a package has neither `conda` nor `pypi`")
            return None
        records = self._records.get(place, [])
        keys = [key for key in ("name", "version", "build") if key in wanted]
        fitting = [
            record
            for record in records
            if all(getattr(record.package, key) == wanted[key].value for key in keys)
        ]
        if not fitting:
            self._mistakes.add(item, f"`{place[1]}` is not among `packages`")
            return None
        return fitting[0]

    def _channels(self, fields: Mapping[str, Node]) -> Iterator[str]:
        node = fields.get("channels")
        for item in yaml_text.items(node, "`channels`", self._mistakes) if node else ():
            if item.kind == "scalar":
                yield item.value
            elif url := self._value(self._map(item, "a channel"), "url"):
                yield url.rstrip("/")

    def _notes(self, fields: Mapping[str, Node]) -> Iterator[str]:
        links = fields.get("find-links")
        if links is not None and links.items:
            yield f"wheels from {len(links.items)} `find-links`"
        if "options" in fields:
            options = self._map(fields["options"], "`options`")
            yield from (f"`{key}: {value.value}`" for key, value in options.items() if value.value)

    # --- nodes ----------------------------------------------------------------------------

    def _map(self, node: Node, what: str) -> dict[str, Node]:
        return yaml_text.mapping(node, what, self._mistakes)

    def _value(self, fields: Mapping[str, Node], key: str) -> str:
        """Text that looks like a number is quoted by rattler, so either way it is meant so."""
        node = fields.get(key)
        if node is None:
            return ""
        if node.kind != "scalar":
            self._mistakes.add(node, f"`{key}` is {yaml_text.described(node)}, and should be text")
        return node.value

    def _number(self, fields: Mapping[str, Node], key: str) -> int | None:
        value = self._value(fields, key)
        if value and not value.isdecimal():
            self._mistakes.add(fields[key], f"`{key}` is `{value}`, and should be a number")
            return None
        return int(value) if value else None

    def _texts(self, fields: Mapping[str, Node], key: str) -> tuple[str, ...]:
        node = fields.get(key)
        if node is None:
            return ()
        return tuple(item.value for item in yaml_text.items(node, f"`{key}`", self._mistakes))


def _place(fields: Mapping[str, Node]) -> _Place | None:
    for key, manager in _KINDS:
        if key in fields:
            return manager, fields[key].value
    kind = fields["kind"].value if "kind" in fields else ""
    address = fields.get("url") or fields.get("path")
    of_kind = dict(_KINDS).get(kind)
    return (of_kind, address.value) if of_kind and address else None


def _unique(records: list[tuple[str, _Record]]) -> Iterator[LockedPackage]:
    """Each with its platform; what a marker asks for counts where it was locked."""
    present = {(platform, record.package.name) for platform, record in records}
    for platform, record in records:
        extra = tuple(
            item for item in record.conditional if (platform, item.partition(" ")[0]) in present
        )
        depends = record.package.depends
        if extra:
            depends = tuple(sorted({*depends, *extra}))
        yield replace(record.package, platform=platform, depends=depends)

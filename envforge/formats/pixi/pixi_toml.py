"""pixi.toml, and `[tool.pixi]` of a pyproject.toml: what pixi's environments ask for.

An environment is the default feature and those it names, each with tables for single platforms
(pixi's manifest reference). pixi-build's own tables (`[package]`) are not about environments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from envforge.errors import InvalidFile, InvalidValue
from envforge.formats.conda import conda_spec
from envforge.formats.python import python_requirement
from envforge.formats.text import toml_text
from envforge.model.imported import DEFAULT_ENVIRONMENT, ImportedEnvironment
from envforge.model.spec import Dependency

_CONDA_TABLES: Final = ("dependencies", "host-dependencies", "build-dependencies")
_NOT_ABOUT_ENVIRONMENTS: Final = frozenset(
    {"workspace", "project", "package", "tasks", "environments", "feature", "target", "activation"}
)
_KNOWN_IN_FEATURE: Final = frozenset(
    {
        *_CONDA_TABLES,
        "pypi-dependencies",
        "channels",
        "platforms",
        "target",
        "activation",
        "tasks",
        "system-requirements",
        "pypi-options",
    }
)
_LOCAL: Final = ("path", "git")


@dataclass(slots=True)
class _Asked:
    """What the features of one environment add up to."""

    dependencies: dict[tuple[str, str], Dependency] = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)
    platforms: list[str] | None = None
    indexes: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    local: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_source(text: str, path: str) -> tuple[ImportedEnvironment, ...]:
    """Read every environment; the default one first.

    Raises:
        InvalidFile: no TOML, or with every dependency that cannot be read and its line.
    """
    return _Reader(text, path, toml_text.parse(text, path)).environments()


class _Reader:
    def __init__(self, text: str, path: str, document: dict[str, Any]) -> None:
        self._text, self._path = text, path
        self._mistakes: list[str] = []
        tool = _table(_table(document, "tool"), "pixi")
        self._project = _table(document, "project") if tool else {}
        self._top = tool or document
        self._workspace = _table(self._top, "workspace") or _table(self._top, "project")
        if not self._workspace:
            raise InvalidFile(path=path, mistakes=("it has no `[workspace]` and no `[project]`",))

    def environments(self) -> tuple[ImportedEnvironment, ...]:
        named = self._top.get("environments", {})
        if not isinstance(named, dict):
            self._mistakes.append(f"{self._line('environments')}`environments` is no table")
            named = {}
        listed = {DEFAULT_ENVIRONMENT: named.get(DEFAULT_ENVIRONMENT, []), **named}
        found = tuple(self._environment(name, value) for name, value in listed.items())
        if self._mistakes:
            raise InvalidFile(path=self._path, mistakes=tuple(dict.fromkeys(self._mistakes)))
        return found

    def _environment(self, name: str, value: object) -> ImportedEnvironment:
        features: Sequence[Any] = ()
        only = False
        if isinstance(value, dict):
            features, only = value.get("features", ()), bool(value.get("no-default-feature"))
        elif isinstance(value, list):
            features = value
        else:
            self._mistakes.append(f"{self._line(name)}environment `{name}` is no list of features")
        asked = _Asked()
        for title, feature in self._features(name, features, only=only):
            self._add(feature, title, asked)
        self._add_workspace(asked)
        platforms = asked.platforms if asked.platforms is not None else []
        return ImportedEnvironment(
            name=name,
            dependencies=tuple(asked.dependencies.values()),
            channels=tuple(dict.fromkeys(asked.channels)),
            platforms=tuple(platforms),
            indexes=tuple(dict.fromkeys(asked.indexes)),
            variables=asked.variables,
            local=tuple(dict.fromkeys(asked.local)),
            notes=tuple(dict.fromkeys(asked.notes)),
        )

    def _features(
        self, environment: str, names: Sequence[Any], *, only: bool
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Those named, then the default one, which has the least say (pixi's documentation)."""
        tables = _table(self._top, "feature")
        for name in names:
            if str(name) not in tables:
                self._mistakes.append(
                    f"{self._line(environment)}environment `{environment}` names the feature"
                    f" `{name}`, which is not there"
                )
                continue
            yield f"feature.{name}", _table(tables, str(name))
        if not only:
            yield "", self._top

    def _add(self, feature: Mapping[str, Any], title: str, asked: _Asked) -> None:
        for table in _CONDA_TABLES:
            for name, value in _table(feature, table).items():
                self._conda(name, value, asked)
        for name, value in _table(feature, "pypi-dependencies").items():
            self._pip(name, value, asked)
        for target, table in _table(feature, "target").items():
            self._target(target, table, asked)
        asked.channels += map(_channel, _items(feature, "channels"))
        if "platforms" in feature and title:
            own = [_platform(item) for item in _items(feature, "platforms")]
            before = asked.platforms
            asked.platforms = own if before is None else [item for item in before if item in own]
        asked.variables = {
            **{key: str(item) for key, item in _activation(feature).items()},
            **asked.variables,
        }
        self._options(feature, title, asked)

    def _options(self, feature: Mapping[str, Any], title: str, asked: _Asked) -> None:
        options = _table(feature, "pypi-options")
        for key, value in options.items():
            if key in ("index-url", "extra-index-urls"):
                asked.indexes += [value] if isinstance(value, str) else list(map(str, value))
            else:
                asked.notes.append(f"`pypi-options.{key}`")
        for key, value in _table(feature, "system-requirements").items():
            asked.notes.append(f"`system-requirements.{key} = {value}`")
        if scripts := _table(feature, "activation").get("scripts"):
            asked.notes.append(f"activation scripts {', '.join(map(str, scripts))}")
        if _table(feature, "tasks"):
            asked.notes.append(f"the tasks {', '.join(sorted(_table(feature, 'tasks')))}")
        known = _KNOWN_IN_FEATURE | (_NOT_ABOUT_ENVIRONMENTS if not title else frozenset())
        prefix = f"{title}." if title else ""
        asked.notes += [
            f"`{prefix}{key}`" for key in feature if key not in known and key[:1] != "$"
        ]

    def _target(self, platform: str, table: object, asked: _Asked) -> None:
        """One environment.yml holds for every platform alike."""
        if not isinstance(table, dict):
            return
        names = [
            name for part in (*_CONDA_TABLES, "pypi-dependencies") for name in _table(table, part)
        ]
        if names:
            asked.notes.append(f"for {platform} only: {', '.join(names)}")
        if _activation(table):
            asked.notes.append(f"variables for {platform} only: {', '.join(_activation(table))}")

    def _add_workspace(self, asked: _Asked) -> None:
        asked.channels += map(_channel, _items(self._workspace, "channels"))
        own = [_platform(item) for item in _items(self._workspace, "platforms")]
        asked.platforms = (
            own
            if asked.platforms is None
            else [item for item in asked.platforms if not own or item in own]
        )
        requires = self._project.get("requires-python")
        if isinstance(requires, str) and ("conda", "python") not in asked.dependencies:
            self._conda("python", requires, asked)
        for text in _items(self._project, "dependencies"):
            try:
                found = conda_spec.parse_pip(str(text))
            except InvalidValue as error:
                self._mistakes.append(f"{self._line('dependencies')}{error}")
                continue
            asked.dependencies.setdefault(("pip", found.name), found)

    def _conda(self, name: str, value: object, asked: _Asked) -> None:
        fields = value if isinstance(value, dict) else {"version": value}
        if any(key in fields for key in (*_LOCAL, "url")):
            asked.local.append(name)
            return
        version = str(fields.get("version", "")).replace(" ", "")
        spec = name if version in {"", "*"} else f"{name}{_with_operator(version)}"
        try:
            found = conda_spec.parse(spec)
        except InvalidValue as error:
            self._mistakes.append(f"{self._line(name)}{error}")
            return
        build, channel = str(fields.get("build", "")), fields.get("channel")
        asked.dependencies.setdefault(
            ("conda", found.name),
            Dependency(
                name=found.name,
                version=found.version,
                build=build,
                channel=str(channel).rstrip("/") if channel else None,
            ),
        )

    def _pip(self, name: str, value: object, asked: _Asked) -> None:
        fields = value if isinstance(value, dict) else {"version": value}
        canonical = python_requirement.canonical(name)
        if any(key in fields for key in _LOCAL):
            asked.local.append(canonical)
            return
        if fields.get("index"):
            asked.indexes.append(str(fields["index"]))
        version = str(fields.get("version", "")).replace(" ", "")
        extras = _items(fields, "extras")
        listed = f"[{','.join(map(str, extras))}]" if extras else ""
        text = f"{canonical}{listed}{'' if version == '*' else version}"
        if fields.get("url"):
            text = f"{canonical}{listed} @ {fields['url']}"
        if fields.get("env-markers"):
            text += f" ; {fields['env-markers']}"
        try:
            found = conda_spec.parse_pip(text)
        except InvalidValue as error:
            self._mistakes.append(f"{self._line(name)}{error}")
            return
        asked.dependencies.setdefault(("pip", found.name), found)

    def _line(self, key: str) -> str:
        number = toml_text.line_of(self._text, key)
        return f"line {number}: " if number else ""


def _with_operator(version: str) -> str:
    """A bare `1.2` is read as conda does: exactly that version, unless it has a star."""
    if version[0] in "<>=!~":
        return version
    return f" {version}" if "*" in version else f"=={version}"


def _table(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _items(parent: Mapping[str, Any], key: str) -> list[Any]:
    found = parent.get(key)
    return found if isinstance(found, list) else []


def _activation(parent: Mapping[str, Any]) -> dict[str, Any]:
    return _table(_table(parent, "activation"), "env")


def _channel(item: object) -> str:
    """A name, an address, or a table with a priority of its own."""
    return str(item.get("channel", "") if isinstance(item, dict) else item).rstrip("/")


def _platform(item: object) -> str:
    """A name, or since pixi 0.60 a table with a subdir and virtual packages."""
    if isinstance(item, dict):
        return str(item.get("platform") or item.get("subdir") or item.get("name") or "")
    return str(item)

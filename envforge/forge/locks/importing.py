"""Reading what exists: other tools' files and live environments, as `Imported`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final

from envforge.adapters import conda_registry, files
from envforge.errors import InvalidFile, InvalidValue, NoSuchEnvironment
from envforge.forge.workplace import Workplace
from envforge.formats import source_kind
from envforge.model.imported import Imported, ImportedEnvironment, Kind

Beside = Mapping[str, str]
"""Files that lie beside one that is read: name to text."""

_READERS: Final[Mapping[str, str]] = {
    "conda-lock.yml": "conda_lock.conda_lock_source",
    "pixi.lock": "pixi.pixi_lock",
    "pixi.toml": "pixi.pixi_toml",
    "explicit": "conda.explicit",
    "pylock.toml": "python.pylock_source",
    "environment.yml": "conda.environment_source",
    "Dockerfile": "images.dockerfile",
}
"""The module of `formats` whose `read_source(text, path)` reads it."""

_IN_FOLDER: Final = (
    "conda-lock.yml",
    "pixi.lock",
    "pylock.toml",
    "environment.yml",
    "environment.yaml",
    "pixi.toml",
    "pyproject.toml",
    "requirements.txt",
    "Dockerfile",
)
"""What is looked for in a folder, the most exact first."""

_ENDINGS: Final = (".yml", ".yaml", ".lock", ".toml", ".txt", "Dockerfile")
"""How the name of a file ends; no environment's does."""

_ASKED_IN: Final[Mapping[Kind, tuple[str, ...]]] = {
    "conda-lock.yml": ("environment.yml", "environment.yaml"),
    "pixi.lock": ("pixi.toml", "pyproject.toml"),
}
"""Where the direct dependencies of a lock stand."""


_DEEPEST: Final = 5
"""Requirements files that include each other."""
_MOST_INCLUDED: Final = 100


def read_source(workplace: Workplace, source: str | Path) -> Imported:
    """Read a file, a folder, a conda prefix, or an environment by its name.

    Raises:
        InvalidFile: it cannot be read as what it is, with line and reason.
        NoSuchEnvironment: neither a path nor the name of an environment.
        InvalidValue: it is empty, as an unset variable in a script is.
        FileNotUsable: it may not be read.
    """
    if not source:
        raise InvalidValue(what="source", value="", reason="is an empty name")
    path = Path(source).expanduser()
    if files.is_folder(path):
        return _folder(path, str(source))
    if files.is_there(path):
        return _file(path, str(source))
    return _folder(_by_name(workplace, str(source)), str(source))


def split_name(source: str) -> tuple[str, str | None]:
    """Take `#NAME` off, which chooses one environment in a file, unless a file is called so."""
    file, separator, name = source.rpartition("#")
    return (file, name) if separator and not files.is_there(Path(source)) else (source, None)


def read_text(text: str, name: str, *, beside: Beside | None = None) -> Imported:
    """Read a text.

    Args:
        text: all of it.
        name: of the file it is from; tells the format where the content leaves it open.
        beside: texts of files that lie beside it: what a lock was made from.

    Raises:
        InvalidFile: with line and reason.
    """
    text = text.removeprefix("\ufeff")
    kind = source_kind.kind_of(text, name)
    if kind == "requirements.txt":
        from envforge.formats.python import requirements_txt  # brings `packaging` along

        environments = requirements_txt.read_source(text, name, beside)
    else:
        environments = _reader(kind)(text, name)
    for other in _ASKED_IN.get(kind, ()):
        if beside and other in beside:
            environments = _with_asked(environments, beside[other], other)
            break
    return Imported(origin=name, kind=kind, environments=environments)


def _reader(kind: str) -> Callable[[str, str], tuple[ImportedEnvironment, ...]]:
    module = import_module(f"envforge.formats.{_READERS[kind]}")
    reader: Callable[[str, str], tuple[ImportedEnvironment, ...]] = module.read_source
    return reader


def _with_asked(
    environments: tuple[ImportedEnvironment, ...], text: str, name: str
) -> tuple[ImportedEnvironment, ...]:
    """A lock's environments with what was asked for; files that do not belong together stay so."""
    try:
        asked = read_text(text, name).environments
    except InvalidFile:
        return environments
    by_name = {item.name: item for item in asked}
    only = asked[0] if len(asked) == len(environments) == 1 else None
    return tuple(
        replace(
            item,
            name=item.name or found.name,
            dependencies=found.dependencies,
            variables=item.variables or found.variables,
            notes=(*item.notes, *found.notes),
        )
        if (found := only or by_name.get(item.name))
        else item
        for item in environments
    )


def _file(path: Path, origin: str) -> Imported:
    text = files.read_text(path)
    beside = _asked_beside(path)
    if source_kind.kind_of(text.removeprefix("\ufeff"), str(path)) == "requirements.txt":
        _include(path.parent, text, beside)
    return replace(read_text(text, str(path), beside=beside), origin=origin)


def _asked_beside(path: Path) -> dict[str, str]:
    wanted = {name for names in _ASKED_IN.values() for name in names} - {path.name}
    return {
        name: files.read_text(path.parent / name)
        for name in sorted(wanted)
        if files.is_file(path.parent / name)
    }


def _include(folder: Path, text: str, found: dict[str, str], depth: int = 0) -> None:
    """Add the files that lines `-r NAME` of a requirements file name, those in them included.

    Each is read once, and not without end: they may name each other.
    """
    from envforge.formats.python import requirements_txt

    names = requirements_txt.included(text) if depth < _DEEPEST else ()
    for name in names:
        path = folder / name
        is_new = name not in found and len(found) < _MOST_INCLUDED
        if is_new and "://" not in name and files.is_file(path):
            found[name] = files.read_text(path)
            _include(path.parent, found[name], found, depth + 1)


def _folder(path: Path, origin: str) -> Imported:
    if files.is_folder(path / "conda-meta"):
        from envforge.adapters import prefix_source

        environment = prefix_source.read_source(path)
        return Imported(origin=origin, kind="prefix", environments=(environment,))
    for name in _IN_FOLDER:
        if files.is_there(path / name) and (
            name != "pyproject.toml" or "[tool.pixi" in files.read_text(path / name)
        ):
            return _file(path / name, origin)
    raise InvalidFile(
        path=str(path),
        mistakes=(f"the folder holds none of {', '.join(_IN_FOLDER)}, and is no conda prefix",),
        remedy="name the file itself",
    )


def _by_name(workplace: Workplace, name: str) -> Path:
    """The folder of an environment of ours, else an installed conda environment of that name."""
    try:
        return workplace.environments.locate(name)
    except NoSuchEnvironment:
        registered = conda_registry.registered(workplace.settings.home)
        for prefix in (workplace.settings.prefixes / name, *registered):
            if prefix.name == name and files.is_folder(prefix / "conda-meta"):
                return prefix
        if name.endswith(_ENDINGS):
            raise InvalidFile(path=name, mistakes=("it does not exist",)) from None
        raise

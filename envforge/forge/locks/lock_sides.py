"""Where locks are found: environments, files, installed prefixes and revisions of git."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.adapters.environments import (
    CONDA_LOCK_YML,
    ENVIRONMENT_YML,
    FILES,
    MODELS_LOCK_YML,
)
from envforge.adapters.files import is_folder, is_there, read_text
from envforge.errors import InvalidFile, InvalidValue, NoSuchEnvironment
from envforge.forge.locks import importing
from envforge.forge.workplace import Workplace
from envforge.model.imported import Imported, Kind
from envforge.model.lock import Lock

if TYPE_CHECKING:
    from envforge.adapters.git import Git
    from envforge.model.models import ModelsLock

STDIN: Final = "-"
INSTALLED: Final = "installed:"
_HEAD: Final = "HEAD"
_BOTH: Final = "name both sides: `envforge diff OLD NEW`"
_LOCKS: Final = (CONDA_LOCK_YML, "pixi.lock", "pylock.toml", "requirements.txt")
"""What is compared of a folder in a revision."""
_ONE_PLATFORM: Final[frozenset[Kind]] = frozenset(
    {"prefix", "explicit", "requirements.txt", "pylock.toml"}
)
"""Sources that hold one platform, whatever others the environment is locked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two locks."""

    shown: str
    lock: Lock
    asked: frozenset[str] | None = None
    """Names of direct dependencies; None: not known."""
    models: ModelsLock | None = None
    one_platform: bool = False
    """Whether it says nothing of other platforms."""
    notes: tuple[str, ...] = ()


def side(workplace: Workplace, name: str) -> Side:
    """Read one side; see `diff` for what it may be."""
    source, environment = importing.split_name(name)
    if source == STDIN:
        return _side(name, importing.read_text(sys.stdin.read(), "standard input"), environment)
    if source.startswith(INSTALLED):
        from envforge.forge.prefixes import locating

        folder = workplace.environments.locate(source.removeprefix(INSTALLED))
        prefix = locating.usable_prefix(workplace, folder, None)
        found = _side(name, importing.read_source(workplace, prefix), environment)
        return replace(found, asked=_asked(importing.read_source(workplace, folder), None))
    if _is_revision(source):
        return _of_revision(workplace, name, source, environment)
    models = _models_beside(workplace, source)
    return _side(name, importing.read_source(workplace, source), environment, models)


def _is_revision(source: str) -> bool:
    """`HEAD~1:envs/x`; neither a file of that name, nor a path with a drive."""
    revision, separator, _ = source.partition(":")
    return bool(separator) and len(revision) > 1 and not is_there(Path(source))


def _side(
    shown: str, imported: Imported, environment: str | None, models: ModelsLock | None = None
) -> Side:
    chosen = imported.choose(environment)
    if chosen.lock is None:
        raise InvalidFile(
            path=imported.origin,
            mistakes=("it says what is asked for, and pins nothing: a lock is needed here",),
            remedy="name a lock file, an environment that is locked, or a conda prefix",
        )
    return Side(
        shown=shown,
        lock=chosen.lock,
        asked=_asked(imported, environment),
        models=models,
        one_platform=imported.kind in _ONE_PLATFORM,
        notes=tuple(f"{shown}: {note}" for note in chosen.notes),
    )


def _asked(imported: Imported, environment: str | None) -> frozenset[str] | None:
    return frozenset(item.name for item in imported.choose(environment).dependencies) or None


def _models_beside(workplace: Workplace, source: str) -> ModelsLock | None:
    """The models of an environment of ours, or of the folder that a lock lies in."""
    path = Path(source).expanduser()
    if not is_folder(path):
        path = path.parent if path.name in FILES else _folder_named(workplace, source)
    file = path / MODELS_LOCK_YML
    if not is_there(file):
        return None
    from envforge.forge.caching import model_files

    return model_files.parse_lock(read_text(file), str(file))


def _folder_named(workplace: Workplace, source: str) -> Path:
    try:
        return workplace.environments.locate(source)
    except NoSuchEnvironment:
        return Path(source)


def against_work(workplace: Workplace, name: str) -> tuple[str, str]:
    """Both sides where one was named: what is committed, and what lies in the folder."""
    source, environment = importing.split_name(name)
    suffix = f"#{environment}" if environment else ""
    if _is_revision(source):
        committed = source.partition(":")[2]
        if not is_there(Path(committed)) and "/" in committed:
            committed = str(_git(workplace).top() / committed)
        return name, f"{committed}{suffix}"
    path = Path(source) if is_there(Path(source)) else workplace.environments.locate(source)
    committed = f"{_HEAD}:{in_repository(workplace, path)}"
    if _git(workplace).kind(committed) is None:
        raise InvalidValue(
            what="path",
            value=str(path),
            reason="was never committed, so there is nothing to compare it with",
            remedy=f"commit it, or {_BOTH}",
        )
    return f"{committed}{suffix}", name


def _git(workplace: Workplace) -> Git:
    from envforge.adapters.git import Git

    return Git(workplace.processes, workplace.settings.environment, Path.cwd())


def in_repository(workplace: Workplace, path: Path, remedy: str = _BOTH) -> str:
    """A path as revisions name it: from the top of the repository.

    Raises:
        InvalidValue: it is in none, or in another than the folder we stand in.
    """
    full = path.resolve()
    top = _git(workplace).top(remedy=remedy).resolve()
    if not full.is_relative_to(top):
        raise InvalidValue(
            what="path",
            value=str(path),
            reason=f"is not in the repository `{top}`",
            remedy=remedy,
        )
    return full.relative_to(top).as_posix()


def _of_revision(workplace: Workplace, shown: str, source: str, environment: str | None) -> Side:
    git = _git(workplace)
    revision, _, path = source.partition(":")
    for place in _places(workplace, git, path):
        kind = git.kind(f"{revision}:{place}")
        if kind == "tree":
            return _of_tree(git, shown, f"{revision}:{place}", environment)
        if kind == "blob":
            folder, _, file = place.rpartition("/")
            return _of_tree(git, shown, f"{revision}:{folder}", environment, file)
    git.top(remedy="revisions are read from inside a clone")
    raise InvalidValue(
        what="revision",
        value=source,
        reason="names nothing that git knows here",
        remedy="as git writes it: `HEAD~1:envs/NAME`, from the top of the repository",
    )


def _places(workplace: Workplace, git: Git, path: str) -> Iterator[str]:
    """What a path in a revision may mean, from the top of the repository.

    As git reads it; from the folder we stand in; the name of an environment.
    """
    here = posixpath.normpath(posixpath.join(git.prefix(), path)).removeprefix(".")
    if not path.startswith(("./", "../")) and path not in {".", ".."}:
        yield path.rstrip("/")
    yield here
    if path and "/" not in path:
        yield in_repository(workplace, workplace.environments.folder(path))


def _of_tree(
    git: Git, shown: str, tree: str, environment: str | None, file: str | None = None
) -> Side:
    """A folder of a revision, or one file of it."""
    inside = tree if tree.endswith(":") else f"{tree}/"
    names = set(git.names(tree))
    chosen = file or next((name for name in _LOCKS if name in names), None)
    if chosen is None:
        raise InvalidFile(path=shown, mistakes=(f"the folder holds none of {', '.join(_LOCKS)}",))
    asked_in: tuple[str, ...] = (ENVIRONMENT_YML, "pixi.toml", "pyproject.toml")
    beside = {
        name: git.text(f"{inside}{name}") for name in asked_in if name in names and name != chosen
    }
    imported = importing.read_text(git.text(f"{inside}{chosen}"), chosen, beside=beside)
    models = None
    if MODELS_LOCK_YML in names and chosen == CONDA_LOCK_YML:
        from envforge.forge.caching import model_files

        text = git.text(f"{inside}{MODELS_LOCK_YML}")
        models = model_files.parse_lock(text, f"{inside}{MODELS_LOCK_YML}")
    return _side(shown, replace(imported, origin=shown), environment, models)

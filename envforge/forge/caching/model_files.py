"""models.yml and models-lock.yml of an environment's folder, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envforge.adapters.environments import MODELS_LOCK_YML, MODELS_YML
from envforge.adapters.files import is_folder, is_there
from envforge.cache import layout, lock_check
from envforge.errors import HostileRepo, InvalidFile, InvalidValue, StaleLock
from envforge.forge.workplace import Workplace
from envforge.formats.models import models_lock_yml, models_yml
from envforge.formats.models.models_yml import ModelsDocument
from envforge.model.models import ModelsLock


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """What one folder says of models."""

    path: Path
    document: ModelsDocument | None
    """None: there is no models.yml."""
    lock: ModelsLock | None
    """None: there is no models-lock.yml."""

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Why the lock is not what models.yml asks for; empty: they agree."""
        if self.document is None:
            return (f"there is a {MODELS_LOCK_YML} and no {MODELS_YML}",) if self.lock else ()
        if self.lock is None:
            return (f"there is no {MODELS_LOCK_YML}",) if self.document.requests else ()
        return lock_check.disagreements(self.document.requests, self.lock)


def locate(workplace: Workplace, env: str) -> Path:
    """The folder of an environment, or one that is named by its path and holds models only.

    Raises:
        NoSuchEnvironment: with the nearest names.
    """
    path = Path(env)
    if path.name in {MODELS_YML, MODELS_LOCK_YML} and is_there(path):
        return path.parent.resolve()
    if ("/" in env or env == ".") and is_folder(path) and _has_models(path):
        return path.resolve()
    return workplace.environments.locate(env)


def with_models(workplace: Workplace) -> tuple[Path, ...]:
    """The folders of all environments that have models."""
    folders = map(workplace.environments.folder, workplace.environments.names())
    return tuple(folder for folder in folders if _has_models(folder))


def _has_models(folder: Path) -> bool:
    return is_there(folder / MODELS_YML) or is_there(folder / MODELS_LOCK_YML)


def read(workplace: Workplace, folder: Path, *, replacing_lock: bool = False) -> ModelFolder:
    """Read what is there.

    Args:
        workplace: where the folder lies.
        folder: of an environment.
        replacing_lock: a lock that cannot be read is about to be written anew: go on without it.

    Raises:
        InvalidFile: one of them cannot be read.
        HostileRepo: the lock names a file that would leave its folder.
    """
    text = workplace.environments.read(folder, MODELS_YML)
    return ModelFolder(
        path=folder,
        document=None if text is None else models_yml.read(text, str(folder / MODELS_YML)),
        lock=_old_lock(workplace, folder) if replacing_lock else read_lock(workplace, folder),
    )


def _old_lock(workplace: Workplace, folder: Path) -> ModelsLock | None:
    try:
        return read_lock(workplace, folder)
    except (InvalidFile, HostileRepo) as error:
        workplace.reporter.warn(f"{error}; it is written anew")
        return None


def read_lock(workplace: Workplace, folder: Path) -> ModelsLock | None:
    """The lock of a folder; None: there is none.

    Raises:
        InvalidFile: it cannot be read.
        HostileRepo: it names a file that would leave its folder.
    """
    text = workplace.environments.read(folder, MODELS_LOCK_YML)
    return None if text is None else parse_lock(text, str(folder / MODELS_LOCK_YML))


def parse_lock(text: str, path: str) -> ModelsLock:
    """A lock that anybody may have written.

    Raises:
        InvalidFile: it cannot be read.
        HostileRepo: it names a file that would leave its folder.
    """
    lock = models_lock_yml.read(text, path)
    for model in lock.models:
        layout.check_tree(model.repo.shown, [item.path for item in model.files])
    return lock


def no_models(name: str) -> InvalidValue:
    """What to say of an environment that was named, and has none."""
    return InvalidValue(
        what="environment",
        value=name,
        reason="has no models",
        remedy=f"`envforge cache lock {name} --model org/name` adds one",
    )


def current_lock(workplace: Workplace, env: str) -> ModelsLock:
    """The lock of an environment, seen to be what its models.yml asks for.

    Raises:
        StaleLock: it is not, or is missing.
        InvalidFile, HostileRepo: it cannot be used.
        InvalidValue: the environment has no models.
    """
    folder = read(workplace, locate(workplace, env))
    if folder.disagreements:
        raise StaleLock(
            path=str(folder.path / MODELS_LOCK_YML),
            reasons=folder.disagreements,
            remedy=f"`envforge cache lock {folder.path.name}`",
        )
    return folder.lock or ModelsLock(models=())

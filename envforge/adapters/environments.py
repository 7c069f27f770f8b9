"""The folders of environments: found by name, read, and written so that none is ever half there."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from envforge.adapters.files import is_folder, read_text, unusable, write_text
from envforge.errors import FileNotUsable, InvalidFile, InvalidValue, NoSuchEnvironment

ENVIRONMENT_YML: Final = "environment.yml"
VIRTUAL_PACKAGES_YML: Final = "virtual-packages.yml"
CONDA_LOCK_YML: Final = "conda-lock.yml"
MODELS_YML: Final = "models.yml"
MODELS_LOCK_YML: Final = "models-lock.yml"
FILES: Final = (
    ENVIRONMENT_YML,
    VIRTUAL_PACKAGES_YML,
    CONDA_LOCK_YML,
    MODELS_YML,
    MODELS_LOCK_YML,
)
"""In the order they are written: a lock after its source: an interruption leaves it stale."""


class Environments:
    """All folders under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> tuple[str, ...]:
        """Names of the folders that hold an environment.yml or a lock, sorted.

        A folder that may not be looked into is one too: reading it says why.

        Raises:
            InvalidFile: a file is where the folder belongs.
            FileNotUsable: the folder may not be listed.
        """
        self.check_root()
        if not _exists(self.root):
            return ()
        try:
            names = os.listdir(self.root)  # noqa: PTH208 - names only
        except OSError as error:
            raise unusable(self.root, error) from error
        return tuple(
            sorted(
                name for name in names if not name.startswith(".") and self._is_environment(name)
            )
        )

    def _is_environment(self, name: str) -> bool:
        try:
            return _holds_environment(self.root / name)
        except FileNotUsable:
            return True

    def check_root(self) -> None:
        """See that the root is a folder, or may become one.

        Raises:
            InvalidFile: something else is there.
            FileNotUsable: the way there may not be gone.
        """
        if _exists(self.root) and not self.root.is_dir():
            raise InvalidFile(
                path=str(self.root),
                mistakes=("a file is where the folder of environments belongs",),
                remedy="name another folder with `--envs`, or move the file away",
            )

    def check_place(self, folder: Path) -> None:
        """See, before there is anything to write, that nothing is in its way.

        Raises:
            InvalidFile: the root, or the folder itself, is something else.
            FileNotUsable: the way there may not be gone.
        """
        self.check_root()
        if _exists(folder) and not folder.is_dir():
            raise InvalidFile(
                path=str(folder),
                mistakes=("a file is where the environment's folder belongs",),
                remedy="move it away, or choose another project name",
            )

    def is_taken(self, folder: Path) -> bool:
        """Whether the folder is there and holds anything at all.

        Raises:
            FileNotUsable: it may not be listed.
        """
        try:
            return _exists(folder) and any(folder.iterdir())
        except OSError as error:
            raise unusable(folder, error) from error

    def folder(self, name: str) -> Path:
        """Where an environment of this name lies, or will."""
        return self.root / name

    def locate(self, env: str) -> Path:
        """Find a folder by its name, a unique beginning of it, or its path.

        Raises:
            InvalidValue: an empty name, as an unset variable in a script gives it.
            NoSuchEnvironment: with the nearest names.
            FileNotUsable: the path, or the folder of environments, may not be read.
        """
        if not env:
            raise InvalidValue(what="environment", value=env, reason="is an empty name")
        as_path = Path(env)
        if as_path.name in FILES and _exists(as_path):
            return as_path.parent.resolve()
        if ("/" in env or env == ".") and _holds_environment(as_path):
            return as_path.resolve()
        names = self.names()
        name = env.rstrip("/")  # as a shell completes the name of a folder
        if name in names:
            return self.root / name
        starting = [one for one in names if one.startswith(f"{name}-torch")]
        if len(starting) == 1:
            return self.root / starting[0]
        nearest = starting or _nearest(name, names)
        raise NoSuchEnvironment(
            name=env,
            searched=str(self.root),
            nearest=tuple(nearest),
            also=f"`{env}` is a folder without {CONDA_LOCK_YML}" if is_folder(as_path) else "",
        )

    def read(self, folder: Path, file: str) -> str | None:
        """The text of one of the files; None: it does not exist.

        Raises:
            FileNotUsable: it exists and cannot be read.
        """
        path = folder / file
        return read_text(path) if _exists(path) else None

    def write(self, folder: Path, files: Mapping[str, str]) -> bool:
        """Write what has changed; a new folder appears whole or not at all.

        Returns:
            Whether anything was written.

        Raises:
            FileNotUsable: read-only, full, or something else is in the way.
        """
        self.check_place(folder)
        if not _exists(folder) and self._write_new(folder, files):
            return True
        changed = [name for name in files if self.read(folder, name) != files[name]]
        for name in sorted(changed, key=FILES.index):
            write_text(folder / name, files[name])
        return bool(changed)

    def delete(self, folder: Path) -> None:
        """Remove a folder with all that is in it.

        Raises:
            FileNotUsable: it may not be removed.
        """
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise unusable(folder, error) from error

    def _write_new(self, folder: Path, files: Mapping[str, str]) -> bool:
        """False: another process has made the folder meanwhile."""
        aside = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}.tmp")
        try:
            try:
                aside.mkdir(parents=True)
                for name, text in files.items():
                    write_text(aside / name, text)
                return _take_place(aside, folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise unusable(folder, error) from error


def _holds_environment(folder: Path) -> bool:
    return _exists(folder / ENVIRONMENT_YML) or _exists(folder / CONDA_LOCK_YML)


def _exists(path: Path) -> bool:
    """Whether something has this name, a broken link included.

    Raises:
        FileNotUsable: that cannot be told: a folder on the way may not be entered.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable(path, error) from error
    return True


def _take_place(aside: Path, folder: Path) -> bool:
    try:
        aside.rename(folder)
    except OSError:
        if folder.is_dir():
            return False
        raise
    return True


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    """Names that somebody may have meant: alike as a whole, or in the project's part."""
    by_project = {one.partition("-torch")[0]: one for one in names}
    alike = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return alike or [by_project[one] for one in difflib.get_close_matches(name, by_project)]

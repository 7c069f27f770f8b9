"""`ROOT/NAME` leads to one of `ROOT/.versions/NAME/NNNN-digest/`; each lies there with its record.

A version is built where it stays, since a conda environment cannot be moved. It counts as one only
with its record, which is written last; what has none is what an interruption left.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from envforge.adapters.environments import FILES
from envforge.adapters.files import read_start, read_text, unusable, write_text
from envforge.adapters.locking import hold
from envforge.adapters.publishing import freezing
from envforge.errors import FileNotUsable, InvalidFile, NotPublished
from envforge.formats.text import json_text
from envforge.model.published import PublishedVersion

_VERSIONS: Final = ".versions"
_VERSION: Final = re.compile(r"(\d{4,})-([0-9a-f]{8})")
_LAST: Final = 1e11
"""No record is from a later second: it would be the year 5138."""
_LEFTOVER: Final = re.compile(r"\..+\.(?:going-)?[0-9a-f]{8}(?:\.tmp)?")


@dataclass(frozen=True, slots=True)
class PublishedRoot:
    """All versions of one published environment.

    Args:
        root: the folder that people know.
        name: the environment's.
    """

    root: Path
    name: str

    @property
    def link(self) -> Path:
        """What people use."""
        return self.root / self.name

    @property
    def folder(self) -> Path:
        """Where the versions lie."""
        return self.root / _VERSIONS / self.name

    def hold(self, waiting: Callable[[str], None]) -> AbstractContextManager[None]:
        """One at a time publishes, goes back or removes."""
        return hold(self.folder / ".lock", waiting=waiting)

    def check(self) -> None:
        """See that the link's place is free for it, before anything is built.

        Raises:
            NotPublished: something else is there, or another user's folder.
        """
        if self.link.is_symlink():
            if not _is_ours(os.readlink(self.link), self.name):  # noqa: PTH115 - as text
                raise self._in_the_way("a link to somewhere else")
        elif self.link.exists():
            raise self._in_the_way("a folder" if self.link.is_dir() else "a file")

    def _in_the_way(self, what: str) -> NotPublished:
        return NotPublished(
            name=self.name,
            root=str(self.root),
            reason=f"`{self.link}` is {what}, which publishing did not make",
            remedy="move it away, or publish under another folder",
        )

    def versions(self) -> tuple[PublishedVersion, ...]:
        """All that were ever whole, oldest first.

        Raises:
            FileNotUsable: they cannot be read.
            InvalidFile: a record is damaged.
        """
        try:
            names = sorted(os.listdir(self.folder))  # noqa: PTH208 - names only
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise unusable(self.folder, error) from error
        current = self._current()
        found = [
            self._read(self.folder / name, is_current=name.removesuffix(".json") == current)
            for name in names
            if name.endswith(".json") and _VERSION.fullmatch(name.removesuffix(".json"))
        ]
        if current in names and f"{current}.json" not in names and _VERSION.fullmatch(current):
            found.append(_without_record(self.folder / current))
        return tuple(sorted(found, key=lambda item: item.number))

    def current(self) -> PublishedVersion | None:
        """The one that the link leads to."""
        return next((item for item in self.versions() if item.is_current), None)

    def _current(self) -> str | None:
        try:
            return Path(os.readlink(self.link)).name  # noqa: PTH115
        except OSError:
            return None

    def _read(self, path: Path, *, is_current: bool) -> PublishedVersion:
        try:
            found: Any = json_text.parse(read_start(str(path)))
            return PublishedVersion(
                number=_number(path),
                prefix=path.with_suffix(""),
                digest=str(found["digest"]),
                published=_time(found["published"]),
                retired=None if found["retired"] is None else _time(found["retired"]),
                is_current=is_current,
            )
        except OSError as error:
            raise unusable(path, error) from error
        except (ValueError, TypeError, KeyError) as error:
            what = "stays the current one" if is_current else "goes when one is published"
            raise InvalidFile(
                path=str(path),
                mistakes=(f"it is no record of a published version ({error})",),
                remedy=f"restore it, or remove it: the version {what}",
            ) from error

    def place(self, digest: str) -> PublishedVersion:
        """Where the next version is built: what an interruption left of it, else a new number.

        Raises:
            FileNotUsable
        """
        unfinished = self._unfinished()
        mine = [path for path in unfinished if path.name.endswith(f"-{digest[:8]}")]
        if mine:
            prefix = mine[-1]
        else:
            taken = [item.number for item in self.versions()] + [*map(_number, unfinished)]
            prefix = self.folder / f"{max([0, *taken]) + 1:04d}-{digest[:8]}"
        return PublishedVersion(number=_number(prefix), prefix=prefix, digest=digest, published=0.0)

    def sweep(self) -> None:
        """Remove what interruptions left, once nothing is being built.

        Raises:
            FileNotUsable
        """
        self._clear_leftovers()
        for path in self._unfinished():
            self._delete(path)

    def _unfinished(self) -> list[Path]:
        known = {item.number for item in self.versions()}  # the current one is always among them
        found = []
        for path in sorted(self.folder.iterdir()):
            matched = _VERSION.fullmatch(path.name.removesuffix(".env"))
            if matched and int(matched[1]) not in known:
                found.append(path.with_suffix(""))
        return list(dict.fromkeys(found))

    def _clear_leftovers(self) -> None:
        """What an interruption left of a removal, or of a link not yet in its place."""
        links = re.compile(rf"\.{re.escape(self.name)}\.[0-9a-f]{{8}}\.tmp")
        for path in (*self.folder.iterdir(), *self.root.iterdir()):
            wanted = _LEFTOVER if path.parent == self.folder else links
            if wanted.fullmatch(path.name):
                _remove(path)

    def copy_sources(self, version: PublishedVersion, source: Path) -> Path:
        """A copy of the environment's folder that stays as the version was made from.

        Raises:
            FileNotUsable
        """
        folder = version.prefix.with_name(f"{version.prefix.name}.env") / self.name
        for name in FILES:
            if (source / name).is_file():
                write_text(folder / name, read_text(source / name), mode=0o644)
        for made in (folder.parent, folder):
            made.chmod(0o755)  # whoever verifies the version reads it, and nobody else writes
        return folder

    def record(self, version: PublishedVersion) -> None:
        """Say that a version is whole, or when it was retired."""
        fields = {
            "version": 1,
            "number": version.number,
            "digest": version.digest,
            "published": version.published,
            "retired": version.retired,
        }
        text = json.dumps(fields, indent=2)
        write_text(version.prefix.with_name(f"{version.prefix.name}.json"), f"{text}\n", mode=0o644)

    def switch(self, version: PublishedVersion) -> None:
        """Lead the link there, at once: whoever looks finds the old version or the new one.

        Raises:
            FileNotUsable
        """
        aside = self.link.with_name(f".{self.name}.{secrets.token_hex(4)}.tmp")
        try:
            aside.symlink_to(f"{_VERSIONS}/{self.name}/{version.prefix.name}")
            aside.replace(self.link)
        except OSError as error:
            raise unusable(self.link, error) from error

    def remove(self, version: PublishedVersion) -> None:
        """Delete a version: its record first, so that it counts no more.

        Raises:
            FileNotUsable
        """
        version.prefix.with_name(f"{version.prefix.name}.json").unlink(missing_ok=True)
        self._delete(version.prefix)

    def _delete(self, prefix: Path) -> None:
        for path in (prefix, prefix.with_name(f"{prefix.name}.env")):
            if os.path.lexists(path):
                going = path.with_name(f".{path.name}.going-{secrets.token_hex(4)}")
                try:
                    path.rename(going)
                except OSError as error:
                    raise unusable(path, error) from error
                _remove(going)

    def retire(self, version: PublishedVersion, now: float) -> PublishedVersion:
        """Note that another one took its place."""
        gone = replace(version, retired=now, is_current=False)
        self.record(gone)
        return gone


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _time(value: Any) -> float:
    found = float(value)
    if not 0 <= found < _LAST:
        raise ValueError(f"{value!r} is no time")
    return found


def _without_record(prefix: Path) -> PublishedVersion:
    """The current version, whose record somebody removed: people use it, so it counts."""
    return PublishedVersion(
        number=_number(prefix),
        prefix=prefix,
        digest="",
        published=prefix.stat().st_mtime,
        is_current=True,
    )


def _is_ours(target: str, name: str) -> bool:
    parts = Path(target).parts
    return parts[:2] == (_VERSIONS, name) and len(parts) == 3


def _remove(path: Path) -> None:
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        freezing.thaw(path)
        shutil.rmtree(path)
    except FileNotUsable:
        raise
    except OSError as error:
        raise unusable(path, error) from error


def published_names(root: Path) -> tuple[str, ...]:
    """The environments that were ever published under a folder.

    Raises:
        FileNotUsable: that cannot be read.
    """
    try:
        return tuple(sorted(os.listdir(root / _VERSIONS)))  # noqa: PTH208 - names only
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise unusable(root / _VERSIONS, error) from error

"""Which models-lock.yml files were prefilled from: each keeps what it names from collection.

A store serves folders of environments that whoever runs the collection may not even know of, so
every prefill leaves a note: where the lock lies, and what it named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from envforge.adapters.files import is_folder, is_gone, is_there, read_text, write_text
from envforge.cache import layout
from envforge.errors import InvalidFile


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLock:
    """A lock that somebody prefilled from."""

    path: Path
    hashes: frozenset[str]
    """What it named then."""
    note: Path
    """The file that says so."""

    @property
    def is_there(self) -> bool:
        """Whether the lock still lies there."""
        return is_there(self.path)

    @property
    def is_deleted(self) -> bool:
        """Whether it went, alone or with its environment, and no doubt is left.

        Where the folder of all environments is missing as well, or the environment's is a link
        that leads nowhere, a disk may not be mounted.
        """
        folder = self.path.parent
        seen = is_folder(folder) or (is_gone(folder) and is_folder(folder.parent))
        return seen and is_gone(self.path)


def remember(store: Path, lock: Path, hashes: Iterable[str]) -> None:
    """Note that a store was filled for this lock.

    Raises:
        FileNotUsable: the store cannot be written.
    """
    path = lock.absolute()
    note = store / layout.LOCKS / f"{layout.note_name(str(path))}.json"
    text = json.dumps({"path": str(path), "hashes": sorted(set(hashes))}, indent=1) + "\n"
    if not (note.is_file() and read_text(note) == text):
        write_text(note, text)


def known(store: Path) -> Iterator[KnownLock]:
    """All that is noted.

    Raises:
        InvalidFile: a note cannot be read, so that nothing is taken for unused by mistake.
    """
    for note in sorted((store / layout.LOCKS).glob("*.json")):
        try:
            document = json.loads(read_text(note))
            path, hashes = Path(document["path"]), frozenset(map(str, document["hashes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidFile(
                path=str(note),
                mistakes=("it is no note of a lock",),
                remedy=f"prefill every environment again after `rm {note}`",
            ) from error
        yield KnownLock(path=path, hashes=hashes, note=note)

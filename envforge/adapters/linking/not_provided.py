"""Libraries that the loader does not find, and versions that those it finds do not have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from envforge.adapters.linking.loader import Loaded, Loader
from envforge.adapters.linking.prefix_objects import PrefixObjects, has_alternates, names
from envforge.verify.facts.linking import MissingVersion, Unresolved
from envforge.verify.library_names import (
    C_LIBRARY,
    CUDA_LIBRARY,
    DRIVER_LIBRARY,
    MACHINES,
    TORCH_LIBRARY,
)

_OPTIONAL: Final = re.compile(
    r"_(tkinter|g?dbm|curses(_panel)?)\b|(readline|nis|ossaudiodev|audioop)\."
)
"""Modules of the standard library that many a Python is built without."""


class NotProvided:
    """What files in the process ask for in vain."""

    def __init__(self, loader: Loader, objects: PrefixObjects) -> None:
        self._loader = loader
        self._objects = objects

    def unresolved(
        self, of_torch: Iterable[Loaded], of_modules: Iterable[Loaded]
    ) -> Iterator[Unresolved]:
        """Needed by torch, then by extension modules."""
        done: set[tuple[str, str]] = set()
        for items, is_torch in ((of_torch, True), (of_modules, False)):
            for item in items:
                for name in self._lacking(item):
                    if (item.path, name) in done:
                        continue
                    done.add((item.path, name))
                    if is_torch or not self._may_come_otherwise(item, name):
                        yield self._told(item, name, of_torch=is_torch)

    def _lacking(self, item: Loaded) -> Iterator[str]:
        if not self._objects.is_own(item.path):
            return
        for name, found in item.edges.items():
            if found is not None or C_LIBRARY.match(name) or DRIVER_LIBRARY.match(name):
                continue
            if CUDA_LIBRARY.match(name) or self._loader.knows_system:
                yield name

    def _may_come_otherwise(self, item: Loaded, name: str) -> bool:
        """Packages open libraries themselves before their modules, or bring several to try."""
        if _OPTIONAL.search(item.name) or has_alternates(item.path):
            return True
        linked = any(TORCH_LIBRARY.match(n) for n in (item.elf.needed if item.elf else ()))
        return not (linked and CUDA_LIBRARY.match(name)) and name in self._objects.everywhere

    def _told(self, item: Loaded, name: str, *, of_torch: bool) -> Unresolved:
        stem = name.partition(".so")[0]
        same = [n for n in self._objects.usual if n.startswith(f"{stem}.so.") and n != name]
        folder = self._objects.usual.get(name)
        elf = self._loader.files.elf(f"{folder}/{name}") if folder else None
        foreign = elf is not None and elf.machine != self._loader.machine
        return Unresolved(
            name=name,
            requester=self._objects.shown(item.path),
            of_torch=of_torch,
            lies_at=self._objects.shown(f"{folder}/{name}") if folder else None,
            others=tuple(sorted(same)[:3]),
            machine=MACHINES.get(elf.machine, "another processor") if elf and foreign else None,
        )

    def versions(self, items: Iterable[Loaded]) -> Iterator[MissingVersion]:
        """Symbol versions that the library which would be taken does not define."""
        done: set[tuple[str, str]] = set()
        for item in items:
            for library, wanted in item.elf.wants if item.elf else ():
                provider = item.edges.get(library)
                elf = provider.elf if provider else None
                if provider is None or elf is None or not elf.provides or not elf.is_whole:
                    continue
                lacking = [version for version in wanted if version not in elf.provides]
                if lacking and (item.path, library) not in done:
                    done.add((item.path, library))
                    yield self._version_told(item, library, newest(lacking), provider)

    def _version_told(
        self, item: Loaded, library: str, version: str, provider: Loaded
    ) -> MissingVersion:
        kind = version.rpartition("_")[0]
        provides = provider.elf.provides if provider.elf else ()
        same = [other for other in provides if other.rpartition("_")[0] == kind]
        return MissingVersion(
            version=version,
            library=library,
            requester=self._objects.shown(item.path),
            provider=self._objects.shown(provider.path),
            via=provider.via,
            newest=newest(same) if same else None,
            in_prefix=self._better(library, version, provider),
        )

    def _better(self, library: str, version: str, provider: Loaded) -> str | None:
        """A file of the prefix that defines the version, whatever it is called."""
        stem, folder = library.partition(".so")[0], self._objects.prefix / "lib"
        for name in reversed(names(folder)):
            elf = (
                self._loader.files.elf(f"{folder}/{name}")
                if name.startswith(f"{stem}.so")
                else None
            )
            if elf and version in elf.provides and f"{folder}/{name}" != provider.path:
                return self._objects.shown(f"{folder}/{name}")
        return None


def newest(versions: Iterable[str]) -> str:
    """By their numbers: GLIBCXX_3.4.30 is newer than GLIBCXX_3.4.9."""
    return max(versions, key=lambda text: [int(part) for part in re.findall(r"\d+", text)])

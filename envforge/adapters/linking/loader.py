"""Which file the loader would take for each library, found out without running it.

The rules are those of ld.so(8) and glibc's `elf/dl-load.c`: what is loaded already wins by name;
else DT_RPATH of the file and of all that led to it (only if the file has no DT_RUNPATH), then
`LD_LIBRARY_PATH`, then the file's DT_RUNPATH, then `/etc/ld.so.cache`, then default folders.
Files for another processor are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from envforge.adapters.linking.elf_files import ElfFile, read_elf
from envforge.adapters.machine.ld_cache import read_ld_cache
from envforge.verify.facts.linking import Via

_SYSTEM: Final = ("/usr/", "/lib/", "/lib32/", "/lib64/", "/etc/", "/sys/", "/proc/", "/dev/")
_MOST_LINKS: Final = 40
"""As many as Linux follows (path_resolution(7))."""
_FEW: Final = 20
"""A cache with fewer names is that of a bare image, or of a tree that shows only a part."""
_TRIPLETS: Final = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu", 21: "powerpc64le-linux-gnu"}
_PLATFORMS: Final = {62: "x86_64", 183: "aarch64", 21: "ppc64le"}
_LEVELS: Final = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}),
    ("x86-64-v2", {"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
)
"""Folders under `glibc-hwcaps/`, best first, and the processor flags they ask for."""


class MachineFiles:
    """Files as programs of the machine see them, which may be shown under another root."""

    def __init__(self, root: Path, own: tuple[str, ...]) -> None:
        """`own`: folders that lie where they lie, whatever the root: the prefix."""
        self._root = "" if str(root) == "/" else str(root)
        self._own = tuple(f"{folder.rstrip('/')}/" for folder in own)
        self._places: dict[str, str | None] = {}
        self._files: dict[str, ElfFile | None] = {}

    def place(self, path: str) -> str | None:
        """Where the file lies really; None: there is none."""
        if path not in self._places:
            self._places[path] = self._look(path)
        return self._places[path]

    def elf(self, path: str) -> ElfFile | None:
        """Its tables; None: it is not there, or no ELF file."""
        place = self.place(path)
        if place is None:
            return None
        if place not in self._files:
            self._files[place] = read_elf(place)
        return self._files[place]

    def real(self, path: str) -> str:
        """The path with every link followed, in the machine's own terms."""
        place = self.place(path)
        if place is None:
            return path
        real = os.path.realpath(place)
        inside = self._root and real.startswith(f"{self._root}/")
        return real[len(self._root) :] if inside else real

    def seen(self) -> Iterator[ElfFile]:
        """All that were read."""
        return (item for item in self._files.values() if item is not None)

    def text(self, path: str) -> bytes:
        """Empty where it cannot be read."""
        place = self.place(path)
        try:
            return Path(place).read_bytes() if place else b""
        except OSError:
            return b""

    def folder_exists(self, path: str) -> bool:
        place = self.place(path)
        return place is not None and os.path.isdir(place)  # noqa: PTH112 - many folders

    def _look(self, path: str) -> str | None:
        if not self._root or path.startswith(self._own):
            return path if os.path.exists(path) else None  # noqa: PTH110 - many files
        inside = self._resolve(path)
        if inside is not None:
            return inside
        # A variable may name a folder outside the tree that is shown, as the prefix may lie there.
        outside = not path.startswith(_SYSTEM) and os.path.exists(path)  # noqa: PTH110
        return path if outside else None

    def _resolve(self, path: str) -> str | None:
        """Links in a tree that is shown under a root are meant from that root."""
        left, done, links = path.split("/"), "", 0
        while left:
            part = left.pop(0)
            if part in {"", "."}:
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            try:
                target = os.readlink(f"{self._root}{done}/{part}")  # noqa: PTH115 - strings throughout
            except OSError:
                done = f"{done}/{part}"
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            done = "" if target.startswith("/") else done
            left = target.split("/") + left
        found = f"{self._root}{done}"
        return found if os.path.exists(found) else None  # noqa: PTH110 - many files


@dataclass(slots=True, eq=False)
class Loaded:
    """A file in the process."""

    path: str
    via: Via
    elf: ElfFile | None = None
    """None: not readable as ELF."""
    loader: Loaded | None = None
    """Which one asked for it."""
    edges: dict[str, Loaded | None] = field(default_factory=dict)
    """What it needs, and what was taken for it; None: nothing was found."""

    @property
    def name(self) -> str:
        """Its soname, else its file's name."""
        return (self.elf.soname if self.elf else None) or self.path.rpartition("/")[2]

    @property
    def origin(self) -> str:
        """What `$ORIGIN` stands for."""
        return os.path.dirname(self.path)  # noqa: PTH120 - thousands of names


class Loader:
    """The rules of one machine, with one set of variables."""

    def __init__(
        self,
        files: MachineFiles,
        environment: Mapping[str, str],
        *,
        machine: int = 62,
        interpreter: str | None = None,
    ) -> None:
        """`interpreter`: the loader that the program asks for."""
        self.files = files
        self.machine = machine
        value = environment.get("LD_LIBRARY_PATH", "").replace(";", ":")
        self.library_path = tuple(item for item in value.split(":") if item.startswith("/"))
        self.preload = tuple(environment.get("LD_PRELOAD", "").replace(":", " ").split())
        self._interpreter = interpreter

    @cached_property
    def cache(self) -> Mapping[str, tuple[str, ...]]:
        """`/etc/ld.so.cache`; none for a loader of another place, as Nix has."""
        if self._is_elsewhere:
            return {}
        return read_ld_cache(self.files.text("/etc/ld.so.cache"))

    @cached_property
    def default_folders(self) -> tuple[str, ...]:
        if self._is_elsewhere:
            return (os.path.dirname(self.files.real(self._interpreter or "")),)  # noqa: PTH120
        triplet = _TRIPLETS.get(self.machine)
        folders = (f"/lib/{triplet}", f"/usr/lib/{triplet}") if triplet else ()
        return (*folders, "/lib64", "/usr/lib64", "/lib", "/usr/lib")

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the loader is not the system's own, but one of Nix or Guix."""
        own = self._interpreter or "/lib"
        return not own.startswith(("/lib", "/usr/lib"))

    @cached_property
    def knows_system(self) -> bool:
        """Whether the machine's own libraries are in sight: else what is not there may well be."""
        if self._is_elsewhere:
            return any(True for _ in self.system("libc.so.6"))
        return len(self.cache) > _FEW

    @cached_property
    def hardware_folders(self) -> tuple[str, ...]:
        """`glibc-hwcaps/…` for this processor, best first."""
        if self.machine != 62:
            return ()
        text = self.files.text("/proc/cpuinfo")[: 1 << 16].decode("ascii", "replace")
        line = next((item for item in text.splitlines() if item.startswith("flags")), "")
        flags = set(line.partition(":")[2].split())
        wanted: set[str] = set().union(*(need for _, need in _LEVELS))
        found = []
        for name, need in _LEVELS:
            if wanted <= flags:
                found.append(f"glibc-hwcaps/{name}")
            wanted -= need
        return tuple(found)

    def search(self, name: str, requester: Loaded | None) -> tuple[str, Via] | None:
        """The file that would be opened for a name, and what led to it."""
        if "/" in name:
            return (name, "path") if self._fits(name) else None
        for folder, via in self._folders(requester):
            for path in self._in_folder(folder, name):
                if self._fits(path):
                    return path, via
        if requester is None or requester.elf is None or requester.elf.default_folders:
            return next(self.system(name), None)
        return None

    def _folders(self, requester: Loaded | None) -> Iterator[tuple[str, Via]]:
        runpath = requester.elf.runpath if requester and requester.elf else None
        if requester is not None and runpath is None:
            above: Loaded | None = requester
            while above is not None:
                for item in above.elf.rpath if above.elf else ():
                    yield self._expanded(item, above), "rpath"
                above = above.loader
        for item in self.library_path:
            yield item, "LD_LIBRARY_PATH"
        if requester is not None:
            for item in runpath or ():
                yield self._expanded(item, requester), "runpath"

    def system(self, name: str) -> Iterator[tuple[str, Via]]:
        for path in self.cache.get(name, ()):
            if self._fits(path):
                yield path, "cache"
        for folder in self.default_folders:
            for path in self._in_folder(folder, name):
                if self._fits(path):
                    yield path, "default"

    def _in_folder(self, folder: str, name: str) -> Iterator[str]:
        folder = folder.rstrip("/")
        if self.files.folder_exists(f"{folder}/glibc-hwcaps"):
            for inner in self.hardware_folders:
                yield f"{folder}/{inner}/{name}"
        yield f"{folder}/{name}"

    def _expanded(self, folder: str, holder: Loaded) -> str:
        if "$" not in folder:
            return folder
        library = "lib64" if self.machine == 62 else "lib"
        values = {"ORIGIN": holder.origin, "LIB": library, "PLATFORM": self._platform}
        for name, value in values.items():
            folder = folder.replace(f"${{{name}}}", value).replace(f"${name}", value)
        return os.path.normpath(folder)

    @property
    def _platform(self) -> str:
        return _PLATFORMS.get(self.machine, "")

    def _fits(self, path: str) -> bool:
        """Whether the loader opens it: what is no ELF file at all ends its search too."""
        if self.files.place(path) is None:
            return False
        elf = self.files.elf(path)
        return elf is None or elf.machine == self.machine


class Process:
    """A process as far as the loader is concerned."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.main: Loaded | None = None
        self.loaded: list[Loaded] = []
        self._names: dict[str, Loaded] = {}
        self._places: dict[str, Loaded] = {}

    def start(self, program: str) -> None:
        """A program, what `LD_PRELOAD` names, and all that they need."""
        self.main = self._add(program, "path", None)
        queue = [self.main]
        for name in self.loader.preload:
            found = self.loader.search(name, self.main)
            if found is not None and (item := self._enter(name, found[0], "LD_PRELOAD", self.main)):
                queue.append(item)
        self._complete(queue)

    def fork(self) -> Process:
        """A process that went the same way so far."""
        twin = Process(self.loader)
        twin.main = self.main
        twin.loaded = [*self.loaded]
        twin._names = {**self._names}
        twin._places = {**self._places}
        return twin

    def open(self, path: str, via: Via = "path", caller: Loaded | None = None) -> Loaded:
        """What dlopen does with a path: the file and all it needs."""
        place = self._place(path)
        known = self._places.get(place)
        if known is not None:
            return known
        item = self._add(path, via, caller or self.main)
        self._complete([item])
        return item

    def get(self, name: str) -> Loaded | None:
        """What is loaded under a name."""
        return self._names.get(name)

    def find(self, name: str, requester: Loaded | None) -> tuple[str, Via] | None:
        """What dlopen would take for a name, without loading it."""
        known = self._names.get(name)
        if known is not None:
            return known.path, "loaded"
        return self.loader.search(name, requester)

    def _complete(self, queue: list[Loaded]) -> None:
        """Breadth first, as the loader goes."""
        for item in queue:
            for name in item.elf.needed if item.elf else ():
                known = self._names.get(name)
                if known is None:
                    found = self.loader.search(name, item)
                    new = self._enter(name, *found, item) if found else None
                    known = self._names.get(name)
                    if new is not None:
                        queue.append(new)
                item.edges[name] = known

    def _enter(self, name: str, path: str, via: Via, requester: Loaded | None) -> Loaded | None:
        """The new file; None: it was there already, by another name."""
        known = self._places.get(self._place(path))
        if known is not None:
            self._names[name] = known
            return None
        item = self._add(path, via, requester)
        self._names[name] = item
        return item

    def _add(self, path: str, via: Via, requester: Loaded | None) -> Loaded:
        item = Loaded(path=path, via=via, elf=self.loader.files.elf(path), loader=requester)
        self.loaded.append(item)
        self._places[self._place(path)] = item
        if item.elf is not None and item.elf.soname:
            self._names.setdefault(item.elf.soname, item)
        return item

    def _place(self, path: str) -> str:
        return self.loader.files.real(path)

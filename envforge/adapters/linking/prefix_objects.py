"""Which shared objects a prefix holds, and how their paths are spelt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from envforge.adapters.files import is_folder
from envforge.adapters.linking.elf_files import ElfFile
from envforge.adapters.linking.loader import MachineFiles
from envforge.verify.facts import PrefixFacts

_STANDARD: Final = re.compile(r"(_ssl|_hashlib|_ctypes|_sqlite3|_lzma|_bz2|zlib)\.")
"""Modules of the standard library that stand on libraries of others."""
_ALWAYS: Final = ("numpy/core", "numpy/_core", "numpy/linalg")
_LLVM_OPENMP: Final = re.compile(r"lib(iomp5|omp)(-[\w.]+)?\.so")
_SKIPPED: Final = frozenset({"__pycache__", "tests", "test", "nvidia"})
_DEEPEST: Final = 12
_MOST: Final = 5_000


class PrefixObjects:
    """The shared objects of one prefix."""

    def __init__(
        self, facts: PrefixFacts, site: Path, program: str | None, files: MachineFiles
    ) -> None:
        """`program`: the interpreter, links followed."""
        self.prefix = Path(facts.prefix)
        self.site = site
        self._homes = tuple(f"{home.rstrip('/')}/" for home in (facts.prefix, facts.real))
        self._program = program
        self._files = files

    def shown(self, path: str) -> str:
        """Relative to the prefix where it lies in it."""
        path = os.path.normpath(path).encode("utf-8", "backslashreplace").decode()
        home = next((item for item in self._homes if path.startswith(item)), "")
        return path[len(home) :]

    def is_own(self, path: str) -> bool:
        """Whether it lies in the prefix, or in the site-packages that are looked at."""
        return not self.shown(path).startswith("/") or path.startswith(f"{self.site}/")

    @cached_property
    def folders(self) -> list[Path]:
        """The folders of torch's libraries and of the CUDA libraries."""
        own = [self.prefix / "lib", self.site / "torch" / "lib"]
        return own + sorted(self.site.glob("nvidia/*/lib"))

    @cached_property
    def bundled_openmp(self) -> list[ElfFile]:
        """Copies of libgomp that wheels bring: in torch/lib, and in `*.libs` folders."""
        places = [self.site / "torch" / "lib", *sorted(self.site.glob("*.libs"))]
        folders = filter(is_folder, places)
        paths = [path for place in folders for path in sorted(place.glob("libgomp*.so*"))]
        return [elf for path in paths if (elf := self._files.elf(str(path)))]

    @cached_property
    def carried_openmp(self) -> list[tuple[str, str]]:
        """Runtimes of the LLVM family that packages carry to load them: package and path.

        `lib/libiomp5.so` of a conda environment is MKL's; it counts beside one that torch carries.
        """
        places = [("torch", self.site / "torch" / "lib"), ("numpy", self.site / "numpy.libs")]
        if any(_LLVM_OPENMP.match(name) for name in names(places[0][1])):
            places.append(("mkl", self.prefix / "lib"))
        return [
            (package, f"{folder}/{name}")
            for package, folder in places
            for name in sorted(names(folder))
            if _LLVM_OPENMP.match(name)
        ]

    def modules(self, *, thorough: bool) -> list[str]:
        """Extension modules: all of them, or those at the top of a package."""
        found = [*self._walk()] if thorough else [*self._top_level()]
        stdlib = self._lib_dynload()
        own = (name for name in names(stdlib) if name.endswith(".so")) if stdlib else ()
        found.extend(f"{stdlib}/{name}" for name in own if thorough or _STANDARD.match(name))
        return sorted(found)[:_MOST]

    def _top_level(self) -> Iterator[str]:
        for name in names(self.site):
            path = f"{self.site}/{name}"
            if name.endswith(".so"):
                yield path
            elif "." not in name and name not in _SKIPPED and name != "torch":
                yield from (f"{path}/{n}" for n in names(path) if n.endswith(".so"))
        for folder in _ALWAYS:
            inside = self.site / folder
            yield from (f"{inside}/{name}" for name in names(inside) if name.endswith(".so"))

    def _walk(self) -> Iterator[str]:
        root = str(self.site)
        for folder, inside, found in os.walk(root):
            deep = folder.count("/") - root.count("/") >= _DEEPEST
            inside[:] = [n for n in inside if n not in _SKIPPED and not deep]
            if folder == f"{root}/torch":
                inside[:] = []
            if not folder.endswith(".libs"):
                yield from (f"{folder}/{name}" for name in found if name.endswith(".so"))

    def _lib_dynload(self) -> Path | None:
        """Beside the standard library, which a virtual environment has elsewhere."""
        homes = [self.prefix, *([Path(self._program).parent.parent] if self._program else [])]
        series = self.site.parent.name
        places = (
            home / "lib" / name / "lib-dynload"
            for home in homes
            for name in (series, *(n for n in names(home / "lib") if n.startswith("python3.")))
        )
        return next((folder for folder in places if is_folder(folder)), None)

    @cached_property
    def usual(self) -> dict[str, str]:
        """Names of the libraries in the usual folders, and in other site-packages."""
        places = [*self.folders, *sorted(self.site.glob("*.libs"))]
        places += [
            inside for folder in self._other_sites() for inside in folder.glob("nvidia/*/lib")
        ]
        found: dict[str, str] = {}
        for folder in places:
            for name in names(folder):
                if ".so" in name:
                    found.setdefault(name, str(folder))
        return found

    @cached_property
    def everywhere(self) -> dict[str, str]:
        """Names of all shared objects in the prefix that a package may open itself."""
        found = dict(self.usual)
        for folder, inside, own in os.walk(self.site):
            inside[:] = [name for name in inside if name != "__pycache__"]
            for name in own:
                if ".so" in name:
                    found.setdefault(name, folder)
        return found

    def _other_sites(self) -> Iterator[Path]:
        """`lib` and `lib64` may be two folders, and packages be split over them."""
        for folder in self.prefix.glob("lib*/python3.*/site-packages"):
            if folder.resolve() != self.site.resolve():
                yield folder


def names(folder: Path | str) -> list[str]:
    """What lies in a folder, sorted; nothing where it cannot be read."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - thousands of names
    except OSError:
        return []


def has_alternates(path: str) -> bool:
    """Whether siblings differ in a number only: one for each release of what they need."""
    folder, _, name = path.rpartition("/")
    kind = re.sub(r"\d+", "#", name)
    return kind != name and sum(re.sub(r"\d+", "#", n) == kind for n in names(folder)) > 1

"""Reads the shared objects of a prefix, and follows what the loader would do with them.

`loader.py` knows the loader's rules, `torch_loading.py` what torch does, `prefix_objects.py`
which files there are; the modules named for what is lacking look at the outcome.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

from envforge.adapters.files import is_folder
from envforge.adapters.linking import missing_symbols, opened_by_name, torch_loading
from envforge.adapters.linking.elf_files import read_elf
from envforge.adapters.linking.elf_symbols import exported
from envforge.adapters.linking.loader import Loaded, Loader, MachineFiles, Process
from envforge.adapters.linking.loader_variables import activated
from envforge.adapters.linking.not_provided import NotProvided, newest
from envforge.adapters.linking.openmp_runtimes import openmp_runtimes
from envforge.adapters.linking.prefix_objects import PrefixObjects, has_alternates, names
from envforge.errors import EnvforgeError
from envforge.model.prefix import PrefixState
from envforge.ports import Processes
from envforge.verify.facts import DamagedFile, PrefixFacts
from envforge.verify.facts.linking import CudnnParts, Linking, Load, NvrtcBuiltins
from envforge.verify.library_names import C_LIBRARY, CUDNN, MACHINES

_MODULE: Final = re.compile(r"\.(cpython-3\d+[\w-]*|abi3)\.so$")
_CXX11: Final = (
    "_ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
)
_CXX98: Final = "_ZN3c105ErrorC2ENS_14SourceLocationESs"
"""c10::Error's constructor, with the string of one ABI and of the other."""
_ASK_CUDNN: Final = (
    "import ctypes, sys; f = ctypes.CDLL(sys.argv[1]).cudnnGetVersion;"
    " f.restype = ctypes.c_size_t; print(f())"
)
_X86_64: Final = 62


def with_linking(
    facts: PrefixFacts,
    *,
    environment: Mapping[str, str],
    root: Path = Path("/"),
    site: Path | None = None,
    thorough: bool = False,
    processes: Processes | None = None,
) -> PrefixFacts:
    """The facts, with `linking`, and with files that were cut off in `damaged`.

    Args:
        facts: what is known of the prefix so far.
        environment: `LD_LIBRARY_PATH`, `LD_PRELOAD` and what else steers the loader.
        root: where the machine's files are shown.
        site: where packages lie, if not in the usual place.
        thorough: read every shared object, and compare symbols of every extension.
        processes: to ask a strange cuDNN for its version, in a child; None: it is not asked.
    """
    place = site or _site(facts)
    if facts.state is PrefixState.ABSENT or not sys.platform.startswith("linux") or place is None:
        return facts
    collector = _Collector(facts, environment, root, place, processes, thorough=thorough)
    linking = collector.collect()
    if linking is None:
        return facts
    known = {item.path for item in facts.damaged}
    cut = [item for item in collector.cut_off() if item.path not in known]
    damaged = tuple(sorted([*facts.damaged, *cut], key=lambda item: item.path))
    return replace(facts, linking=linking, damaged=damaged)


def _site(facts: PrefixFacts) -> Path | None:
    home = Path(facts.prefix)
    if facts.torch is not None:
        return (home / facts.torch.package).parent
    folders = sorted(home.glob("lib*/python3.*/site-packages"))
    return next((folder for folder in folders if is_folder(folder)), None)


class _Collector:
    def __init__(
        self,
        facts: PrefixFacts,
        environment: Mapping[str, str],
        root: Path,
        site: Path,
        processes: Processes | None,
        *,
        thorough: bool,
    ) -> None:
        self._facts = facts
        self._environment = activated(Path(facts.prefix), environment)
        self._processes = processes
        self._thorough = thorough
        self._program = os.path.realpath(facts.interpreter) if facts.interpreter else None
        self._main = read_elf(self._program) if self._program else None
        home = str(Path(self._program).parent.parent) if self._program else "/"
        own = [facts.prefix, facts.real, str(site), *([] if home in {"/", "/usr"} else [home])]
        self._files = MachineFiles(root, tuple(own))
        self._objects = PrefixObjects(facts, site, self._program, self._files)

    def collect(self) -> Linking | None:
        """None: this is not glibc's loader."""
        if self._main and "ld-musl" in (self._main.interpreter or ""):
            return None
        shown = self._objects.shown
        base = Process(self._loader)
        if self._program and self._main:
            base.start(self._program)
        torch = base.fork()
        has_torch = torch_loading.import_torch(torch, self._objects.site, self._objects.prefix)
        of_torch = torch.loaded[len(base.loaded) :]
        paths = self._objects.modules(thorough=self._thorough)
        modules = list(self._opened(paths, base, torch))
        of_modules = [item for loaded in modules for item in loaded]
        items = _unique([*base.loaded, *of_torch, *of_modules, *self._of_system()])
        cudnn = self._cudnn(torch) if has_torch else None
        extensions = missing_symbols.extensions(torch, modules, shown, deep=self._thorough)
        lacking = NotProvided(self._loader, self._objects)
        return Linking(
            every_file=self._thorough,
            machine=MACHINES.get(self._loader.machine, ""),
            glibc=self._glibc(base),
            torch_loads=tuple(self._loads(of_torch, cudnn)),
            unresolved=tuple(lacking.unresolved(of_torch, of_modules)),
            missing_versions=tuple(lacking.versions(items)),
            missing_symbols=tuple(
                missing_symbols.of_torch(torch, of_torch, shown, deep=self._thorough)
            ),
            extensions=tuple(extensions) if has_torch else (),
            cpu_library_read=any(
                item.elf and item.elf.tables and item.name.startswith("libtorch_cpu.")
                for item in of_torch
            ),
            torch_cxx11=_cxx11(torch),
            cudnn=cudnn,
            opened=tuple(self._cudnn_by_name(torch, paths)) if has_torch else (),
            nvrtc=tuple(self._nvrtc(torch)),
            mkl=opened_by_name.mkl_files(
                self._objects.prefix, MACHINES.get(self._loader.machine, "")
            ),
            openmp=openmp_runtimes(
                torch,
                of_torch,
                map(self._with_package, paths),
                self._objects.carried_openmp,
                environment=self._environment,
                shown=shown,
            ),
            bundled_openmp=tuple(shown(item.path) for item in self._objects.bundled_openmp),
            executable_stack=tuple(
                shown(item.path)
                for item in items
                if item.elf and item.elf.tables and item.elf.executable_stack
                if self._objects.is_own(item.path)
            ),
            preloaded=tuple(_load(i, shown(i.path)) for i in base.loaded if i.via == "LD_PRELOAD"),
        )

    @cached_property
    def _loader(self) -> Loader:
        cores = (
            str(folder / name)
            for folder in (self._objects.site / "torch" / "lib", self._objects.prefix / "lib")
            for name in ("libc10.so", "libtorch_cpu.so")
        )
        known = self._main or next((elf for path in cores if (elf := self._files.elf(path))), None)
        return Loader(
            self._files,
            self._environment,
            machine=known.machine if known else _X86_64,
            interpreter=self._main.interpreter if self._main else None,
        )

    def _opened(
        self, paths: Iterable[str], base: Process, torch: Process
    ) -> Iterator[list[Loaded]]:
        """What each extension loads in a process of its own; after torch, if linked to it."""
        for path in paths:
            elf = self._files.elf(path)
            if elf is None or elf.machine != self._loader.machine:
                continue
            linked = any(missing_symbols.is_torch(name) for name in elf.needed)
            if linked or _MODULE.search(path):  # else a library that others open as they like
                process = (torch if linked else base).fork()
                before = len(process.loaded)
                process.open(path)
                yield process.loaded[before:]

    def _of_system(self) -> Iterator[Loaded]:
        """What programs of the system load, where a variable leads them into the prefix."""
        if not any(self._objects.is_own(f"{f}/") for f in self._loader.library_path):
            return
        if self._objects.is_own("/usr/lib/"):
            return
        process = Process(self._loader)
        for name in ("libssl.so.3", "libssl.so.1.1", "libcurl.so.4"):
            found = next(self._loader.system(name), None)
            if found is not None and self._files.elf(found[0]):
                process.open(*found)
        yield from process.loaded

    def _with_package(self, path: str) -> tuple[str, str]:
        return os.path.relpath(path, self._objects.site).partition("/")[0], path

    def _loads(self, items: list[Loaded], cudnn: CudnnParts | None) -> Iterator[Load]:
        for item in items:
            path = self._objects.shown(item.path)
            if item.via != "path" and not C_LIBRARY.match(item.name):
                version = cudnn.version if cudnn and cudnn.main == path else None
                yield _load(item, path, version)

    def _glibc(self, base: Process) -> str | None:
        item = base.get("libc.so.6")
        path = item.path if item else next((p for p, _ in self._loader.system("libc.so.6")), None)
        elf = self._files.elf(path) if path else None
        found = [v for v in elf.provides if re.fullmatch(r"GLIBC_2(\.\d+)+", v)] if elf else []
        return newest(found).partition("_")[2] if found else None

    # --- CUDA -------------------------------------------------------------------------------

    def _cudnn(self, torch: Process) -> CudnnParts | None:
        main = next((item for item in torch.loaded if CUDNN.match(item.name)), None)
        if main is None or main.elf is None:
            return None
        version = self._cudnn_version(torch, main)
        return opened_by_name.cudnn_parts(torch, main, version, self._objects.shown)

    def _cudnn_version(self, torch: Process, main: Loaded) -> str | None:
        by_name = opened_by_name.file_version(torch, main.path)
        if by_name:
            return by_name
        if self._objects.is_own(main.path):
            owner = "wheel " if "/nvidia/" in main.path else "conda package "
            for item in self._facts.cudnn:
                if item.witness.startswith(owner):
                    return ".".join(item.version.split(".")[:3])
        return opened_by_name.header_version(torch, main.path) or self._asked(main.path)

    def _asked(self, path: str) -> str | None:
        """The library's own word, from a child: it is not ours, and may do anything."""
        place = self._files.place(path)
        if self._processes is None or place is None or self._objects.is_own(path):
            return None
        variables = {k: v for k, v in self._environment.items() if k == "LD_LIBRARY_PATH"}
        command = [sys.executable, "-I", "-S", "-c", _ASK_CUDNN, place]
        try:
            done = self._processes.run(command, env=variables, timeout=10, check=False)
        except (EnvforgeError, OSError):
            return None
        said = done.stdout.strip()
        return _dotted(int(said)) if said.isdigit() else None

    def _cudnn_by_name(self, torch: Process, modules: list[str]) -> Iterator[tuple[str, str]]:
        """Packages that ask for a cuDNN by name which is not here, while another one is."""
        if not any(CUDNN.match(name) for name in self._objects.usual):
            return
        yield from self._plugins_with_cudnn(torch, modules)
        for folder in ("ctranslate2", "ctranslate2.libs"):
            for name in names(self._objects.site / folder):
                path = str(self._objects.site / folder / name)
                elf = self._files.elf(path) if ".so" in name else None
                wanted = opened_by_name.cudnn_opened_by(path) if elf else ()
                requester = Loaded(path=path, via="path", elf=elf, loader=torch.main)
                here = (n in self._objects.usual or torch.find(n, requester) for n in wanted)
                if wanted and not any(here):
                    yield self._objects.shown(path), wanted[0]

    def _plugins_with_cudnn(self, torch: Process, modules: list[str]) -> Iterator[tuple[str, str]]:
        """Libraries that their package opens when it is used, linked to another cuDNN."""
        for path in modules:
            elf = self._files.elf(path)
            if elf is None or _MODULE.search(path) or has_alternates(path):
                continue
            requester = Loaded(path=path, via="path", elf=elf, loader=torch.main)
            for name in filter(CUDNN.match, elf.needed):
                if name not in self._objects.usual and not torch.find(name, requester):
                    yield self._objects.shown(path), name

    def _nvrtc(self, torch: Process) -> Iterator[NvrtcBuiltins]:
        conda = {item.name: item.version for item in self._facts.conda}
        releases: dict[str, str] = {}
        if version := conda.get("cuda-nvrtc") or conda.get("cudatoolkit"):
            releases[str(self._objects.prefix / "lib")] = version
        for item in self._facts.wheels:
            if re.fullmatch(r"nvidia-cuda-nvrtc(-cu\d+)?", item.name):
                for folder in ("cuda_nvrtc", f"cu{item.version.partition('.')[0]}"):
                    place = self._objects.site / "nvidia" / folder / "lib"
                    releases[str(place)] = item.version
        folders = [folder for folder in self._objects.folders if is_folder(folder)]
        return opened_by_name.nvrtc_builtins(torch, folders, releases, self._objects.shown)

    def cut_off(self) -> Iterator[DamagedFile]:
        """Files of the prefix that are shorter than their own headers say."""
        for folder in self._objects.folders[1:]:
            for name in names(folder):
                if ".so" in name:
                    self._files.elf(str(folder / name))
        for elf in self._files.seen():
            if not elf.is_whole and self._objects.is_own(elf.path):
                path = self._objects.shown(elf.path)
                yield DamagedFile(path=path, recorded=elf.demanded, found=elf.size)


def _load(item: Loaded, path: str, version: str | None = None) -> Load:
    requester = item.loader.path if item.loader else ""
    return Load(name=item.name, requester=requester, path=path, via=item.via, version=version)


def _cxx11(torch: Process) -> bool | None:
    item = torch.get("libc10.so")
    found = exported(item.elf, (_CXX11, _CXX98)) if item and item.elf else None
    return None if not found or len(found) == 2 else _CXX11 in found


def _unique(items: Iterable[Loaded]) -> list[Loaded]:
    return list({(item.path, *map(str, item.edges)): item for item in items}.values())


def _dotted(number: int) -> str:
    """As cuDNN counts: 91002 from 9.0 on, 8700 before."""
    major = 10000 if number >= 10000 else 1000
    return f"{number // major}.{number % major // 100}.{number % 100}"

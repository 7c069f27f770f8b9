"""Libraries that others open by name when they are used: cuDNN's parts, nvrtc's, MKL's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from envforge.adapters.linking.loader import Loaded, Process
from envforge.verify import torch_version
from envforge.verify.facts.linking import CudnnParts, MklFiles, NvrtcBuiltins

_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "9": ("graph", "ops", "cnn", "adv", "heuristic", "engines_precompiled"),
    "8": ("ops_infer", "ops_train", "cnn_infer", "cnn_train", "adv_infer", "adv_train"),
}
"""Sub-libraries of each major that every complete package has (cuDNN, release notes)."""
_NOT_IN_JIT_EDITION: Final = frozenset({"ops", "cnn", "adv", "engines_precompiled"})
_MAJOR: Final = re.compile(r"libcudnn\.so\.(\d+)")
_VERSION: Final = re.compile(r"\.so\.(\d+\.\d+\.\d+)")
_NVRTC: Final = re.compile(r"libnvrtc(-[0-9a-f]{8})?\.so(\.[\d.]+)?")
_BUILTINS: Final = re.compile(r"libnvrtc-builtins(-[0-9a-f]{8})?\.so(\.[\d.]+)?")
_MKL_CORE: Final = re.compile(r"libmkl_core\.so(\.\d+)?")
_MKL_ANY: Final = re.compile(r"libmkl_\w+\.so(\.\d+)?")
_KERNELS: Final = ("def", "avx2", "avx512")
"""Of x86-64, in every release since 2017; older processors' came and went."""

_OPENED: Final = re.compile(rb"libcudnn(?:_[a-z_]+)?\.so\.[89](?=\0)")
_PIECE: Final = 1 << 22

Shown = Callable[[str], str]
"""A path as facts spell it."""


def cudnn_parts(process: Process, main: Loaded, version: str | None, shown: Shown) -> CudnnParts:
    """Where the sub-libraries of the libcudnn that is loaded would come from."""
    found = _MAJOR.search(main.elf.soname or "" if main.elf else "") or _MAJOR.search(main.path)
    major = found[1] if found else ""
    home = _folder(process, main.path)
    beside = _listing(process, home)
    missing, strays, mixed = [], [], []
    for part in _PARTS.get(major, ()):
        name = f"libcudnn_{part}.so.{major}"
        taken = process.find(name, main)
        if taken is None:
            if name not in beside:
                missing.append(part)
        elif _folder(process, taken[0]) != home:
            strays.append((name, shown(taken[0]), file_version(process, taken[0])))
        else:
            own = file_version(process, taken[0])
            if own and version and own != version:
                mixed.append((name, own))
    if not _NOT_IN_JIT_EDITION - {*missing} or len(missing) > len(_PARTS.get(major, ())) // 2:
        missing = []  # another edition, or a file that stands alone: nothing can be told
    some_beside = any(name.startswith("libcudnn_") for name in beside)
    return CudnnParts(
        main=shown(main.path),
        version=version,
        missing=tuple(f"libcudnn_{part}.so.{major}" for part in missing),
        strays=tuple(s for s in strays if some_beside or (s[2] and version and s[2] != version)),
        mixed=tuple(mixed),
    )


def cudnn_opened_by(path: str) -> tuple[str, ...]:
    """Names of cuDNN's libraries that stand in a file: it opens one of them when it is used."""
    found: set[bytes] = set()
    rest = b""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - read in pieces
            while piece := stream.read(_PIECE):
                found.update(_OPENED.findall(rest + piece))
                rest = piece[-64:]
    except OSError:
        return ()
    return tuple(sorted(name.decode("ascii") for name in found))


def file_version(process: Process, path: str) -> str | None:
    """`9.1.0`, by the name of the file that links lead to."""
    found = _VERSION.search(process.loader.files.real(path).rpartition("/")[2])
    return found[1] if found else None


def header_version(process: Process, path: str) -> str | None:
    """By cudnn_version.h of the folder beside the library's."""
    folder = _folder(process, path)
    for place in (f"{folder}/../include", f"{folder}/../../include", f"{folder}/include"):
        text = process.loader.files.text(os.path.normpath(f"{place}/cudnn_version.h"))
        if text:
            return torch_version.cudnn_of_header(text.decode("utf-8", "replace"))
    return None


def nvrtc_builtins(
    process: Process, folders: list[Path], releases: Mapping[str, str], shown: Shown
) -> Iterator[NvrtcBuiltins]:
    """Every libnvrtc of the prefix, and its partners.

    Args:
        process: one that has imported torch.
        folders: where libraries lie.
        releases: folder to the version of the package that put nvrtc there, `12.4.127`.
        shown: how paths are spelt.
    """
    done = set()
    for folder in folders:
        names = _listing(process, str(folder))
        present = tuple(sorted(name for name in names if _BUILTINS.fullmatch(name)))
        for name in sorted(names):
            path = f"{folder}/{name}"
            real = process.loader.files.real(path)
            if not _NVRTC.fullmatch(name) or real in done:
                continue
            done.add(real)
            wanted = _wanted_builtins(process, path, releases.get(str(folder)))
            if not _has_builtins(process, path, wanted, present):
                yield NvrtcBuiltins(library=shown(path), wanted=wanted, present=present)


def _wanted_builtins(process: Process, path: str, package: str | None) -> str:
    # `libnvrtc.so.11.2` is the name for all of 11.2 to 11.8: two numbers say nothing.
    version = package or file_version(process, path)
    release = ".".join(version.split(".")[:2]) if version else ""
    return f"libnvrtc-builtins.so.{release}" if release else "libnvrtc-builtins.so"


def _has_builtins(process: Process, path: str, wanted: str, present: tuple[str, ...]) -> bool:
    renamed = any("-builtins-" in name for name in present)  # repaired wheels: by hash
    if renamed or wanted in present or (wanted.endswith(".so") and present):
        return True
    if any(name.startswith(f"{wanted}.") for name in present):
        return True
    loaded = next((item for item in process.loaded if item.path == path), None)
    elf = process.loader.files.elf(path)
    if elf is None:
        return True  # no library at all: not for us to judge
    requester = loaded or Loaded(path=path, via="path", elf=elf, loader=process.main)
    return process.find(wanted, requester) is not None


def mkl_files(prefix: Path, machine: str) -> MklFiles | None:
    """The MKL of `lib`; None: there is none, or no x86-64."""
    if machine not in {"", "x86_64"}:
        return None
    try:
        names = set(os.listdir(prefix / "lib"))  # noqa: PTH208 - thousands of names
    except OSError:
        return None
    cores = [found for name in sorted(names) if (found := _MKL_CORE.fullmatch(name))]
    if not cores:
        return None
    numbers = [core[1] or "" for core in cores if core[1]] or [""]
    for number in numbers:
        missing = [n for k in _KERNELS if (n := f"libmkl_{k}.so{number}") not in names]
        others = sorted(
            name
            for name in names
            if (found := _MKL_ANY.fullmatch(name)) and (found[1] or "") not in {number, ""}
        )
        if missing:
            core = f"lib/libmkl_core.so{number}"
            return MklFiles(core=core, missing=tuple(missing), others=tuple(others[:4]))
    return MklFiles(core=f"lib/libmkl_core.so{numbers[0]}")


def _folder(process: Process, path: str) -> str:
    return process.loader.files.real(path).rpartition("/")[0]


def _listing(process: Process, folder: str) -> frozenset[str]:
    place = process.loader.files.place(folder)
    try:
        return frozenset(os.listdir(place)) if place else frozenset()  # noqa: PTH208 - names only
    except OSError:
        return frozenset()

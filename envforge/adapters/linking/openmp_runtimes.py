"""The OpenMP runtimes that one process would hold once torch and numpy are imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from envforge.adapters.linking.loader import Loaded, Process
from envforge.verify.facts.linking import OpenMp

_PACKAGES: Final = ("numpy", "scipy", "sklearn", "mkl", "numexpr", "faiss")
"""Beside torch: what is imported together with it, as a rule."""
_MODULE: Final = re.compile(r"\.(cpython-3\d+[\w-]*|abi3)\.so$")
_RUNTIME: Final = re.compile(r"lib(gomp|iomp5|omp)(-[\w.]+?)?(\d+)?\.so")


def openmp_runtimes(
    torch: Process,
    of_torch: Iterable[Loaded],
    modules: Iterable[tuple[str, str]],
    carried: Iterable[tuple[str, str]],
    *,
    environment: Mapping[str, str],
    shown: Callable[[str], str],
) -> tuple[OpenMp, ...]:
    """Every runtime, by the file that links at last lead to.

    Args:
        torch: a process that has imported torch.
        of_torch: what that import loaded.
        modules: package and path of extension modules.
        carried: package and path of runtimes that a package brings to load them itself.
        environment: for `MKL_THREADING_LAYER`.
        shown: how paths are spelt.
    """
    process = torch.fork()
    reached: dict[str, list[str]] = {}
    _note(process, of_torch, "torch", reached)
    for package, path in modules:
        if package in _PACKAGES and _MODULE.search(path) and process.loader.files.elf(path):
            before = len(process.loaded)
            process.open(path)
            _open_mkl_threading(process, environment)
            _note(process, process.loaded[before:], package, reached)
    for package, path in carried:
        if process.loader.files.elf(path):
            requesters = reached.setdefault(process.loader.files.real(path), [])
            requesters += [package] if package not in requesters else []
    return tuple(
        OpenMp(
            path=shown(real),
            family="gnu" if "gomp" in real.rpartition("/")[2] else "llvm",
            requesters=tuple(requesters),
        )
        for real, requesters in reached.items()
    )


def _open_mkl_threading(process: Process, environment: Mapping[str, str]) -> None:
    """libmkl_rt opens its threading layer, which opens Intel's runtime."""
    runtime = process.get("libmkl_rt.so.2") or process.get("libmkl_rt.so.1")
    if runtime is not None and environment.get("MKL_THREADING_LAYER", "INTEL").upper() == "INTEL":
        found = process.find("libiomp5.so", runtime)
        if found is not None and found[1] != "loaded":
            process.open(*found)


def _note(
    process: Process, items: Iterable[Loaded], who: str, reached: dict[str, list[str]]
) -> None:
    for item in items:
        real = process.loader.files.real(item.path)
        if item.elf and (_RUNTIME.match(item.name) or _RUNTIME.match(real.rpartition("/")[2])):
            requesters = reached.setdefault(real, [])
            if who not in requesters:
                requesters.append(who)

"""Symbols that are wanted and that nothing would provide.

Those of the CUDA libraries and of MKL that torch asks for, and those of torch that extensions do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from envforge.adapters.linking.elf_symbols import (
    Wanted,
    exported,
    second_reader_finds,
    wanted_symbols,
)
from envforge.adapters.linking.loader import Loaded, Process
from envforge.verify.facts.linking import MissingSymbol, TorchSymbols
from envforge.verify.library_names import (
    C_LIBRARY,
    CUDA_LIBRARY,
    DRIVER_LIBRARY,
    TORCH_LIBRARY,
)

Shown = Callable[[str], str]

_OF_TORCH: Final = re.compile(
    r"_Z\w*?(?<!\d)(3c10|2at|5torch|6caffe2|4c10d)\w|_Z\d+THP|THP[A-Z]|aoti_torch_"
)
"""Names that only torch gives: its namespaces as compilers write them, and its C functions."""
_FAMILIES: Final = re.compile(
    r"_*(nvJitLink|cublasLt|cublas|cusparseLt|cusparse|cusolver|cufft|curand|cudnn|nccl|nvrtc)"
)
_FOR_TORCH: Final = re.compile(
    r"/(flash_attn|vllm|xformers|detectron2|mmcv|lmcache|deepspeed|pytorch3d|torch_\w+)[^/]*(/|\.so$)"
)
"""Extensions that are known to use torch, also where they do not name its libraries as needed."""
_PROFILED: Final = "iJIT_NotifyEvent"
_FIRST: Final = 3


def is_torch(name: str) -> bool:
    """Whether a library is one of torch's own."""
    return TORCH_LIBRARY.match(name) is not None


def of_torch(
    process: Process, items: Iterable[Loaded], shown: Shown, *, deep: bool
) -> Iterator[MissingSymbol]:
    """What the libraries that `import torch` loads would lack."""
    for item in items:
        if item.elf is None or item.elf.tables is None:
            continue
        for library, wanted in _by_library(item, deep=deep):
            provider = item.edges.get(library) if library else None
            lacking = _lacking(process, provider, wanted)
            if lacking:
                yield MissingSymbol(
                    symbol=lacking[0],
                    requester=shown(item.path),
                    library=library,
                    provider=shown(provider.path) if provider else None,
                    via=provider.via if provider else None,
                    more=len(lacking) - 1,
                )


def _by_library(item: Loaded, *, deep: bool) -> Iterator[tuple[str | None, list[str]]]:
    """Symbols to look for: those with a version by the library named, others by their names."""
    assert item.elf is not None  # noqa: S101 - asked by the caller
    families = [name for name in item.edges if CUDA_LIBRARY.match(name) and not is_torch(name)]
    groups: dict[str | None, list[str]] = {}
    if families:
        bare = any(_is_unversioned(item.edges[name]) for name in families)
        found = wanted_symbols(item.elf, versioned_of=None if bare else families)
        for symbol in found:
            library = symbol.file if symbol.file in families else _family_of(symbol, families)
            if library is not None:
                groups.setdefault(library, []).append(symbol.name)
    if deep and is_torch(item.name):
        every = wanted_symbols(item.elf)
        groups[None] = [s.name for s in every if _OF_TORCH.match(s.name)]
    elif item.name.startswith("libtorch_cpu."):
        every = wanted_symbols(item.elf)
    else:
        every = []
    if any(symbol.name == _PROFILED for symbol in every):
        groups["libmkl"] = [_PROFILED]
    yield from groups.items()


def _is_unversioned(item: Loaded | None) -> bool:
    return item is not None and item.elf is not None and not item.elf.provides


def _family_of(symbol: Wanted, families: list[str]) -> str | None:
    """`libcudnn.so.9` for `cudnnCreate`, among those that are needed."""
    found = _FAMILIES.match(symbol.name)
    if symbol.file is not None or found is None:
        return None
    return next((name for name in families if name.startswith(f"lib{found[1]}.so")), None)


def _lacking(process: Process, provider: Loaded | None, names: Iterable[str]) -> list[str]:
    """Those that neither the library they are wanted of nor any other exports."""
    left = {*names}
    if provider is not None:
        first = exported(provider.elf, left) if provider.elf else None
        if first is None:
            return []
        left -= first
    return _nowhere(process.loaded, left)


def _nowhere(items: Iterable[Loaded], names: Iterable[str]) -> list[str]:
    """Those that none of the files exports; none of them if one that might could not be read."""
    left = {*names}
    asked = sorted(items, key=lambda one: not is_torch(one.name))
    for item in asked:
        if not left:
            return []
        found = exported(item.elf, left) if item.elf else None
        if found is None and not _is_systems(item.name):
            return []
        left -= found or frozenset()
    # Before anything is accused another reader looks too.
    own = [item.elf.path for item in asked if item.elf and not _is_systems(item.name)]
    return sorted(n for n in left if not any(second_reader_finds(path, n) for path in own))


def _is_systems(name: str) -> bool:
    return bool(C_LIBRARY.match(name) or DRIVER_LIBRARY.match(name))


# --- extensions -----------------------------------------------------------------------------


def extensions(
    torch: Process,
    modules: Iterable[list[Loaded]],
    shown: Shown,
    *,
    deep: bool,
) -> Iterator[TorchSymbols]:
    """Every extension that uses torch's symbols, with those that nothing exports.

    Args:
        torch: a process that has imported torch.
        modules: each extension with what its import would load, itself first.
        shown: how paths are spelt.
        deep: look also at those that name no library of torch as needed.
    """
    for items in modules:
        item = items[0] if items else None
        if item is None or item.elf is None or is_torch(item.name):
            continue
        linked = any(is_torch(name) for name in item.elf.needed)
        if not linked and not deep and not _FOR_TORCH.search(item.path):
            continue
        wanted = [s.name for s in wanted_symbols(item.elf) if _OF_TORCH.match(s.name)]
        if linked or wanted:
            missing = _nowhere([*torch.loaded, *items], wanted)
            yield TorchSymbols(
                path=shown(item.path), missing=tuple(missing[:_FIRST]), count=len(missing)
            )

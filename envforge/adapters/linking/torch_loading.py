"""How torch loads its libraries, followed without running it.

`torch/__init__.py` opens libtorch_global_deps.so for everybody, and since 1.13 opens the wheels'
CUDA libraries one by one where that fails; later releases also open some beforehand. Which ones,
and when, is read off the installed file. Then `torch._C` brings in the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.files import is_folder, is_there
from envforge.adapters.linking.loader import Process

_PAIR: Final = re.compile(r"""["'](\w+)["']\s*[:,]\s*["'](lib[\w-]+\.so\.\*\[0-9\])["']""")
_CONDITION: Final = re.compile(r"""["']([\w/]*libcudart\.so)["']\s+not\s+in""")
_ALL_EARLY: Final = re.compile(r"_preload_cuda_deps\((required=False)?\)")
_WITHOUT_PYTHON: Final = (
    "libtorch_python.so",
    "libtorch.so",
    "libtorch_cuda.so",
    "libtorch_cpu.so",
    "libc10_cuda.so",
    "libc10.so",
)
_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Preloading:
    """Folder under `nvidia/` and pattern of file name, in order."""

    fallback: tuple[tuple[str, str], ...] = ()
    """Where a CUDA library was not found."""
    early: tuple[tuple[str, str], ...] = ()
    """Always, if libcudart was loaded from a path that holds `condition`."""
    condition: str = "libcudart.so"


def preloading(text: str) -> Preloading:
    """What a `torch/__init__.py` opens beside what the loader finds."""
    if "_preload_cuda" not in text:
        return Preloading()
    begin = text.find("def _load_global_deps")
    tried, _, _ = text[begin:].partition("except OSError") if begin >= 0 else ("", "", "")
    every = tuple(dict.fromkeys(_PAIR.findall(text)))
    early = every if _ALL_EARLY.search(tried) else tuple(_PAIR.findall(tried))
    needle = _CONDITION.search(tried)
    return Preloading(
        fallback=every, early=early, condition=needle[1] if needle else "libcudart.so"
    )


def import_torch(process: Process, site: Path, prefix: Path) -> bool:
    """Load what `import torch` loads; False: there is nothing to load."""
    package = site / "torch"
    if not is_folder(package):
        return False
    before = len(process.loaded)
    rules = preloading(_text(package / "__init__.py"))
    deps = package / "lib" / "libtorch_global_deps.so"
    if is_there(deps):
        _open_global(process, deps, rules, site)
    for path in _entries(package, prefix):
        process.open(str(path))
    return len(process.loaded) > before


def _open_global(process: Process, deps: Path, rules: Preloading, site: Path) -> None:
    trial = process.fork()
    trial.open(str(deps))
    lacking = {name for item in trial.loaded for name, found in item.edges.items() if found is None}
    known = {pattern.partition(".so")[0] for _, pattern in rules.fallback}
    if any(name.partition(".so")[0] in known for name in lacking):
        _preload(process, rules.fallback, site)
        process.open(str(deps))
        return
    process.open(str(deps))
    if any(rules.condition in item.path for item in process.loaded):
        _preload(process, rules.early, site)


def _preload(process: Process, wanted: Sequence[tuple[str, str]], site: Path) -> None:
    """Open the first file of each, as `_preload_cuda_lib` does."""
    for folder, pattern in wanted:
        for place in (f"nvidia/{folder}", "nvidia/cu1[0-9]", folder):
            found = sorted(site.glob(f"{place}/lib/{pattern}"))
            if found:
                process.open(str(found[0]))
                break


def _entries(package: Path, prefix: Path) -> Iterator[Path]:
    """`torch._C`, else the libraries that it would bring in, wherever they lie."""
    try:
        names = sorted(os.listdir(package))  # noqa: PTH208 - names only
    except OSError:
        return
    module = next((n for n in names if n.startswith("_C.") and n.endswith(".so")), None)
    if module is not None:
        yield package / module
    for name in _WITHOUT_PYTHON:
        for folder in (package / "lib", prefix / "lib"):
            if os.path.exists(folder / name):  # noqa: PTH110 - what may not be entered is absent
                yield folder / name
                break


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""

"""What the shell around us sets: gathered from its variables and the files they lead to."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from envforge.adapters.machine import compiling_facts
from envforge.adapters.machine.cache_folders import cache_folders, own_uid, user_name
from envforge.adapters.machine.compiling_facts import is_file, is_folder
from envforge.model.cuda import ComputeCapability
from envforge.ports import Processes
from envforge.verify.facts.prefix import PrefixFacts
from envforge.verify.facts.shell import ForeignValue, HeaderFiles, Program, ShellFacts

_ACTIVATION: Final = ("CONDA_PREFIX", "VIRTUAL_ENV")
_PROGRAMS: Final = ("python", "python3", "pip")
LEADING: Final = (
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_ROOT",
    "CUDACXX",
    "CUDAHOSTCXX",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "NVCC_CCBIN",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "CMAKE_PREFIX_PATH",
    "CMAKE_ARGS",
    "CONDA_BUILD_SYSROOT",
    "TRITON_PTXAS_PATH",
    "TRITON_LIBCUDA_PATH",
)
"""What activation scripts of compilers and CUDA set, and extensions are built by."""
_PATH_IN_VALUE: Final = re.compile(r"/[^\s:;,'\"=]+")
_MICROARCH: Final = re.compile(
    rb'"_?x86_64-microarch-level\s*(?:>=|==|=)?\s*([1-4])(?:\.\*)?[^"]*"'
)


def shell_facts(
    environment: Mapping[str, str],
    *,
    prefix: PrefixFacts | None,
    capabilities: Sequence[ComputeCapability],
    root: Path,
    processes: Processes,
    thorough: bool,
) -> ShellFacts:
    """Everything that programs started from this shell would find.

    Args:
        environment: its variables.
        prefix: the environment that is looked at; None: only the machine is.
        capabilities: of the GPUs that are here.
        root: where the machine's own files are seen.
        processes: starts nvcc (only where no file tells its version), and ptxas.
        thorough: ask Triton's ptxas too, which takes some hundredths of a second.
    """
    uid = own_uid()
    user = user_name(environment, uid)
    triton = (
        compiling_facts.triton_files(
            environment,
            prefix,
            capabilities=capabilities,
            root=root,
            processes=processes if thorough else None,
        )
        if prefix is not None
        else None
    )
    return ShellFacts(
        uid=uid,
        user=user,
        activated=tuple(
            (name, os.path.realpath(environment[name]))
            for name in _ACTIVATION
            if environment.get(name)
        ),
        programs=tuple(_programs(environment)),
        own_programs=_own_programs(prefix),
        foreign=tuple(_foreign(environment, prefix)) if prefix is not None else (),
        caches=cache_folders(environment, user=user, uid=uid, root=root),
        toolkit=compiling_facts.toolkit(environment, prefix, processes),
        compiler=compiling_facts.compiler(environment, prefix),
        compiler_named=environment.get("CC") or None,
        headers=compiling_facts.headers(prefix) if prefix is not None else HeaderFiles(),
        triton=triton,
        libcuda=compiling_facts.libcuda_places(environment, root),
        cpu_flags=cpu_flags(root),
        level_needs=tuple(_level_needs(prefix)) if prefix is not None else (),
    )


# --- PATH -----------------------------------------------------------------------------------


def _programs(environment: Mapping[str, str]) -> Iterator[Program]:
    for name in _PROGRAMS:
        path = shutil.which(name, path=environment.get("PATH", ""))
        if path is not None:
            yield Program(
                name=name,
                path=path,
                real=os.path.realpath(path),
                interpreter=_interpreter_of(path),
                is_link_of=_home_of_venv(path),
            )


def _own_programs(prefix: PrefixFacts | None) -> tuple[str, ...]:
    if prefix is None:
        return ()
    return tuple(name for name in _PROGRAMS if os.path.lexists(f"{prefix.prefix}/bin/{name}"))


def _interpreter_of(path: str) -> str | None:
    """What a script's first line names, also by the detour over sh for long or blank paths."""
    try:
        with Path(path).open("rb") as stream:
            start = stream.read(1024)
    except OSError:
        return None
    lines = start.decode("utf-8", "surrogateescape").splitlines()
    if not lines or not lines[0].startswith("#!"):
        return None
    words = lines[0][2:].split()
    if words[:1] == ["/bin/sh"] and len(lines) > 1 and lines[1].startswith("'''exec'"):
        found = re.match(r"'''exec'\s+(\"[^\"]+\"|\S+)", lines[1])
        words = [found[1].strip('"')] if found else words
    return os.path.realpath(words[0]) if words else None


def _home_of_venv(path: str) -> str | None:
    """The folder of the Python that a venv was made from (PEP 405)."""
    marker = Path(path).parent.parent / "pyvenv.cfg"
    try:
        text = marker.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return os.path.realpath(value.strip())
    return None


# --- variables that lead elsewhere ----------------------------------------------------------


def _foreign(environment: Mapping[str, str], prefix: PrefixFacts) -> Iterator[ForeignValue]:
    active = {os.path.realpath(environment[name]) for name in _ACTIVATION if environment.get(name)}
    for variable in LEADING:
        for path in _PATH_IN_VALUE.findall(environment.get(variable, "")):
            other = _environment_of(path)
            if other is not None and other != prefix.real:
                yield ForeignValue(
                    variable=variable,
                    path=path,
                    prefix=other,
                    exists=is_folder(other),
                    active=other in active,
                )
                break


def _environment_of(path: str) -> str | None:
    """The environment that a path lies in, also one that was removed from a folder of them."""
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        gone = place.parent.name == "envs" and not os.path.lexists(place)
        if gone or _is_environment(place):
            return str(place)
    return None


def _is_environment(place: Path) -> bool:
    return is_folder(place / "conda-meta") or is_file(place / "pyvenv.cfg")


# --- the processor --------------------------------------------------------------------------


def cpu_flags(root: Path) -> frozenset[str]:
    """Of the first processor; the kernel writes a page for each, and they are alike."""
    try:
        with (root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                name, _, value = line.partition(":")
                if name.strip() == "flags":
                    return frozenset(value.split())
    except OSError:
        pass
    return frozenset()


def _level_needs(prefix: PrefixFacts) -> Iterator[tuple[str, int]]:
    """Packages built for a level of x86-64; records are read only where there can be one."""
    if not any("x86_64-microarch-level" in item.name for item in prefix.conda):
        return
    folder = Path(prefix.prefix) / "conda-meta"
    for item in prefix.conda:
        if "microarch-level" in item.name:
            continue
        try:
            data = (folder / f"{item.name}-{item.version}-{item.build}.json").read_bytes()
        except OSError:
            continue
        levels = [int(found) for found in _MICROARCH.findall(data)]
        if levels:
            yield item.name, max(levels)

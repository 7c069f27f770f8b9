"""Lays an interpreter out as a conda package would, and proves that it stands alone.

What is left out: site-packages (packages come from the lock), tests, static libraries and
compiled bytecode. What is changed: library search paths, which name the source's folder and
would silently load its libpython, and the source's folder in the build's records, which becomes
a placeholder that installers replace.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envforge.adapters.conda_archive import ArchiveEntry
from envforge.adapters.host_probe import HostInterpreter, refusal
from envforge.adapters.linking.elf import RunpathFixed, is_elf, read_dynamic, with_runpath
from envforge.errors import ToolFailed
from envforge.ports import Processes

PLACEHOLDER: Final = "/opt/envforge" + "_placehold" * 24
"""About as long as conda-build's (255), which leaves room for any prefix."""

_SKIPPED_FOLDERS: Final = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"}
)
_SKIPPED_FILES = re.compile(
    r".*\.(?:a|o|pyc|pickle)|EXTERNALLY-MANAGED|(?:site|user)customize\.py"
    r"|_?(?:test|ctypes_test|xx)[^/]*\.so|.*\.orig"
)
_RECORDS = re.compile(
    r"_sysconfigdata.*\.py|_sysconfig_vars.*\.json|build-details\.json|Makefile|python-config\.py"
)
_OPTIONAL: Final = frozenset(
    {"_tkinter", "readline", "_curses", "_curses_panel", "_gdbm", "_dbm", "_crypt", "nis"}
    | {"ossaudiodev", "spwd"}
)
"""Modules a server does without; their libraries are often missing in containers."""
_SYSTEM_PREFIXES: Final = frozenset({Path("/usr"), Path("/usr/local")})

_CHECK: Final = r"""
import importlib, json, sys
failed = {}
for name in json.load(sys.stdin):
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
with open("/proc/self/maps") as stream:
    fields = [line.split(None, 5) for line in stream]
mapped = sorted({item[5].strip() for item in fields if len(item) == 6 and item[5][0] == "/"})
print(json.dumps({"failed": failed, "mapped": mapped}))
"""
_COMPILE: Final = r"""
import json, py_compile, sys
for path in json.load(sys.stdin):
    py_compile.compile(
        path, dfile=path, doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A laid-out interpreter."""

    entries: tuple[ArchiveEntry, ...]
    glibc: tuple[int, int]
    """Newest C library version its files ask for."""
    system_libraries: tuple[str, ...]
    """Files it takes from the machine, by their paths."""
    dropped: tuple[str, ...]
    """Optional modules left out, since their libraries are not on this machine."""


def source_files(host: HostInterpreter) -> Iterator[tuple[str, Path]]:
    """The files a package takes, as (path in the package, file), in no certain order."""
    yield f"bin/python{host.series}", host.executable
    if host.library:
        yield f"lib/{host.library.name}", host.library
        stable = host.library.with_name("libpython3.so")
        if stable.is_file():
            yield f"lib/{stable.name}", stable
    yield from _tree(host.stdlib, f"lib/python{host.series}")
    if host.include:
        yield from _tree(host.include, f"include/python{host.series}")


def _tree(root: Path, under: str) -> Iterator[tuple[str, Path]]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        inner = Path(folder).relative_to(root).as_posix()
        for name in files:
            if not _SKIPPED_FILES.fullmatch(name):
                path = f"{under}/{name}" if inner == "." else f"{under}/{inner}/{name}"
                yield path, Path(folder, name)


def fingerprint(host: HostInterpreter, layout: int) -> str:
    """Changes when a file of the interpreter does; milliseconds, no file is opened."""
    digest = hashlib.sha256(f"{layout} {host}".encode())
    for path, file in sorted(source_files(host)):
        found = file.stat()
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:24]


def stage(host: HostInterpreter, folder: Path, processes: Processes) -> Staged:
    """Lay the interpreter out in an empty folder, check and compile it.

    Raises:
        InvalidValue: a library is missing, or the result would still load the source's files.
    """
    newest = (2, 17)
    placed: set[str] = set()
    for path, file in sorted(source_files(host)):
        newest = max(newest, _place(host, path, file, folder / path) or newest)
        placed.add(path)
    links = _links(host)
    for path, target in links.items():
        (folder / path).symlink_to(target)
    mapped, dropped = _check(host, folder, sorted(placed), processes)
    placed -= dropped
    records = {path for path in placed if _is_record(path) and _hide_prefix(host, folder / path)}
    sources = sorted(path for path in placed - records if _is_compiled(path))
    _compile(host, folder, sources, processes)
    placed |= {_bytecode(host, path) for path in sources}
    return Staged(
        entries=tuple(_entries(folder, sorted(placed), links, records)),
        glibc=newest,
        system_libraries=tuple(mapped),
        dropped=tuple(sorted(dropped)),
    )


def _links(host: HostInterpreter) -> dict[str, str]:
    links = {"bin/python": f"python{host.series}", "bin/python3": f"python{host.series}"}
    if host.library and ".so." in host.library.name:
        stem = host.library.name.partition(".so.")[0]
        links[f"lib/{stem}.so"] = host.library.name
    return links


def _place(host: HostInterpreter, path: str, file: Path, target: Path) -> tuple[int, int] | None:
    """Copy one file; of an ELF file, mend the search path and tell the C library it needs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as stream:
        head = stream.read(16)
    if not is_elf(head):
        shutil.copyfile(file, target)
        target.chmod(0o755 if os.access(file, os.X_OK) else 0o644)
        return None
    data = file.read_bytes()
    dynamic = read_dynamic(data)
    runpath = _relocated(host, path, dynamic.runpath)
    if runpath != dynamic.runpath:
        try:
            data = with_runpath(data, runpath or "")
        except RunpathFixed as error:
            reason = f"cannot be moved: the library search path of `{file}` is fixed, {error}"
            raise refusal(host.executable, reason) from error
    target.write_bytes(data)
    target.chmod(0o755)
    return dynamic.glibc


def _relocated(host: HostInterpreter, path: str, runpath: str | None) -> str | None:
    """The search path with the source's folder replaced by a place relative to the file."""
    if not runpath:
        return runpath
    mended = (_relative(host, path, entry) for entry in runpath.split(":"))
    return ":".join(dict.fromkeys(mended))


def _relative(host: HostInterpreter, path: str, entry: str) -> str:
    for prefix in host.prefixes:
        if entry == prefix or entry.startswith(f"{prefix}/"):
            inside = entry[len(prefix) :].strip("/") or "."
            relative = os.path.relpath(inside, os.path.dirname(path))  # noqa: PTH120
            return "$ORIGIN" if relative == "." else f"$ORIGIN/{relative}"
    return entry


def _check(
    host: HostInterpreter, folder: Path, placed: Sequence[str], processes: Processes
) -> tuple[list[str], set[str]]:
    """Import every extension module, and look at which files were loaded.

    Returns what came from the system, and the files of optional modules that do not load.
    """
    modules = {
        Path(path).name.partition(".")[0]: path for path in placed if "/lib-dynload/" in path
    }
    report = _run(host, folder, _CHECK, sorted(modules), processes)
    failed: dict[str, str] = report["failed"]
    broken = sorted(failed.keys() - _OPTIONAL)
    if broken:
        listed = "; ".join(f"`{name}`: {failed[name]}" for name in broken[:3])
        raise refusal(host.executable, f"lacks what its own modules need: {listed}")
    mapped = [path for path in report["mapped"] if not path.startswith(f"{folder}/")]
    mapped = [path for path in mapped if ".so" in path]
    _refuse_source_files(host, report["mapped"], mapped, folder)
    return mapped, {modules[name] for name in failed}


def _refuse_source_files(
    host: HostInterpreter, mapped: Iterable[str], outside: Iterable[str], folder: Path
) -> None:
    source = {str(host.executable), str(host.library)}
    private = host.base_prefix not in _SYSTEM_PREFIXES
    for path in outside:
        inside = Path(path).is_relative_to(host.base_prefix if private else host.stdlib)
        if path in source or inside:
            raise refusal(host.executable, f"cannot be moved: a copy of it still loads `{path}`")
    if host.library and f"{folder}/lib/{host.library.name}" not in mapped:
        raise refusal(host.executable, "cannot be moved: a copy of it finds another libpython")


def _is_record(path: str) -> bool:
    return bool(_RECORDS.fullmatch(path.rpartition("/")[2]))


def _hide_prefix(host: HostInterpreter, file: Path) -> bool:
    """Replace the source's folder by the placeholder; whether it was there."""
    text = file.read_bytes()
    pattern = "|".join(re.escape(prefix) for prefix in host.prefixes)
    mended, count = re.subn(rf"(?:{pattern})(?![\w.-])".encode(), PLACEHOLDER.encode(), text)
    if count:
        file.write_bytes(mended)
    return count > 0


def _is_compiled(path: str) -> bool:
    # lib2to3's test-like data and the like do not stand in the tree; all that is left compiles.
    return path.endswith(".py") and path.startswith("lib/") and "/config-" not in path


def _bytecode(host: HostInterpreter, path: str) -> str:
    folder, _, name = path.rpartition("/")
    tag = f"cpython-{host.series.replace('.', '')}"
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def _compile(
    host: HostInterpreter, folder: Path, sources: Sequence[str], processes: Processes
) -> None:
    """Compile in two fixed halves, each by a fresh interpreter, so that bytes do not vary.

    Hash-based and unchecked (PEP 552): installers change mtimes, and the files never change.
    """
    with ThreadPoolExecutor(2) as pool:
        halves = [
            pool.submit(_run, host, folder, _COMPILE, list(sources[start::2]), processes)
            for start in (0, 1)
        ]
        for half in halves:
            half.result()


def _run(
    host: HostInterpreter, folder: Path, script: str, given: list[str], processes: Processes
) -> Any:
    """Run a script by the laid-out interpreter, with a list as its input."""
    python = folder / "bin" / f"python{host.series}"
    # Not -I: that would also switch off the fixed hash seed.
    command = [str(python), "-s", "-S", "-B", "-c", script]
    env = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    try:
        done = processes.run(command, env=env, timeout=300, cwd=folder, stdin=json.dumps(given))
    except ToolFailed as error:
        tail = " ".join(error.output.split())[-300:]
        raise refusal(host.executable, f"cannot be moved: a copy of it fails: {tail}") from error
    return json.loads(done.stdout) if done.stdout else None


def _entries(
    folder: Path, paths: Iterable[str], links: dict[str, str], records: set[str]
) -> Iterator[ArchiveEntry]:
    for path in paths:
        yield _entry(folder, path, placeholder=PLACEHOLDER if path in records else None)
    for path, target in links.items():
        yield _entry(folder, path, link=target)


def _entry(
    folder: Path, path: str, *, link: str | None = None, placeholder: str | None = None
) -> ArchiveEntry:
    data = (folder / path).read_bytes()
    return ArchiveEntry(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        executable=os.access(folder / path, os.X_OK),
        link=link,
        placeholder=placeholder,
    )

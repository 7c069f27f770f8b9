"""What Triton and the builders of extensions would compile with: compilers, headers, libcuda.

The searches are those of `triton/backends/nvidia/driver.py`, `triton/runtime/build.py` and
`torch/utils/cpp_extension.py`. Only small files are read, unless `thorough`: then ptxas is run.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from envforge.adapters.machine.ld_cache import read_ld_cache
from envforge.errors import EnvforgeError
from envforge.formats.text import json_text
from envforge.model.cuda import ComputeCapability
from envforge.ports import Processes
from envforge.verify.facts.prefix import PrefixFacts
from envforge.verify.facts.shell import (
    CachedLibrary,
    HeaderFiles,
    LibcudaPlaces,
    PtxAssembler,
    Toolkit,
    TritonFiles,
)

_SECONDS: Final = 10.0
_RELEASE: Final = re.compile(r"release (\d+\.\d+)")
_TEXT_VERSION: Final = re.compile(r"CUDA Version (\d+\.\d+)")
_HEADER_VERSION: Final = re.compile(r"^#\s*define\s+CUDA_VERSION\s+(\d{4,6})", re.MULTILINE)
_UNKNOWN_ARCHITECTURE: Final = re.compile(
    r"Value '(sm_\w+)' is not defined|(sm_\w+).{0,20}not support"
)
_LISTED: Final = re.compile(r"(?:sm|compute)_(\d{2,3})")
_SYSTEM: Final = ("/usr/", "/bin/", "/opt/")
"""A compiler that lies there on PATH is nobody's choice for this environment."""
_LIBCUDA: Final = ("libcuda.so.1", "libcuda.so")
_LONG: Final = 1 << 20
"""Bytes; cuda.h is a good megabyte, and defines its version near the top."""
TRITON: Final = ("triton", "torchtriton", "pytorch-triton")
"""Names it is packaged under."""


def is_folder(path: str | Path) -> bool:
    """Not so for what may not be looked at: `Path.is_dir` raises there, before Python 3.14."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: str | Path) -> bool:
    """As `is_folder`."""
    return os.path.isfile(path)  # noqa: PTH113


def site_packages(prefix: PrefixFacts) -> Path | None:
    """The folder that torch was found in."""
    if prefix.torch is None:
        return None
    return (Path(prefix.prefix) / prefix.torch.package).parent


def program_path(environment: Mapping[str, str], prefix: PrefixFacts | None) -> str:
    """PATH as it is once the environment is activated."""
    own = [f"{prefix.prefix}/bin"] if prefix is not None else []
    return os.pathsep.join([*own, environment.get("PATH", os.defpath)])


# --- the CUDA toolkit -----------------------------------------------------------------------


def toolkit(
    environment: Mapping[str, str], prefix: PrefixFacts | None, processes: Processes
) -> Toolkit | None:
    """The one that torch builds extensions with: by variable, else the nvcc on PATH."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if home := environment.get(variable):
            return _toolkit(variable, home, environment, processes)
    compiler = shutil.which("nvcc", path=program_path(environment, prefix))
    if compiler is None:
        return None
    home = os.path.dirname(os.path.dirname(compiler))  # noqa: PTH120
    if compiler.startswith(_SYSTEM):
        return Toolkit(source="PATH", home=home, exists=True, is_system=True)
    return _toolkit("PATH", home, environment, processes)


def _toolkit(
    source: str, home: str, environment: Mapping[str, str], processes: Processes
) -> Toolkit:
    exists = is_folder(home)
    version, witness = _version_of(Path(home), environment, processes) if exists else (None, "")
    return Toolkit(source=source, home=home, exists=exists, version=version, witness=witness)


def _version_of(
    home: Path, environment: Mapping[str, str], processes: Processes
) -> tuple[str | None, str]:
    for path in (home / "version.json", home / "version.txt", *_cuda_headers(home)):
        version = _version_in(path)
        if version is not None:
            return version, str(path)
    compiler = home / "bin" / "nvcc"
    if not os.access(compiler, os.X_OK):
        return None, ""
    said = _ask(processes, [str(compiler), "--version"], environment)
    found = _RELEASE.search(said)
    return (found[1], str(compiler)) if found else (None, "")


def _cuda_headers(home: Path) -> Iterator[Path]:
    yield home / "include" / "cuda.h"
    yield from _inside(home / "targets", "include/cuda.h")


def _inside(folder: Path, path: str) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return
    for name in names:
        yield folder / name / path


def _version_in(path: Path) -> str | None:
    """`12.3` out of what toolkits carry: version.json, version.txt or cuda.h."""
    text = _start_of(path)
    if path.name == "version.json":
        return _json_version(text)
    if path.name == "version.txt":
        found = _TEXT_VERSION.search(text)
        return found[1] if found else None
    found = _HEADER_VERSION.search(text)
    return f"{int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}" if found else None


def _json_version(text: str) -> str | None:
    try:
        document = json_text.parse(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    for part in ("cuda", "cuda_nvcc"):
        entry = document.get(part)
        version = entry.get("version") if isinstance(entry, dict) else None
        found = re.match(r"\d+\.\d+", version) if isinstance(version, str) else None
        if found:
            return found[0]
    return None


def _start_of(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONG).decode("utf-8", "replace")
    except OSError:
        return ""


# --- C compiler and headers -----------------------------------------------------------------


def compiler(environment: Mapping[str, str], prefix: PrefixFacts | None) -> str | None:
    """The one Triton would take: what `CC` names, else gcc, else clang."""
    path = program_path(environment, prefix)
    named = environment.get("CC", "").split()
    if named:
        return next((found for word in named[:2] if (found := shutil.which(word, path=path))), None)
    if found := shutil.which("gcc", path=path) or shutil.which("clang", path=path):
        return found
    return _of_conda(prefix) or shutil.which("cc", path=path)


def _of_conda(prefix: PrefixFacts | None) -> str | None:
    """Compilers of conda have long names, which activation puts into `CC`."""
    if prefix is None:
        return None
    try:
        names = os.listdir(f"{prefix.prefix}/bin")  # noqa: PTH208
    except OSError:
        return None
    found = (name for name in names if name.endswith(("-linux-gnu-gcc", "-linux-gnu-cc")))
    return next((f"{prefix.prefix}/bin/{name}" for name in found), None)


def headers(prefix: PrefixFacts) -> HeaderFiles:
    """Python.h of the interpreter, where that is a program we can follow to its home."""
    series = _series(prefix)
    if series is None or prefix.interpreter is None or not _is_program(prefix.interpreter):
        return HeaderFiles(python=series)
    real = os.path.realpath(prefix.interpreter)
    homes = [prefix.prefix, os.path.dirname(os.path.dirname(real))]  # noqa: PTH120
    folders = tuple(dict.fromkeys(f"{home}/include" for home in homes))
    found = next(_python_headers(folders, series), None)
    outside = not real.startswith(f"{prefix.real.rstrip('/')}/")
    return HeaderFiles(python=series, found=found, looked=folders, is_system=outside)


def _series(prefix: PrefixFacts) -> str | None:
    for text in (
        prefix.torch.package if prefix.torch else "",
        os.path.basename(os.path.realpath(prefix.interpreter or "")),  # noqa: PTH119
    ):
        found = re.search(r"python(\d\.\d+)", text)
        if found:
            return found[1]
    return None


def _is_program(path: str) -> bool:
    """Whether it is a program of the system's, and no script that starts one."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False


def _python_headers(folders: Iterable[str], series: str) -> Iterator[str]:
    """`include/python3.10/Python.h`, also of builds with a letter behind the number."""
    for folder in folders:
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            if re.fullmatch(rf"python{re.escape(series)}[a-z]*", name):
                path = f"{folder}/{name}/Python.h"
                if os.path.exists(path):  # noqa: PTH110
                    yield path


# --- Triton ---------------------------------------------------------------------------------


def triton_files(
    environment: Mapping[str, str],
    prefix: PrefixFacts,
    *,
    capabilities: Sequence[ComputeCapability],
    root: Path,
    processes: Processes | None,
) -> TritonFiles | None:
    """What Triton brings; None where it is not installed.

    Args:
        environment: variables of the programs that would use it.
        prefix: where it may be installed.
        capabilities: of the GPUs that are here.
        root: where the machine's own folders are seen.
        processes: runs ptxas; None: it is not run.
    """
    version = next(
        (item.version for item in (*prefix.wheels, *prefix.conda) if item.name in TRITON), None
    )
    site = site_packages(prefix)
    folder = site / "triton" if site and is_folder(site / "triton") else None
    if version is None and folder is None:
        return None
    backend = _backend(folder)
    assemblers: tuple[PtxAssembler, ...] = ()
    if processes is not None:
        wanted = _assemblers(environment, prefix, backend, capabilities)
        assemblers = tuple(
            _asked(path, variable, names, environment, processes)
            for (path, variable), names in wanted.items()
        )
    return TritonFiles(
        version=version,
        folder=str(folder) if folder else None,
        has_backend=backend is not None,
        cuda_header=_cuda_header(environment, prefix, backend, root),
        assemblers=assemblers,
    )


def _backend(folder: Path | None) -> Path | None:
    """Since Triton 3 `backends/nvidia`, before that `third_party/cuda`."""
    if folder is None:
        return None
    places = (folder / "backends" / "nvidia", folder / "third_party" / "cuda")
    return next((place for place in places if is_folder(place)), None)


def _cuda_header(
    environment: Mapping[str, str], prefix: PrefixFacts, backend: Path | None, root: Path
) -> str | None:
    places = [backend / "include" / "cuda.h"] if backend else []
    places += _cuda_headers(Path(prefix.prefix))
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if environment.get(variable):
            places += _cuda_headers(Path(environment[variable]))
    for variable in ("CPATH", "C_INCLUDE_PATH"):
        folders = environment.get(variable, "").split(os.pathsep)
        places += [Path(item) / "cuda.h" for item in folders if item]
    places += [root / "usr/local/cuda/include/cuda.h", root / "usr/include/cuda.h"]
    return next((str(place) for place in places if os.path.exists(place)), None)  # noqa: PTH110


def _assemblers(
    environment: Mapping[str, str],
    prefix: PrefixFacts,
    backend: Path | None,
    capabilities: Sequence[ComputeCapability],
) -> dict[tuple[str, str | None], list[ComputeCapability]]:
    """Which ptxas compiles for which of the GPUs."""
    found: dict[tuple[str, str | None], list[ComputeCapability]] = {}
    for capability in sorted(set(capabilities)):
        assembler = _assembler(environment, prefix, backend, capability)
        if assembler is not None:
            found.setdefault(assembler, []).append(capability)
    return found


def _assembler(
    environment: Mapping[str, str],
    prefix: PrefixFacts,
    backend: Path | None,
    capability: ComputeCapability,
) -> tuple[str, str | None] | None:
    """From Triton 3.6 on, GPUs of capability 10.0 and above have a ptxas of their own."""
    bundled = backend / "bin" if backend else None
    names = ["ptxas"]
    if capability >= ComputeCapability(10, 0):
        names.insert(0, "ptxas-blackwell")
    if capability == ComputeCapability(11, 0):
        names.insert(0, "ptxas-thor")
    for name in names:
        variable = f"TRITON_{name.upper().replace('-', '_')}_PATH"
        own = str(bundled / name) if bundled and is_file(bundled / name) else None
        if name != "ptxas" and own is None:
            continue  # this Triton knows of no such thing
        if environment.get(variable):
            return environment[variable], variable
        if own is not None:
            return own, None
    of_conda = Path(prefix.prefix) / "bin" / "ptxas"
    return (str(of_conda), None) if is_file(of_conda) else None


def _asked(
    path: str,
    variable: str | None,
    capabilities: Sequence[ComputeCapability],
    environment: Mapping[str, str],
    processes: Processes,
) -> PtxAssembler:
    if not is_file(path):
        return PtxAssembler(path=path, variable=variable, exists=False)
    serves = tuple(_architecture(capability) for capability in capabilities)
    said = _ask(processes, [path, "--version"], environment)
    release = _RELEASE.search(said)
    refused: list[str] = []
    accepted: list[str] = []
    for capability in capabilities:
        verdict = _assembles(path, capability, environment, processes)
        if verdict is not None:
            (accepted if verdict else refused).append(_architecture(capability))
    return PtxAssembler(
        path=path,
        variable=variable,
        serves=serves,
        release=release[1] if release else None,
        refused=tuple(refused),
        accepted=tuple(accepted),
        error="" if release or refused or accepted else said.strip()[-300:] or "it says nothing",
    )


def _assembles(
    path: str,
    capability: ComputeCapability,
    environment: Mapping[str, str],
    processes: Processes,
) -> bool | None:
    """Whether it compiles for a GPU; None: it tells neither."""
    plain = _architecture(capability).rstrip("a")
    answers = [
        _compiles(path, name, capability, environment, processes)
        for name in dict.fromkeys((_architecture(capability), plain))
    ]
    if True in answers:
        return True
    if all(answer is False for answer in answers):
        return False
    listed = _LISTED.findall(_ask(processes, [path, "--list-gpu-arch"], environment))
    return plain.removeprefix("sm_") in listed if listed else None


def _compiles(
    path: str,
    architecture: str,
    capability: ComputeCapability,
    environment: Mapping[str, str],
    processes: Processes,
) -> bool | None:
    """Hand it a kernel that does nothing, for the oldest target that it surely knows."""
    oldest = min(capability, ComputeCapability(7, 5))
    text = f".version 6.4\n.target {_architecture(oldest)}\n.address_size 64\n"
    with tempfile.TemporaryDirectory(prefix="envforge-") as scratch:
        source, result = Path(scratch) / "empty.ptx", Path(scratch) / "empty.o"
        source.write_text(text)
        command = [path, f"--gpu-name={architecture}", str(source), "-o", str(result)]
        said = _ask(processes, command, environment)
        if _UNKNOWN_ARCHITECTURE.search(said):
            return False
        return True if result.is_file() and result.stat().st_size else None


def _architecture(capability: ComputeCapability) -> str:
    """As Triton asks for it: from 9.0 on with the features that no later GPU has."""
    suffix = "a" if capability >= ComputeCapability(9, 0) else ""
    return f"sm_{capability.major}{capability.minor}{suffix}"


def _ask(processes: Processes, command: list[str], environment: Mapping[str, str]) -> str:
    """What it prints, on either stream; whatever goes wrong is among it."""
    try:
        done = processes.run(command, env=environment, timeout=_SECONDS, check=False)
    except (EnvforgeError, OSError, ValueError) as error:
        return str(error)
    return f"{done.stdout}\n{done.stderr}"


# --- libcuda --------------------------------------------------------------------------------


def libcuda_places(environment: Mapping[str, str], root: Path) -> LibcudaPlaces:
    """The three places where Triton looks for the driver's library."""
    named = environment.get("TRITON_LIBCUDA_PATH") or None
    cached = tuple(_cached(root))
    folders = dict.fromkeys(os.path.dirname(item.path) for item in cached)  # noqa: PTH120
    beside = (f"{folder}/libcuda.so" for folder in folders)
    return LibcudaPlaces(
        named=named,
        named_files=_present(named) if named else (),
        cached=cached,
        beside=tuple(path for path in beside if _is_there(path, root)),
        on_library_path=tuple(
            dict.fromkeys(
                name
                for folder in environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
                if folder
                for name in _present(folder)
            )
        ),
    )


def _cached(root: Path) -> Iterator[CachedLibrary]:
    try:
        data = (root / "etc/ld.so.cache").read_bytes()
    except OSError:
        return
    cache = read_ld_cache(data)
    for name in _LIBCUDA:
        for path in cache.get(name, ()):
            yield CachedLibrary(name=name, path=path, exists=_is_there(path, root))


def _is_there(path: str, root: Path) -> bool:
    # a link's own target may be absolute and outside `root`: that it is there is enough
    return os.path.lexists(f"{str(root).rstrip('/')}{path}")


def _present(folder: str) -> tuple[str, ...]:
    return tuple(name for name in _LIBCUDA if os.path.exists(f"{folder}/{name}"))  # noqa: PTH110

"""Can kernels and extensions be compiled here: by Triton, torch.compile, and torch's builders?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from envforge.errors import InvalidValue
from envforge.matrix import reading
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.finding import Finding
from envforge.model.machine import Gpu
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU, cuda_of, host_of
from envforge.verify.checks.shell import leaked, shell_of, torch_release
from envforge.verify.facts import Subject
from envforge.verify.facts.shell import (
    CacheFolder,
    LibcudaPlaces,
    PtxAssembler,
    Toolkit,
    TritonFiles,
)

_NEW: Final = "libcuda.so.1"
_OLD: Final = "libcuda.so"
_INDUCTOR_USES: Final = {
    "inductor": "torch.compile's code",
    "triton": "Triton's kernels",
    "extensions": "extensions",
    "driver": "what the driver compiles",
}


# --- Triton ---------------------------------------------------------------------------------


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="AssertionError: libcuda.so cannot found! | /usr/bin/ld: cannot find -lcuda",
    cause="Triton asks the loader's cache where libcuda is; the driver's folder is not in it, the"
    " cache is older than the driver, or an old Triton wants the name without a number",
    fix="refresh the loader's cache, or name the folder in TRITON_LIBCUDA_PATH (Triton 2.2 and"
    " later)",
    why="torch.compile and every Triton kernel fail, though CUDA itself works",
    source="triton-lang/triton#2110, triton-lang/triton#2883, pytorch/pytorch#103417",
)
def triton_libcuda_not_found(subject: Subject) -> Iterator[Finding]:
    """Triton finds the driver's library where it looks for it."""
    triton = _triton_on_gpu(subject)
    places = shell_of(subject).libcuda
    wanted = _OLD if _major(triton) < 3 else _NEW
    reason = _not_in_named(places) if places.named else _not_found(places, wanted)
    if reason:
        yield Finding(
            message=f"Triton {triton.version or ''} does not find the driver's {wanted}".replace(
                "  ", " "
            ),
            seen=reason,
            expected=f"{wanted} where Triton looks",
            remedy=_show_libcuda(subject, places, wanted),
        )


def _not_in_named(places: LibcudaPlaces) -> str:
    if places.named_files:
        return ""
    return f"TRITON_LIBCUDA_PATH={places.named}, where no libcuda is"


def _not_found(places: LibcudaPlaces, wanted: str) -> str:
    """After `libcuda_dirs()` of Triton: the cache, and only where that lists none, the variable."""
    listed = [item for item in places.cached if wanted == _OLD or item.name == _NEW]
    if not listed:
        if wanted in places.on_library_path:
            return ""
        return f"no {wanted} in the loader's cache, nor in a folder of LD_LIBRARY_PATH"
    found = [item for item in listed if item.exists]
    if wanted == _OLD and (places.beside or any(item.name == _OLD for item in found)):
        return ""
    if wanted == _NEW and found:
        return ""
    gone = "which is not there" if not found else f"and no {_OLD} beside it"
    return f"the loader's cache lists {listed[0].path}, {gone}"


def _show_libcuda(subject: Subject, places: LibcudaPlaces, wanted: str) -> str:
    if places.named:
        return "unset TRITON_LIBCUDA_PATH"
    library = host_of(subject).cuda.library
    folder = shlex.quote(library.rpartition("/")[0]) if library else "DRIVER_FOLDER"
    if wanted == _OLD:
        return f"sudo ln -s {_NEW} {folder}/{_OLD} && sudo ldconfig"
    return f"sudo ldconfig; without root: export TRITON_LIBCUDA_PATH={folder}"


@check(
    level="static",
    needs=("host", "prefix"),
    severity="warning",
    symptom="fatal error: Python.h: No such file or directory | fatal error: cuda.h: No such file",
    cause="a system's Python without its development package, or a Triton that was packaged without"
    " the header of CUDA",
    fix="the development package of that Python, or the environment's own Python; cuda-cudart-dev",
    why="Triton compiles a small C file before it can start its first kernel",
    source="sgl-project/sglang#1117, pytorch/pytorch#90757, conda-forge/pytorch-cpu-feedstock#166",
)
def python_headers_missing(subject: Subject) -> Iterator[Finding]:
    """The headers that Triton includes are there: Python.h and cuda.h."""
    triton, shell = _triton(subject), shell_of(subject)
    if shell.headers.looked and shell.headers.found is None:
        series = shell.headers.python
        yield Finding(
            message=f"Python.h of Python {series} is missing, which Triton compiles with",
            seen=f"no python{series}/Python.h in {' or '.join(shell.headers.looked)}",
            expected=f"{shell.headers.looked[-1]}/python{series}/Python.h",
            remedy=f"sudo apt install python{series}-dev, or sudo dnf install python3-devel"
            if shell.headers.is_system
            else _reinstall(subject, "python"),
        )
    if triton.has_backend and triton.cuda_header is None:
        cuda = cuda_of(subject)
        yield Finding(
            message="cuda.h is missing, which Triton compiles with",
            seen=f"none in {triton.folder}, in the environment or in a CUDA toolkit",
            expected="the header that Triton brings, or that of the CUDA runtime",
            remedy=_add(subject, f"cuda-cudart-dev={cuda}.*"),
        )
    if not shell.headers.looked and not triton.has_backend:
        raise CannotLook("it is not known where this interpreter keeps its headers")


@check(
    level="static",
    needs=("host", "prefix"),
    severity="warning",
    symptom="RuntimeError: Failed to find C compiler. Please specify via CC environment variable.",
    cause="a small container image, or a variable CC that names a compiler of another environment",
    fix="gcc or clang on PATH",
    why="Triton compiles a small C file before it can start its first kernel",
    source="triton-lang/triton, python/triton/runtime/build.py",
)
def no_c_compiler(subject: Subject) -> Iterator[Finding]:
    """There is a C compiler for Triton to use."""
    _triton_on_gpu(subject)
    shell = shell_of(subject)
    if shell.compiler is not None:
        return
    named = shell.compiler_named
    yield Finding(
        message=f"CC names {named}, which is no program here"
        if named
        else "there is no C compiler, which Triton needs for its first kernel",
        seen=f"CC={named}" if named else "neither gcc nor clang on PATH",
        expected="a C compiler",
        remedy="unset CC" if named else "sudo apt install gcc, or " + _add(subject, "gxx"),
    )


@check(
    level="import",
    needs=("host", "prefix"),
    symptom="PTXASError: ptxas fatal : Value 'sm_121a' is not defined for option 'gpu-name'",
    cause="the ptxas that Triton brings, or that TRITON_PTXAS_PATH names, is older than the GPU",
    fix="a ptxas of a CUDA toolkit that knows the GPU, or a newer Triton",
    why="torch.compile and every Triton kernel fail on this GPU",
    source="triton-lang/triton#8539, pytorch/pytorch#148551",
)
def ptxas_too_old(subject: Subject) -> Iterator[Finding]:
    """Triton's ptxas knows every GPU that is here."""
    triton = _triton_on_gpu(subject)
    gpus = _gpus(subject)
    if not triton.assemblers:
        raise CannotLook("Triton brings no ptxas, or it was not asked")
    for assembler in triton.assemblers:
        too_new = [gpu for gpu in gpus if _is_unknown(assembler, gpu.capability)]
        if too_new:
            yield _too_old(assembler, too_new[0])
        elif not assembler.exists:
            raise CannotLook(f"{assembler.variable}={assembler.path} is no file")
        elif assembler.error:
            raise CannotLook(f"{assembler.path} could not be asked: {assembler.error}")


def _too_old(assembler: PtxAssembler, gpu: Gpu) -> Finding:
    first = _first_toolkit(gpu.capability)
    variable = "TRITON_PTXAS_PATH"
    file = assembler.path.rpartition("/")[2]
    if file.startswith("ptxas-"):
        variable = f"TRITON_{file.upper().replace('-', '_')}_PATH"
    newer = f"CUDA {first} or newer" if first else "a newer CUDA"
    row, release = reading.load().architecture(gpu.capability), _cuda(assembler.release)
    if row and row.last_toolkit and release and release > row.last_toolkit:
        newer = f"CUDA {row.last_toolkit} or older"
    export = f"export {variable}=/usr/local/cuda/bin/ptxas, with {newer} there"
    return Finding(
        message=f"Triton's ptxas does not know {gpu.name} (sm_{_digits(gpu.capability)})",
        seen=f"{assembler.path}, of CUDA {assembler.release or 'unknown'}",
        expected=f"ptxas of {newer}",
        remedy=f"unset {assembler.variable}; else {export}" if assembler.variable else export,
    )


def _is_unknown(assembler: PtxAssembler, capability: ComputeCapability) -> bool:
    """By its own word, else by the age of the toolkit it is from."""
    names = {f"sm_{_digits(capability)}", f"sm_{_digits(capability)}a"}
    if names & {*assembler.refused}:
        return True
    first, release = _first_toolkit(capability), _cuda(assembler.release)
    if names & {*assembler.accepted} or not names & {*assembler.serves}:
        return False
    return first is not None and release is not None and release < first


def _first_toolkit(capability: ComputeCapability) -> CudaVersion | None:
    row = reading.load().architecture(capability)
    return row.first_toolkit if row else None


def _digits(capability: ComputeCapability) -> str:
    return f"{capability.major}{capability.minor}"


# --- the folders of compiled code -----------------------------------------------------------


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="PermissionError: [Errno 13] Permission denied: '/tmp/torchinductor_…' or '/.cache'",
    cause="another user made the folder, the home folder is read-only or `/`, or the user id of a"
    " container has no name",
    fix="name folders of your own in TORCHINDUCTOR_CACHE_DIR and TRITON_CACHE_DIR",
    why="torch.compile, Triton's kernels or extensions fail at their first use",
    source="pytorch/pytorch#34238, pytorch/pytorch#140765, opendatahub-io/ilab-on-ocp#26",
)
def inductor_cache_perm(subject: Subject) -> Iterator[Finding]:
    """What torch.compile, Triton and extensions compile can be written."""
    shell = shell_of(subject)
    release = torch_release(subject)
    if (2, 0) <= release < (2, 13) and shell.user is None and shell.uid is not None:
        named = any(item.use == "inductor" for item in shell.caches)
        if not named:
            yield Finding(
                message=f"user id {shell.uid} has no name here, and torch.compile asks for one",
                seen="no account of that number, and neither LOGNAME nor USER set",
                expected="a user name, by an account or by a variable",
                remedy="export USER=u$(id -u) HOME=/tmp",
            )
    bad = [(item, why) for item in _in_use(subject) if (why := _why_not(item, shell.uid))]
    if bad:
        folder, why = bad[0]
        yield Finding(
            message=f"{_INDUCTOR_USES[folder.use]} cannot be kept in {folder.path}: {why}",
            seen=", ".join(f"{item.path}: {reason}" for item, reason in bad[:3]),
            expected="a folder that you own and may write to",
            remedy=_elsewhere([item for item, _ in bad]),
        )


def _why_not(folder: CacheFolder, uid: int | None) -> str:
    """Why this user cannot write there; empty: nothing speaks against it."""
    place = "it" if folder.exists else folder.nearest
    if not folder.is_folder:
        return f"{place} is no folder"
    if folder.read_only:
        return f"{folder.mount} is mounted read-only"
    if folder.exists and folder.per_user and folder.owner not in (uid, 0, None):
        return f"it belongs to user {folder.owner}"
    if folder.writable is False:
        return f"{place} may not be written to (owner {folder.owner}, mode {folder.mode or 0:04o})"
    return ""


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="failed to map segment from shared object, or Permission denied, for a .so in /tmp",
    cause="the folder of compiled code lies on a filesystem that is mounted noexec",
    fix="another folder, in TMPDIR, TORCHINDUCTOR_CACHE_DIR and TRITON_CACHE_DIR",
    why="what torch.compile and Triton build is a library, and cannot be loaded from there",
    source="pytorch/pytorch#91005",
)
def tmp_noexec(subject: Subject) -> Iterator[Finding]:
    """What torch.compile and Triton build can be loaded from where it is kept."""
    bad = [item for item in _in_use(subject) if item.noexec and item.use != "driver"]
    if bad:
        yield Finding(
            message=f"{_INDUCTOR_USES[bad[0].use]} cannot be loaded from {bad[0].path}:"
            f" {bad[0].mount} is mounted noexec",
            seen=", ".join(f"{item.path} on {item.mount}" for item in bad),
            expected="a filesystem that programs may be run from",
            remedy=_elsewhere(bad),
        )


def _in_use(subject: Subject) -> list[CacheFolder]:
    """The folders that this torch, or its Triton, will want to use."""
    shell, release = shell_of(subject), torch_release(subject)
    has_cuda = _has_cuda(subject)

    def is_used(item: CacheFolder) -> bool:
        is_named = item.variable not in {None, "HOME"}
        if item.use == "inductor":
            return release >= (2, 0)
        if item.use == "triton":
            return has_cuda and (is_named or shell.triton is not None)
        return is_named or has_cuda

    return [item for item in shell.caches if is_used(item)]


def _elsewhere(folders: list[CacheFolder]) -> str:
    variables = {
        "inductor": "TORCHINDUCTOR_CACHE_DIR",
        "triton": "TRITON_CACHE_DIR",
        "extensions": "TORCH_EXTENSIONS_DIR",
        "driver": "CUDA_CACHE_PATH",
    }
    names = dict.fromkeys(variables[item.use] for item in folders)
    home = any(item.variable == "HOME" for item in folders)
    base = "/var/tmp/$(id -u)" if home else "$HOME/.cache"  # noqa: S108 - for a person to copy
    return "export " + " ".join(f"{name}={base}/{name.split('_')[0].lower()}" for name in names)


# --- the CUDA toolkit -----------------------------------------------------------------------


@check(
    level="static",
    needs=("host", "prefix"),
    severity="warning",
    symptom="RuntimeError: The detected CUDA version (12.3) mismatches the version that was used to"
    " compile PyTorch (11.8)",
    cause="extensions are built with the nvcc that CUDA_HOME names or PATH finds first, and that is"
    " of another CUDA than torch",
    fix="cuda-nvcc of torch's CUDA in the environment, and CUDA_HOME set to it",
    why="no CUDA extension can be built for this torch",
    source="PyTorch torch/utils/cpp_extension.py, microsoft/TRELLIS#33",
)
def cuda_home_mismatch(subject: Subject) -> Iterator[Finding]:
    """The CUDA toolkit that extensions are built with is of torch's CUDA."""
    cuda, shell = cuda_of(subject), shell_of(subject)
    toolkit = shell.toolkit
    if toolkit is None:
        raise NotApplicable("neither CUDA_HOME nor PATH leads to a CUDA toolkit")
    if toolkit.is_system:
        raise NotApplicable("the nvcc on PATH is the system's, and no CUDA_HOME chooses it")
    if toolkit.source in {item.variable for item in leaked(shell)}:
        raise NotApplicable(f"{toolkit.source} is left over from another environment")
    if not toolkit.exists:
        yield Finding(
            message=f"{toolkit.source} names {toolkit.home}, which does not exist",
            seen=f"{toolkit.source}={toolkit.home}",
            expected="a CUDA toolkit, or no such variable",
            remedy=f"unset {toolkit.source}",
        )
        return
    found = _cuda(toolkit.version)
    if found is None:
        raise CannotLook(f"the CUDA toolkit in {toolkit.home} does not tell its version")
    if found != cuda:
        yield _other_toolkit(subject, toolkit, found, cuda)


def _other_toolkit(
    subject: Subject, toolkit: Toolkit, found: CudaVersion, cuda: CudaVersion
) -> Finding:
    how = "refuses it" if found.major != cuda.major else "warns of it"
    whose = f"{toolkit.source} names" if toolkit.source != "PATH" else "nvcc on PATH is of"
    return Finding(
        message=f"{whose} CUDA {found}, and torch is for CUDA {cuda}: an extension's build {how}",
        seen=f"CUDA {found}, by {toolkit.witness}",
        expected=f"CUDA {cuda}",
        remedy=_add(subject, f"cuda-nvcc={cuda}.*")
        + (f" && unset {toolkit.source}" if toolkit.source != "PATH" else ""),
    )


# --- what the others stand on ---------------------------------------------------------------


def _triton(subject: Subject) -> TritonFiles:
    """Raises NotApplicable where there is no Triton, or torch has no use for it."""
    cuda_of(subject)
    triton = shell_of(subject).triton
    if triton is None:
        raise NotApplicable("Triton is not installed")
    return triton


def _triton_on_gpu(subject: Subject) -> TritonFiles:
    """The same, where there is a GPU for it."""
    triton = _triton(subject)
    if host_of(subject).machine.driver is None:
        raise NotApplicable(NO_DRIVER)
    if not _gpus(subject):
        raise NotApplicable(NO_GPU)
    return triton


def _gpus(subject: Subject) -> tuple[Gpu, ...]:
    return host_of(subject).usable_gpus


def _has_cuda(subject: Subject) -> bool:
    try:
        cuda_of(subject)
    except NotApplicable:
        return False
    return True


def _major(triton: TritonFiles) -> int:
    """Unknown is taken for new."""
    head = (triton.version or "").partition(".")[0]
    return int(head) if head.isdigit() else 3


def _cuda(text: str | None) -> CudaVersion | None:
    try:
        return CudaVersion.parse(text) if text else None
    except InvalidValue:
        return None


def _add(subject: Subject, package: str) -> str:
    if subject.folder is None:
        return f"install {package} into the environment"
    return f"envforge add {shlex.quote(subject.place or subject.folder)} '{package}'"


def _reinstall(subject: Subject, package: str) -> str:
    if subject.folder is None:
        return f"install {package} anew"
    return f"envforge install {shlex.quote(subject.place or subject.folder)}"

"""Libraries that others open by name, or that one process has to share: nvrtc, MKL, OpenMP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.objects import file_name, linking_of, numbers, prefix_of, restore
from envforge.verify.facts import Subject

_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_NO_EXECUTABLE_STACK: Final = [2, 41]
"""glibc's NEWS for 2.41: dlopen no longer makes the stack executable."""
_TLS_FIXED: Final = [2, 32]
"""glibc's NEWS for 2.32: static TLS surplus became tunable, and larger."""


@check(
    level="static",
    needs=("prefix",),
    symptom="nvrtc: error: failed to open libnvrtc-builtins.so.11.1",
    why="nothing that is compiled at run time runs: torch.jit, some FFTs, cupy",
    source="pytorch/pytorch#58101, pytorch/pytorch#68980",
    cause="libnvrtc opens its partner by the exact name of its own release, and that file is"
    " absent or of another release.",
    fix="Install both from one package of one release (cuda-nvrtc, nvidia-cuda-nvrtc).",
)
def nvrtc_builtins_missing(subject: Subject) -> Iterator[Finding]:
    """Each libnvrtc has the partner of its own release."""
    for item in linking_of(subject).nvrtc:
        there = f"; there is {', '.join(item.present)}" if item.present else ""
        yield Finding(
            message=f"{file_name(item.library)} will look for {item.wanted}, which is not there",
            seen=f"no {item.wanted} beside {item.library}{there}",
            expected=f"{item.wanted} beside {item.library}",
            remedy=restore(subject, item.library),
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="Intel MKL FATAL ERROR: Cannot load libmkl_avx512.so or libmkl_def.so",
    why="the first product of matrices ends the process",
    source="ContinuumIO/anaconda-issues#698, ContinuumIO/anaconda-issues#9228",
    cause="MKL opens the kernels for the processor by name. They are gone, or of another release"
    " after a partial update, or pip's MKL was put over conda's.",
    fix="Install mkl and numpy anew, from one source.",
)
def mkl_dispatch_missing(subject: Subject) -> Iterator[Finding]:
    """MKL has its kernels, all of one release."""
    mkl, prefix = linking_of(subject).mkl, prefix_of(subject)
    if mkl is None:
        raise NotApplicable("no MKL here")
    conda = next((item.version for item in prefix.conda if item.name == "mkl"), None)
    wheel = next((item.version for item in prefix.wheels if item.name == "mkl"), None)
    if mkl.missing:
        others = f"; there is {', '.join(mkl.others)}" if mkl.others else ""
        yield Finding(
            message=f"{file_name(mkl.core)} will look for {mkl.missing[0]}, which is not there",
            seen=f"no {', '.join(mkl.missing)} beside {mkl.core}{others}",
            expected="the kernels of the same release",
            remedy=_mkl_anew(subject),
        )
    elif conda and wheel and not wheel.startswith(conda):
        yield Finding(
            message=f"pip's MKL {wheel} was put over conda's MKL {conda}",
            seen=f"conda package mkl {conda}, wheel mkl {wheel}: the same files in lib",
            expected="one MKL",
            remedy=_mkl_anew(subject),
        )


def _mkl_anew(subject: Subject) -> str:
    if subject.locked is not None and subject.folder is not None:
        return remedies.install(subject)
    return f"conda install -p {prefix_of(subject).prefix} --force-reinstall mkl numpy"


@check(
    level="static",
    needs=("prefix",),
    symptom="OMP: Error #15: Initializing libiomp5.so, but found libomp.so already initialized",
    why="the process is ended; with KMP_DUPLICATE_LIB_OK it goes on, and may compute wrongly",
    source="pytorch/pytorch#78490, pytorch/pytorch#44282; LLVM OpenMP runtime",
    cause="torch and numpy, from different sources, bring an OpenMP runtime of LLVM's or Intel's"
    " each, and both are loaded into one process. GNU's beside one of these is common and works.",
    fix="Take torch and numpy from one source, and unset KMP_DUPLICATE_LIB_OK.",
)
def two_openmp_runtimes(subject: Subject) -> Iterator[Finding]:
    """torch, numpy and MKL bring no two OpenMP runtimes that refuse each other."""
    found = linking_of(subject).openmp
    refusing = [item for item in found if item.family == "llvm"]
    value = subject.host.variables.get("KMP_DUPLICATE_LIB_OK", "") if subject.host else ""
    hidden = value.strip().lower() in _TRUE
    seen = "; ".join(f"{item.path} (by {', '.join(item.requesters)})" for item in found)
    if len(refusing) > 1:
        yield Finding(
            message=f"two OpenMP runtimes in one process: {file_name(refusing[0].path)} and"
            f" {file_name(refusing[1].path)}",
            seen=f"{seen}; KMP_DUPLICATE_LIB_OK={value}" if hidden else seen,
            expected="one runtime of the LLVM and Intel family",
            remedy=_one_source(subject),
        )
    elif hidden and refusing and len(found) > 1:
        yield Finding(
            message="KMP_DUPLICATE_LIB_OK hides that two OpenMP runtimes are loaded",
            seen=f"KMP_DUPLICATE_LIB_OK={value}; {seen}",
            expected="one runtime, and the variable not set",
            remedy="unset KMP_DUPLICATE_LIB_OK",
            severity="warning",
        )


def _one_source(subject: Subject) -> str:
    if any(item.name == "torch" for item in prefix_of(subject).wheels):
        return "take torch and numpy both from conda-forge, or both from wheels"
    return remedies.install(subject)


@check(
    level="static",
    needs=("prefix",),
    severity="warning",
    symptom="libgomp.so.1: cannot allocate memory in static TLS block",
    why="whether the import succeeds depends on the order of imports",
    source="dmlc/xgboost#7110, lightgbm-org/LightGBM#6509; glibc 2.32 NEWS",
    cause="On aarch64, glibc before 2.32 has little room for thread-local storage of libraries"
    " that are opened late, and several packages bring a libgomp of their own.",
    fix="Import torch before the others, or set LD_PRELOAD to the libgomp of torch.",
)
def static_tls(subject: Subject) -> Iterator[Finding]:
    """The C library has room for the OpenMP runtimes that packages bring."""
    linking = linking_of(subject)
    if linking.machine != "aarch64":
        raise NotApplicable("only aarch64 has so little room")
    glibc = linking.glibc or (subject.host.glibc if subject.host else None)
    if glibc is None:
        raise CannotLook("the C library does not tell its version")
    if numbers(glibc) < _TLS_FIXED and len(linking.bundled_openmp) > 1:
        first = next(
            (i for i in linking.bundled_openmp if "/torch" in i), linking.bundled_openmp[0]
        )
        yield Finding(
            message=f"{len(linking.bundled_openmp)} packages bring a libgomp, and glibc {glibc} on"
            " aarch64 may have no room for the second",
            seen=", ".join(linking.bundled_openmp[:4]),
            expected="glibc 2.32 or newer, or one libgomp",
            remedy=f"export LD_PRELOAD={prefix_of(subject).prefix}/{first}",
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="cannot enable executable stack as shared object requires: Invalid argument",
    why="`import torch` fails",
    source="glibc 2.41 NEWS; conda-forge/pytorch-cpu-feedstock#350, OpenNMT/CTranslate2#1849",
    cause="A library of an old build is marked as needing an executable stack, which glibc grants"
    " no longer to what is opened at run time.",
    fix="Take a newer torch, or clear the mark: `patchelf --clear-execstack FILE`.",
)
def executable_stack(subject: Subject) -> Iterator[Finding]:
    """No library asks for an executable stack where the C library refuses it."""
    linking = linking_of(subject)
    glibc = linking.glibc or (subject.host.glibc if subject.host else None)
    if not linking.executable_stack:
        return
    if glibc is None:
        raise CannotLook("the C library does not tell its version")
    if numbers(glibc) >= _NO_EXECUTABLE_STACK:
        of_torch = {item.path for item in linking.torch_loads}
        first = [item for item in linking.executable_stack if item in of_torch]
        path = (first or linking.executable_stack)[0]
        yield Finding(
            message=f"{file_name(path)} asks for an executable stack, which glibc {glibc} refuses",
            seen=", ".join(linking.executable_stack[:4]),
            expected="libraries without that mark",
            remedy=f"patchelf --clear-execstack {prefix_of(subject).prefix}/{path}",
            severity="error" if first else "warning",
        )

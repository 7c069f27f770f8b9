"""What packages ask of the machine beside driver and torch's own code: cuDNN, extensions, glibc."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from envforge.matrix import gpus, reading
from envforge.matrix.gpus import Compiled
from envforge.model.finding import Finding
from envforge.model.lock import LockedPackage
from envforge.model.machine import Gpu
from envforge.verify import remedies
from envforge.verify.architectures import extension_code, of_build, of_flags, package_of
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.compatibility import (
    cuda_of_build,
    effective_machine,
    without_kernels,
)
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU, cuda_of, host_of
from envforge.verify.facts import DeviceCode, Subject

_CUDNN: Final = re.compile(r"cudnn|libcudnn|nvidia-cudnn(-cu\d+)?")
_FOR_ONE: Final = re.compile(r"[_-]sm_?\d{2,3}")
"""Files that are made for one architecture, each beside its siblings: their names tell."""
_NEEDS_GLIBC: Final = re.compile(r"__glibc\s+(?:[^,]*,)*?>=?\s*(\d+)\.(\d+)")
_MANYLINUX: Final = re.compile(r"manylinux(?:_(\d+)_(\d+)|(2014)|(2010)|(1))_")
_ALIASES: Final = {"2014": (2, 17), "2010": (2, 12), "1": (2, 5)}


@check(
    level="static",
    needs=("host", "prefix"),
    after=("arch-too-new", "arch-too-old"),
    symptom="no kernel image is available for execution on the device, in one package only",
    why="torch works on this GPU, and the first call into the package fails",
    source="DreamTechAI/Direct3D-S2#32; PyTorch, torch.utils.cpp_extension, TORCH_CUDA_ARCH_LIST",
    cause="A compiled extension (flash-attn, xformers, an operator of one's own) was built for"
    " fewer GPU architectures than torch was: by default for those of the machine it was built on.",
    fix="Build it again with TORCH_CUDA_ARCH_LIST naming this GPU, or get a wheel that has it.",
)
def ext_arch_missing(subject: Subject) -> Iterator[Finding]:
    """Every extension has code for the GPUs here that torch has code for."""
    cuda_of_build(subject)
    machine = effective_machine(subject)
    if not machine.gpus:
        raise CannotLook(NO_GPU if machine.driver else NO_DRIVER)
    bare = {gpu.capability for gpu in without_kernels(subject)}
    models = {(gpu.name, gpu.capability): gpu for gpu in machine.gpus}.values()
    for gpu in models:
        if gpu.capability not in bare:  # else torch itself fails there, and is told
            yield from _lacking(subject, gpu)
    if subject.prefix and not subject.prefix.code_everywhere:
        raise CannotLook("extensions in deeper folders are looked for with `--level import`")


def _lacking(subject: Subject, gpu: Gpu) -> Iterator[Finding]:
    packages: dict[str, list[DeviceCode]] = {}
    for code in extension_code(subject):
        packages.setdefault(package_of(code), []).append(code)
    for package, codes in packages.items():
        bare = [code for code in codes if not _serves(code, gpu)]
        # Packages bring extensions for some GPUs only, and files for each CUDA, beside those for
        # all: as long as one serves this GPU, only a plain one that is its own kind is told.
        whole = len(bare) == len(codes)
        told = bare if whole else [code for code in bare if _is_alone(code, codes, gpu)]
        for code in told[:1]:
            yield Finding(
                message=f"`{package}` has no code for {gpus.describe(gpu)}"
                + (", which torch has" if of_build(subject) else ""),
                seen=f"{code.path}: code for {' '.join(of_flags(code.architectures))}",
                expected=f"code for {gpu.capability}, as torch has it",
                remedy=f'TORCH_CUDA_ARCH_LIST="{gpu.capability}" pip install --no-build-isolation'
                f" --no-binary :all: --force-reinstall --no-deps {_distribution(subject, package)}",
                severity="error" if whole else "warning",
            )


def _serves(code: DeviceCode, gpu: Gpu) -> bool:
    found = gpus.kernels(gpu.capability, of_flags(code.architectures), reading.load())
    return found != "none"  # what the driver makes of PTX is another check's question


def _is_alone(code: DeviceCode, codes: Sequence[DeviceCode], gpu: Gpu) -> bool:
    """Whether no sibling is meant in its place: no other CUDA's, and no special one."""
    compiled = [Compiled.parse(item) for item in of_flags(code.architectures)]
    special = any(item.variant or item.capability > gpu.capability for item in compiled)
    kind = _kind(code)
    siblings = [item for item in codes if _kind(item) == kind]
    return not (special or _FOR_ONE.search(code.name) or any(_serves(s, gpu) for s in siblings))


def _kind(code: DeviceCode) -> str:
    return re.sub(r"\d+", "#", code.name)


def _distribution(subject: Subject, package: str) -> str:
    """The name to install it by, as far as the metadata tells."""
    listed = subject.prefix.packages.distributions if subject.prefix else ()
    owner = next((item.name for item in listed if package in item.top_level), None)
    known = {item.name for item in subject.prefix.wheels} if subject.prefix else set()
    likely = (package.replace("_", "-"), re.sub(r"_(\d+_)?(cuda|C)$", "", package))
    return owner or next((item for item in likely if item in known), package.replace("_", "-"))


@check(
    level="static",
    needs=("host",),
    after=("arch-too-old",),
    symptom="RuntimeError: cuDNN version 92000 is not compatible with devices with SM < 7.5",
    why="torch's own kernels run on this GPU, and every convolution stops",
    source="pytorch/pytorch#172680; PyTorch, torch/backends/cudnn/__init__.py",
    cause="cuDNN 9.11 and later have no code for GPUs before Turing, and torch refuses them as"
    " soon as one such GPU is visible. conda-forge's builds for CUDA 12 have code for these GPUs"
    " and take any cuDNN 9.",
    fix="Ask for `cudnn<9.11` beside torch, or hide the old GPU with CUDA_VISIBLE_DEVICES.",
)
def cudnn_drops_gpu(subject: Subject) -> Iterator[Finding]:
    """The cuDNN here works on GPUs as old as these."""
    cuda_of(subject)
    version = _cudnn(subject)
    machine = effective_machine(subject)
    if version is None:
        raise CannotLook("nothing names a cuDNN version")
    if not machine.gpus:
        raise CannotLook(NO_GPU if machine.driver else NO_DRIVER)
    floors = [row for row in reading.load().library_floors if row.library == "cudnn"]
    for row in floors:
        old = [gpu for gpu in machine.gpus if gpu.capability < row.min_capability]
        if old and _numbers(version) >= _numbers(row.since):
            yield Finding(
                message=f"cuDNN {version} does not work on {gpus.describe(old[0])}",
                seen=f"cuDNN {version}, which needs {row.min_capability} or newer",
                expected=f"a cuDNN before {row.since}",
                remedy=_with_older_cudnn(subject, row.since),
            )


def _with_older_cudnn(subject: Subject, since: str) -> str:
    if subject.target is None:
        return f"install `cudnn<{since}`"
    command = remedies.create(subject, subject.target.torch, subject.target.cuda)
    return f'{command} --with "cudnn<{since}" --force'


def _cudnn(subject: Subject) -> str | None:
    """What was loaded, else what is installed, else what is locked."""
    run = subject.probe.torch if subject.probe else None
    if run and run.cudnn_loaded:
        return run.cudnn_loaded
    if subject.prefix and subject.prefix.cudnn:
        return subject.prefix.cudnn[0].version
    locked = (item for item in subject.locked or () if _CUDNN.fullmatch(item.name))
    package = next(locked, None)
    return package.version if package else subject.target.cudnn if subject.target else None


@check(
    level="static",
    needs=("lock", "host"),
    symptom="/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found",
    why="nothing that was compiled for a newer C library starts here",
    source="CEP 30, `__glibc`; PEP 600, manylinux tags",
    cause="Packages are built against a C library that is newer than this system's, which is"
    " the one thing that an environment does not bring along.",
    fix="Lock for an older target (`__glibc` in virtual-packages.yml), take an older torch, or run"
    " it in a container with a newer system.",
)
def glibc_too_old(subject: Subject) -> Iterator[Finding]:
    """The machine's C library is as new as the locked packages ask for."""
    if not subject.platform.startswith("linux"):
        raise NotApplicable("only Linux has glibc")
    host = host_of(subject)
    have = host.glibc
    if have is None and host.machine.origin == "described":
        raise NotApplicable("the description of the machine names no C library")
    if have is None:
        raise CannotLook("the machine's C library does not tell its version")
    asking = list(_asking(subject.locked or ()))
    too_much = [(needed, item) for needed, item in asking if needed > _numbers(have)[:2]]
    if too_much:
        needed, package = max(too_much, key=lambda pair: pair[0])
        more = f", as {len(too_much) - 1} more do" if len(too_much) > 1 else ""
        asked = ".".join(map(str, needed))
        yield Finding(
            message=f"{package.name} {package.version} needs glibc {asked},"
            f" and this system has {have}",
            seen=f"glibc {have}",
            expected=f"glibc {asked} or newer, which {package.name} asks for{more}",
            remedy=f"write `__glibc: '{have}'` into virtual-packages.yml and lock again,"
            " or run it in a container of a newer system",
        )


def _asking(packages: Iterable[LockedPackage]) -> Iterator[tuple[tuple[int, ...], LockedPackage]]:
    for package in packages:
        if package.manager == "conda":
            found = [_NEEDS_GLIBC.search(item) for item in package.depends]
            yield from (((int(item[1]), int(item[2])), package) for item in found if item)
        elif versions := list(_manylinux(package.filename)):
            yield min(versions), package


def _manylinux(filename: str) -> Iterator[tuple[int, ...]]:
    """The C libraries that a wheel's tags name; each of them alone will do."""
    for major, minor, *aliases in _MANYLINUX.findall(filename):
        yield (int(major), int(minor)) if major else _ALIASES["".join(aliases)]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))

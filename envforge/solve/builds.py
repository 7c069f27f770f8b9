"""Which accelerator a solve really gave: asserted, so that a CPU build is never a fallback.

Build strings of the pytorch channel and of conda-forge name their CUDA (pytorch/builder,
conda-forge/pytorch-cpu-feedstock); what wheels say is read in `wheel_index`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from envforge.errors import WrongBuild
from envforge.model.cuda import CudaVersion, accelerator_label, accelerator_name
from envforge.model.lock import LockedPackage
from envforge.model.spec import TORCH_NAMES, Source
from envforge.solve import wheel_index

"""conda's name for it, and the wheel's."""
_FAMILY: Final = frozenset(
    {"pytorch", "torch", "libtorch", "pytorch-gpu", "pytorch-cpu", "torchvision", "torchaudio"}
)
_DOTTED: Final = re.compile(r"cuda(\d+)\.(\d+)")
_JOINED: Final = re.compile(r"(?:^|[_+.])cu(?:da)?(\d{1,2})(\d)(?!\d)")
_ANY_CUDA: Final = re.compile(r"(?:^|[_+])cuda(?![a-z0-9])")
_CPU: Final = re.compile(r"(?:^|[_+])cpu(?![a-z0-9])")
_CUDNN: Final = re.compile(r"cudnn(\d+(?:\.\d+)+)")
_TIES: Final = ("pytorch-cuda", "cudatoolkit", "cuda-version", "libtorch", "__cuda")
_RUNTIME: Final = re.compile(
    r"pytorch-cuda|cudatoolkit|cudnn|libcudnn|cuda-cudart|libcublas|nvidia-(cublas|cudnn|cuda-runtime).*"
)


def accelerator_of(package: LockedPackage) -> CudaVersion | str | None:
    """The CUDA that a build was made for, `cuda` where it does not say which, `cpu`, or None.

    None: the package does not name one. For wheels see `wheel_index.torch_accelerator`.
    """
    text = package.build if package.manager == "conda" else ""
    if found := _DOTTED.search(text) or _JOINED.search(text):
        return CudaVersion(int(found[1]), int(found[2]))
    if _ANY_CUDA.search(text):
        return "cuda"
    return "cpu" if _CPU.search(text) else None


def find_torch(packages: Iterable[LockedPackage]) -> LockedPackage | None:
    """Find torch among the packages of one platform."""
    return next((item for item in packages if item.name in TORCH_NAMES), None)


def assert_build(
    packages: Sequence[LockedPackage],
    *,
    platform: str,
    cuda: CudaVersion | None,
    source: Source,
) -> None:
    """Hold torch, its family and its CUDA packages against what was asked for.

    Args:
        packages: one platform's, solved.
        platform: for the message.
        cuda: asked for; None: CPU.
        source: the pytorch channel and conda-forge tie torch to CUDA by other packages.

    Raises:
        WrongBuild: names the first package that is made for something else.
    """
    problem = next(_problems(packages, cuda, source), None)
    if problem is not None:
        raise WrongBuild(platform=platform, wanted=accelerator_name(cuda), found=problem)


def cudnn_version(packages: Sequence[LockedPackage]) -> str | None:
    """From torch's build string where it says, else the version of the locked package."""
    torch = find_torch(packages)
    if torch and (found := _CUDNN.search(torch.build)):
        return found[1]
    named = ("cudnn", "libcudnn")
    return next(
        (
            item.version
            for item in packages
            if item.name in named or re.fullmatch(r"nvidia-cudnn-cu\d+", item.name)
        ),
        None,
    )


def _problems(
    packages: Sequence[LockedPackage], cuda: CudaVersion | None, source: Source
) -> Iterator[str]:
    torch = find_torch(packages)
    if torch is None:
        yield "no torch at all"
        return
    yield from _family_problems(packages, cuda)
    yield from wheel_index.disagreements(packages, accelerator_label(cuda))
    if cuda is None:
        yield from _cuda_in_cpu(packages)
    elif torch.manager == "conda":
        yield from _untied(torch)
        yield from _other_cuda(packages, cuda, source)


def _family_problems(packages: Sequence[LockedPackage], cuda: CudaVersion | None) -> Iterator[str]:
    for package in packages:
        if package.name not in _FAMILY:
            continue
        found = accelerator_of(package)
        fits = found in {None, "cpu"} if cuda is None else found in {None, "cuda", cuda}
        if not fits:
            yield f"{_named(package)}, a build for {_spoken(found)}"
    torch = find_torch(packages)
    if cuda and torch and torch.manager == "conda" and accelerator_of(torch) is None:
        yield f"{_named(torch)}, a build that names no CUDA"


def _cuda_in_cpu(packages: Sequence[LockedPackage]) -> Iterator[str]:
    """A CPU environment holds no CUDA libraries: gigabytes that nothing would use."""
    for package in packages:
        if _RUNTIME.fullmatch(package.name):
            yield f"{_named(package)}, which belongs to CUDA"
        elif package.name == "pytorch-mutex" and package.build == "cuda":
            yield f"{_named(package)}, which selects CUDA builds"


def _untied(torch: LockedPackage) -> Iterator[str]:
    """Only a dependency keeps CUDA libraries of the right version beside a CUDA torch."""
    names = {item.partition(" ")[0] for item in torch.depends}
    if not names & set(_TIES):
        yield f"{_named(torch)}, which depends on none of {', '.join(_TIES)}"


def _other_cuda(
    packages: Sequence[LockedPackage], cuda: CudaVersion, source: Source
) -> Iterator[str]:
    """What pins CUDA must pin this one.

    conda-forge's torch asks for CUDA as a floor within its major release, so there a later
    minor is right too. Beside torch of the pytorch channel `cuda-version` is no pin at all:
    packages of other channels bring it along in any minor.
    """
    for package in packages:
        if package.name == "pytorch-mutex" and package.build == "cpu":
            yield f"{_named(package)}, which selects CPU builds"
        pins = package.name in {"pytorch-cuda", "cudatoolkit"} or (
            package.name == "cuda-version" and source == "conda-forge"
        )
        if pins and not _carries(package.version, cuda, later=source == "conda-forge"):
            yield _named(package)


def _carries(version: str, cuda: CudaVersion, *, later: bool) -> bool:
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found:
        return False
    carried = CudaVersion(int(found[1]), int(found[2]))
    return carried == cuda or (later and carried.major == cuda.major and carried > cuda)


def _named(package: LockedPackage) -> str:
    return " ".join(filter(None, (package.name, package.version, package.build)))


def _spoken(found: CudaVersion | str | None) -> str:
    if isinstance(found, CudaVersion):
        return accelerator_name(found)
    return {"cuda": "CUDA", "cpu": "CPU"}.get(str(found), "nothing known")

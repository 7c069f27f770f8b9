"""Would the loader find every library?

Nothing is loaded for these: they follow the rules of ld.so(8) over the ELF headers of the prefix.
Where the probe has really loaded a file, that counts and not what was foreseen for it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import check
from envforge.verify.checks.objects import (
    absolute,
    distribution,
    file_name,
    linking_of,
    prefix_of,
    reinstall,
    was_loaded,
)
from envforge.verify.facts import Subject
from envforge.verify.facts.linking import Unresolved
from envforge.verify.library_names import CUDA_LIBRARY

_PACKAGES: Final = {
    "libcudart": "cuda-runtime",
    "libcudnn": "cudnn",
    "libcublas": "cublas",
    "libcublasLt": "cublas",
    "libcufft": "cufft",
    "libcufile": "cufile",
    "libcupti": "cuda-cupti",
    "libcurand": "curand",
    "libcusolver": "cusolver",
    "libcusparse": "cusparse",
    "libcusparseLt": "cusparselt",
    "libnccl": "nccl",
    "libnvJitLink": "nvjitlink",
    "libnvrtc": "cuda-nvrtc",
    "libnvToolsExt": "nvtx",
    "libnvshmem_host": "nvshmem",
}
"""Library to the middle of the wheel's name that brings it, `nvidia-cublas-cu12`."""


@check(
    level="static",
    needs=("prefix",),
    after=("prefix-incomplete", "truncated-library"),
    symptom="ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory",
    why="torch, or an extension, cannot be imported",
    source="pytorch/pytorch#144433, pytorch/pytorch#138547, rusty1s/pytorch_sparse#304; ld.so(8)",
    cause="A package that brings a CUDA library was left out (`--no-deps`, a pruned image), its"
    " file lies where no search path leads (lib and lib64 site-packages), or an extension was"
    " built for another CUDA than torch.",
    fix="Install the package that brings the library, or the extension for this torch's CUDA.",
)
def missing_cuda_lib(subject: Subject) -> Iterator[Finding]:
    """The loader finds every CUDA library that torch and its extensions need."""
    lacking = [
        item
        for item in linking_of(subject).unresolved
        if CUDA_LIBRARY.match(item.name) and not _other_cudnn(item)
    ]
    found = [*_one_of_each(subject, lacking)]
    apart = [item for item in found if item.lies_at and not item.machine]
    for item in found:
        if item in apart[1:]:
            continue  # told with the first: one path leads to all of them
        more = len(apart) - 1 if item in apart else 0
        yield Finding(
            message=f"{item.name} is not found, and {file_name(item.requester)} needs it"
            + (f"; {more} more are not found either" if more else ""),
            seen=_where(item),
            expected=f"{item.name} where the search path of {item.requester} leads",
            remedy=_path_to(subject, apart) if item in apart else _bring(subject, item),
        )


def _where(item: Unresolved) -> str:
    if item.machine:
        return f"{item.lies_at} is for {item.machine}"
    if item.lies_at:
        return f"it lies at {item.lies_at}, where the loader does not look"
    if item.others:
        return f"no {item.name}; there is {', '.join(item.others)}"
    return f"no {item.name} in the environment, and none in the system's folders"


def _path_to(subject: Subject, items: list[Unresolved]) -> str:
    places = (absolute(subject, item.lies_at).rpartition("/")[0] for item in items if item.lies_at)
    path = shlex.quote(":".join(dict.fromkeys(places)))
    return f"export LD_LIBRARY_PATH={path}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"


def _bring(subject: Subject, item: Unresolved) -> str:
    if not item.of_torch:
        return reinstall(subject, item.requester)
    by_conda = any(i.name in {"pytorch", "libtorch"} for i in prefix_of(subject).conda)
    if by_conda or (subject.locked is not None and subject.folder is not None):
        return remedies.install(subject)
    wheel = _PACKAGES.get(item.name.partition(".so")[0])
    torch = prefix_of(subject).torch
    major = (torch.cuda or "").partition(".")[0] if torch else ""
    if wheel and major:
        plain = int(major) >= 13 and wheel not in {"cudnn", "nccl", "cusparselt", "nvshmem"}
        return f"pip install nvidia-{wheel}" if plain else f"pip install nvidia-{wheel}-cu{major}"
    return remedies.install(subject)


@check(
    level="static",
    needs=("prefix",),
    symptom="Unable to load any of {libcudnn_ops.so.9.1.0, …}; Could not load library"
    " libcudnn_ops_infer.so.8",
    why="the package that wants the other cuDNN fails as soon as it uses the GPU",
    source="OpenNMT/CTranslate2#1826, SYSTRAN/faster-whisper#1182",
    cause="Two packages of one environment were built for different majors of cuDNN, and only one"
    " of them is installed.",
    fix="Take a release of the odd package that was built for the cuDNN that torch brings"
    " (ctranslate2 4.4 for cuDNN 8, 4.5 for cuDNN 9).",
)
def cudnn_major_8_vs_9(subject: Subject) -> Iterator[Finding]:
    """All packages ask for a major of cuDNN that is here."""
    linking = linking_of(subject)
    found = [*_one_of_each(subject, [i for i in linking.unresolved if _other_cudnn(i)])]
    for item in found:
        yield _two_majors(subject, item.requester, item.name, ", ".join(item.others))
    told = {distribution(subject, item.requester) for item in found}
    for path, name in linking.opened:
        if distribution(subject, path) in told:
            continue
        told.add(distribution(subject, path))
        yield _two_majors(
            subject, path, name, file_name(linking.cudnn.main) if linking.cudnn else "another"
        )


def _other_cudnn(item: Unresolved) -> bool:
    same = re.compile(rf"{re.escape(item.name)}(\.|$)")  # libcudnn.so.8.9.2 without its link
    return item.name.startswith("libcudnn") and any(not same.match(n) for n in item.others)


def _two_majors(subject: Subject, path: str, wanted: str, have: str) -> Finding:
    package = distribution(subject, path)
    return Finding(
        message=f"{package} wants {wanted}, and the environment has {have}",
        seen=f"{path} asks for {wanted}; there is {have}",
        expected="one major of cuDNN for all packages",
        remedy=f"pip install --upgrade {package}"
        if package != "torch"
        else remedies.install(subject),
    )


@check(
    level="static",
    needs=("prefix",),
    after=("prefix-incomplete", "truncated-library", "torch-missing"),
    symptom="ImportError: libGL.so.1: cannot open shared object file; lib…: wrong ELF class",
    why="what needs the library cannot be imported",
    source="ld.so(8); pytorch/ignite#1615",
    cause="A library that a package expects of the system, or of another package, is not there.",
    fix="Install it, with the environment's package manager or with the system's.",
)
def library_not_found(subject: Subject) -> Iterator[Finding]:
    """The loader finds the other libraries that torch and the extension modules need."""
    lacking = [item for item in linking_of(subject).unresolved if not CUDA_LIBRARY.match(item.name)]
    for item in _one_of_each(subject, lacking):
        yield Finding(
            message=f"{item.name} is not found, and {file_name(item.requester)} needs it",
            seen=_where(item),
            expected=f"{item.name} in the environment, or in the system's folders",
            remedy=f"install the package that brings {item.name}"
            if not item.of_torch
            else remedies.install(subject),
            severity="error" if item.of_torch else "warning",
        )


def _one_of_each(subject: Subject, items: list[Unresolved]) -> Iterator[Unresolved]:
    """The first that asks for each library, those of torch before others."""
    told = set()
    for item in sorted(items, key=lambda one: not one.of_torch):
        if item.name not in told and not was_loaded(subject, item.requester):
            told.add(item.name)
            yield item

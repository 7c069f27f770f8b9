"""Does torch get the cuDNN that it was built with, as a whole?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.objects import (
    is_within,
    linking_of,
    prefix_of,
    restore,
    wanted_cudnn,
    was_loaded,
)
from envforge.verify.facts import Subject, TorchRun
from envforge.verify.facts.linking import CudnnParts, Load


@check(
    level="static",
    needs=(),
    after=("ld-preload-leak", "missing-cuda-lib"),
    symptom="RuntimeError: cuDNN version incompatibility: PyTorch was compiled against …",
    why="convolutions fail, or the import does",
    source="pytorch/pytorch#80637, pytorch/pytorch#80877, bmaltais/kohya_ss#1096",
    cause="Another libcudnn is found before the one that belongs to torch: through LD_LIBRARY_PATH"
    " (only by builds whose search path is a RUNPATH), as a system's copy, or because the package"
    " was replaced by an older one.",
    fix="Unset LD_LIBRARY_PATH, or install the cuDNN that the build names.",
)
def cudnn_older_than_built(subject: Subject) -> Iterator[Finding]:
    """The cuDNN that is loaded is not older than the one torch was compiled with."""
    if subject.probe is not None and subject.probe.torch and subject.probe.torch.version:
        yield from _cudnn_as_loaded(subject, subject.probe.torch)
    elif subject.prefix is not None:
        yield from _cudnn_as_foreseen(subject)
    else:
        raise NotApplicable("there is no environment to look at")


def _cudnn_as_loaded(subject: Subject, torch: TorchRun) -> Iterator[Finding]:
    if torch.cuda is None:
        raise NotApplicable("a CPU build has no cuDNN")
    compiled, loaded = torch.cudnn_compiled, torch.cudnn_loaded
    if torch.cudnn_error is None and not (compiled and loaded):
        yield from _cudnn_as_mapped(subject)
        return
    older = bool(compiled and loaded) and _is_older(loaded or "", compiled or "")
    if older or torch.cudnn_error:
        where = next((item for item in torch.libraries if "libcudnn.so" in item), "not loaded")
        yield Finding(
            message=f"cuDNN {loaded} is loaded, and torch was compiled with {compiled}"
            if older
            else "torch refuses the cuDNN that it finds",
            seen=f"cuDNN {loaded or 'unknown'}: {torch.cudnn_error or where}",
            expected=f"cuDNN {compiled or 'of the build'} or newer, of the same major",
            remedy=_own_cudnn(subject, where),
        )


def _own_cudnn(subject: Subject, where: str) -> str:
    if subject.prefix is not None and is_within(where, subject.prefix) and where.startswith("/"):
        pin = wanted_cudnn(subject)
        named = pin is not None and pin[1].startswith("torch's") and not subject.locked
        return _pinned_cudnn(subject, pin[0]) if pin and named else remedies.install(subject)
    return "unset LD_LIBRARY_PATH LD_PRELOAD; else " + remedies.install(subject)


def _pinned_cudnn(subject: Subject, version: str) -> str:
    torch = subject.prefix.torch if subject.prefix else None
    major = (torch.cuda or "").partition(".")[0] if torch else ""
    return f"pip install nvidia-cudnn-cu{major}=={version}" if major else remedies.install(subject)


def _cudnn_as_mapped(subject: Subject) -> Iterator[Finding]:
    """Torch does not tell its versions; the file that it loaded may be known all the same."""
    load = _foreseen_load(subject) if subject.prefix is not None else None
    if load is None or not was_loaded(subject, load.path):
        raise CannotLook("torch does not tell its cuDNN versions")
    yield from _cudnn_as_foreseen(subject)


def _foreseen_load(subject: Subject) -> Load | None:
    linking = prefix_of(subject).linking
    loads = linking.torch_loads if linking else ()
    return next((item for item in loads if item.name.startswith("libcudnn.so")), None)


def _cudnn_as_foreseen(subject: Subject) -> Iterator[Finding]:
    prefix = prefix_of(subject)
    if prefix.torch is None or prefix.torch.cuda is None:
        raise NotApplicable("a CPU build has no cuDNN")
    load = _foreseen_load(subject)
    if load is None or load.version is None:
        raise CannotLook("which cuDNN would be loaded is not known")
    foreign = load.path.startswith("/")
    built = wanted_cudnn(subject)
    if built is None and foreign and prefix.cudnn:
        built = prefix.cudnn[0].version, prefix.cudnn[0].witness
    if built is None:
        raise CannotLook("nothing says which cuDNN torch was built with")
    if _is_older(load.version, built[0]):
        wanted = ".".join(built[0].split(".")[:3])  # the fourth is the package's
        yield Finding(
            message=f"cuDNN {load.version} would be loaded, and torch was compiled with {wanted}",
            seen=f"{load.path}, by {load.via}; cuDNN {wanted} by {built[1]}",
            expected=f"cuDNN {wanted} or newer, of the same major",
            remedy=f"unset {load.via}"
            if load.via in {"LD_LIBRARY_PATH", "LD_PRELOAD"}
            else _own_cudnn(subject, f"{prefix.prefix}/{load.path}"),
        )


def _is_older(loaded: str, compiled: str) -> bool:
    """Within a major, a newer cuDNN serves builds of an older one (cuDNN developer guide)."""
    have, need = ([int(p) for p in re.findall(r"\d+", text)][:3] for text in (loaded, compiled))
    shared = min(len(have), len(need))
    return have[:1] != need[:1] or have[:shared] < need[:shared]


@check(
    level="static",
    needs=("prefix",),
    symptom="RuntimeError: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH",
    why="the first convolution fails",
    source="pytorch/pytorch#185512, pytorch/pytorch#188892",
    cause="cuDNN opens its sub-libraries by name when it is used. One that its package lacks, or"
    " that another folder offers first, comes from another release.",
    fix="Install one complete cuDNN, and take the other copy out of LD_LIBRARY_PATH.",
)
def cudnn_sublibrary_mix(subject: Subject) -> Iterator[Finding]:
    """All sub-libraries of cuDNN come from its own folder, and are of its version."""
    parts = linking_of(subject).cudnn
    if parts is None:
        raise NotApplicable("no cuDNN would be loaded")
    strays = [i for i in parts.strays if not (i[2] and i[2] == parts.version)]
    if strays:
        name, path, version = strays[0]
        yield Finding(
            message=f"{name} would come from {_folder(path)}, and cuDNN itself from"
            f" {_folder(parts.main)}",
            seen=f"{path}{f' ({version})' if version else ''}; {_described(parts)}",
            expected=f"{name} beside {parts.main}",
            remedy=_one_cudnn(subject, path, parts.main),
        )
    elif parts.mixed:
        name, version = parts.mixed[0]
        yield Finding(
            message=f"{name} is of cuDNN {version}, and cuDNN itself is {parts.version}",
            seen=f"{name} {version}; {_described(parts)}",
            expected="all of one version",
            remedy=restore(subject, parts.main),
        )
    elif parts.missing:
        yield Finding(
            message=f"{parts.missing[0]} is missing beside {parts.main}",
            seen=f"no {', '.join(parts.missing)}",
            expected="a complete cuDNN",
            remedy=restore(subject, parts.main),
        )


def _described(parts: CudnnParts) -> str:
    return f"{parts.main} ({parts.version})" if parts.version else parts.main


def _one_cudnn(subject: Subject, stray: str, main: str) -> str:
    value = subject.host.variables.get("LD_LIBRARY_PATH", "") if subject.host else ""
    if _folder(stray) in {item.rstrip("/") for item in value.split(":")}:
        return "unset LD_LIBRARY_PATH"
    return restore(subject, main)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]

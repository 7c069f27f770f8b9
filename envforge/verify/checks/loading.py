"""Does torch import, and does what gets loaded come from the prefix?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.facts import Ending, PrefixFacts, ProbeFacts, Subject, TorchRun

_CUDA_FAMILY: Final = re.compile(
    r"lib(torch|c10|cudart|cudnn|cublas|cufft|curand|cusolver|cusparse|nccl|nvrtc|nvJitLink|cupti"
    r"|nvToolsExt|nvshmem|cufile)"
)
_DRIVER_FILE: Final = re.compile(r"lib(cuda|nvidia-[a-z-]+|nvcuvid)\.so")
_BUILT_IN: Final = frozenset({"sitecustomize", "usercustomize"})


@check(
    level="import",
    needs=("probe",),
    symptom="`python` ends at once, hangs, or cannot be executed",
    why="nothing can run in this environment",
    source="Python documentation, command line and environment",
)
def python_does_not_start(subject: Subject) -> Iterator[Finding]:
    """The environment's interpreter starts and runs a script."""
    probe = _probe(subject)
    if probe.failure is not None:
        yield Finding(
            message=f"the environment's Python does not work: {probe.failure}",
            seen=probe.failure,
            expected="an answer from the interpreter",
            remedy=remedies.install(subject),
        )


@check(
    level="import",
    needs=("probe",),
    symptom="ImportError, a crash or no end at `import torch`",
    why="nothing that uses torch can start",
    source="pytorch/pytorch#144433, pytorch/pytorch#123097",
)
def torch_import_fails(subject: Subject) -> Iterator[Finding]:
    """The environment's interpreter imports torch."""
    torch = _torch(subject, imported=False)
    if torch.version is None:
        yield Finding(
            message=f"`import torch` {_how(torch.ending)}",
            seen=_last_words(torch.ending),
            expected="an import that succeeds",
            remedy=remedies.install(subject),
        )
    elif not torch.ending.is_good:
        yield Finding(
            message=f"torch imports, and then {_how(torch.ending)} at `{torch.ending.stage}`",
            seen=_last_words(torch.ending),
            expected="answers from torch about its own build",
            remedy="see the findings about the driver; else " + remedies.install(subject),
        )


@check(
    level="import",
    needs=("prefix", "probe"),
    symptom="another version of torch runs than the one installed",
    why="what was checked and what runs are two different things",
    source="conda/conda#7173, conda/conda#664",
)
def torch_from_elsewhere(subject: Subject) -> Iterator[Finding]:
    """The torch that is imported lies in the prefix."""
    torch, prefix = _torch(subject), _prefix(subject)
    if torch.file and not _is_within(torch.file, prefix):
        yield Finding(
            message=f"`import torch` takes torch {torch.version} from outside the environment",
            seen=torch.file,
            expected=f"a file in {prefix.prefix}",
            remedy="remove the `.pth` file or link in site-packages that leads there",
        )


@check(
    level="import",
    needs=("probe",),
    symptom="RuntimeError: cuDNN version incompatibility: PyTorch was compiled against …",
    why="convolutions fail, or the import does",
    source="pytorch/pytorch#80637, pytorch/pytorch#80877",
)
def cudnn_older_than_built(subject: Subject) -> Iterator[Finding]:
    """The cuDNN that is loaded is not older than the one torch was compiled with."""
    torch = _torch(subject)
    if torch.cuda is None:
        raise NotApplicable("a CPU build has no cuDNN")
    compiled, loaded = torch.cudnn_compiled, torch.cudnn_loaded
    if torch.cudnn_error is None and not (compiled and loaded):
        raise CannotLook("torch does not tell its cuDNN versions")
    older = bool(compiled and loaded) and _is_older(loaded or "", compiled or "")
    if older or torch.cudnn_error:
        where = next((item for item in torch.libraries if "libcudnn.so" in item), "not loaded")
        yield Finding(
            message=f"cuDNN {loaded} is loaded, and torch was compiled with {compiled}"
            if older
            else "torch refuses the cuDNN that it finds",
            seen=f"cuDNN {loaded or 'unknown'}: {torch.cudnn_error or where}",
            expected=f"cuDNN {compiled or 'of the build'} or newer, of the same major",
            remedy="unset LD_LIBRARY_PATH LD_PRELOAD; else " + remedies.install(subject),
        )


def _is_older(loaded: str, compiled: str) -> bool:
    """Within a major, a newer cuDNN serves builds of an older one (cuDNN developer guide)."""
    have, need = (tuple(int(part) for part in text.split(".")) for text in (loaded, compiled))
    return have[0] != need[0] or have < need


@check(
    level="import",
    needs=("prefix", "probe"),
    symptom="undefined symbol, wrong version, or results that differ between shells",
    why="another library than the locked one is used, as long as a variable is set",
    source="pytorch/pytorch#119989, bmaltais/kohya_ss#1096",
)
def library_shadowed(subject: Subject) -> Iterator[Finding]:
    """Libraries that the environment has are not loaded from elsewhere."""
    torch, prefix = _torch(subject, imported=False), _prefix(subject)
    if not torch.libraries:
        raise CannotLook("the loaded libraries cannot be listed on this system")
    outside = [path for path in torch.libraries if not _is_within(path, prefix)]
    shadowing = [path for path in outside if _is_ours(_file(path), prefix)]
    foreign = [path for path in outside if _CUDA_FAMILY.match(_file(path))]
    found = sorted({*shadowing, *foreign})
    if found:
        serious = any(_CUDA_FAMILY.match(_file(path)) for path in found)
        yield Finding(
            message=f"{_file(found[0])} is loaded from outside the environment"
            + (f", and {len(found) - 1} more" if len(found) > 1 else ""),
            seen=", ".join(found[:4]),
            expected=f"libraries of {prefix.prefix}",
            remedy=f"unset {_loading_variables(subject)}",
            severity="error" if serious else "warning",
        )


def _is_ours(name: str, prefix: PrefixFacts) -> bool:
    return name in prefix.libraries and not _DRIVER_FILE.match(name)


def _loading_variables(subject: Subject) -> str:
    variables = subject.host.variables if subject.host else {}
    present = [name for name in ("LD_LIBRARY_PATH", "LD_PRELOAD") if variables.get(name)]
    return " ".join(present or ["LD_LIBRARY_PATH"])


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="undefined symbol, or a wrong version, in every environment of one shell",
    why="what LD_PRELOAD names goes before the environment's own library",
    source="ContinuumIO/anaconda-issues#720",
)
def ld_preload_leak(subject: Subject) -> Iterator[Finding]:
    """LD_PRELOAD replaces no library of the environment."""
    prefix = _prefix(subject)
    value = subject.host.variables.get("LD_PRELOAD", "") if subject.host else ""
    entries = [item for item in re.split(r"[ :]+", value) if item]
    replaced = [
        item
        for item in entries
        if not _is_within(item, prefix)
        and (_is_ours(_file(item), prefix) or _CUDA_FAMILY.match(_file(item)))
    ]
    if replaced:
        yield Finding(
            message=f"LD_PRELOAD replaces {_file(replaced[0])} of the environment",
            seen=f"LD_PRELOAD={value}",
            expected="no library there that the environment brings",
            remedy="unset LD_PRELOAD",
        )


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="a module of another version, or of another Python, is imported",
    why="folders in PYTHONPATH go before the environment's own packages",
    source="RoboStack/ros-noetic#54, Eruvae/yolact_ros#11",
)
def pythonpath_shadow(subject: Subject) -> Iterator[Finding]:
    """PYTHONPATH hides no package of the environment."""
    prefix = _prefix(subject)
    folders = subject.host.pythonpath if subject.host else {}
    hidden = {
        folder: sorted((names & prefix.modules) - _BUILT_IN)
        for folder, names in folders.items()
        if not _is_within(folder, prefix)
    }
    for folder, names in hidden.items():
        if names:
            yield Finding(
                message=f"PYTHONPATH hides the environment's {_some(names)}",
                seen=f"{folder}: {_some(names)}",
                expected="no module there that the environment has",
                remedy="unset PYTHONPATH",
            )


@check(
    level="static",
    needs=("host", "prefix"),
    severity="warning",
    symptom="a package that is not in the lock is imported, on one person's account only",
    why="packages under ~/.local go before the environment's own",
    source="PEP 370; Python documentation, PYTHONNOUSERSITE",
)
def user_site_leak(subject: Subject) -> Iterator[Finding]:
    """No package in the user's own site-packages hides one of the environment."""
    prefix = _prefix(subject)
    if subject.host and subject.host.variables.get("PYTHONNOUSERSITE"):
        raise NotApplicable("PYTHONNOUSERSITE is set")
    ours = {item.name for item in (*prefix.conda, *prefix.wheels)}
    hiding = [f"{item.name} {item.version}" for item in prefix.user_packages if item.name in ours]
    if hiding:
        yield Finding(
            message=f"your own site-packages hide the environment's {_some(hiding)}",
            seen=f"{prefix.user_site}: {_some(hiding)}",
            expected="nothing there that the environment has",
            remedy="export PYTHONNOUSERSITE=1",
        )


# --- what the others stand on ---------------------------------------------------------------


def _probe(subject: Subject) -> ProbeFacts:
    assert subject.probe is not None  # noqa: S101 - `needs` says so
    return subject.probe


def _prefix(subject: Subject) -> PrefixFacts:
    assert subject.prefix is not None  # noqa: S101 - `needs` says so
    return subject.prefix


def _torch(subject: Subject, *, imported: bool = True) -> TorchRun:
    """What the import of torch gave. Raises CannotLook where there was none."""
    probe = _probe(subject)
    if probe.torch is None:
        raise CannotLook(f"the interpreter did not run: {probe.failure or 'torch was not asked'}")
    if imported and probe.torch.version is None:
        raise CannotLook("torch could not be imported")
    return probe.torch


def _how(ending: Ending) -> str:
    if ending.ended == "timeout":
        return "does not end"
    if ending.ended.startswith("signal"):
        return f"ends the process ({ending.ended})"
    return f"fails: {ending.message.partition(chr(10))[0]}" if ending.message else "fails"


def _last_words(ending: Ending) -> str:
    lines = [line for line in ending.trace.strip().splitlines() if line.strip()]
    return ending.message or (lines[-1].strip() if lines else ending.ended)


def _is_within(path: str, prefix: PrefixFacts) -> bool:
    return any(path.startswith(f"{root.rstrip('/')}/") for root in (prefix.prefix, prefix.real))


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more

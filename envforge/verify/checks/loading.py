"""Does torch import, and does what gets loaded come from the prefix?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.objects import is_within
from envforge.verify.facts import Ending, PrefixFacts, ProbeFacts, Subject, TorchRun
from envforge.verify.import_errors import reason_of
from envforge.verify.library_names import CUDA_LIBRARY, DRIVER_LIBRARY

_KEY: Final = re.compile(r"(.+?\.so(?:\.\d+)?)(?:\.|$)")


@check(
    level="import",
    needs=("probe",),
    symptom="`python` ends at once, hangs, or cannot be executed",
    why="nothing can run in this environment",
    source="Python documentation, command line and environment",
    cause="The interpreter's file is damaged, is for another processor, or is stopped by a"
    " variable or a file that runs at start-up.",
    fix="Install the environment anew; try `python -I -S` to leave variables and start-up files"
    " out.",
    after=("python-missing", "illegal-instruction"),
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
    cause="A library or a package that torch needs is not there, is of another build, or stops"
    " the process while it is loaded.",
    fix="The last line of the error names the file; the checks before this one look for the usual"
    " causes.",
    after=(
        "truncated-library",
        "python-does-not-start",
        "ld-preload-leak",
        "illegal-instruction",
        "mkl-threading-layer",
        "missing-cuda-lib",
        "cudnn-major-8-vs-9",
        "cudnn-older-than-built",
        "nvjitlink-symbol",
        "cublaslt-symbol",
        "mkl-ijit",
        "mkl-dispatch-missing",
        "two-openmp-runtimes",
        "glibcxx-too-old",
        "executable-stack",
        "symbol-version-missing",
        "undefined-symbol",
        "library-not-found",
    ),
)
def torch_import_fails(subject: Subject) -> Iterator[Finding]:
    """The environment's interpreter imports torch."""
    torch = _torch(subject, imported=False)
    if _is_not_wanted(subject, torch):
        raise NotApplicable("no torch here, and no lock that asks for one")
    if torch.version is None:
        reason = reason_of(torch.ending.message)
        yield Finding(
            message=f"`import torch` {_how(torch.ending)}",
            seen=_last_words(torch.ending),
            expected=f"an import that succeeds; {reason.meaning}"
            if reason
            else "an import that succeeds",
            remedy=(reason.remedy if reason else "") or remedies.install(subject),
        )
    elif not torch.ending.is_good:
        yield Finding(
            message=f"torch imports, and then {_how(torch.ending)} at `{torch.ending.stage}`",
            seen=_last_words(torch.ending),
            expected="answers from torch about its own build",
            remedy="see the findings about the driver; else " + remedies.install(subject),
        )


def _is_not_wanted(subject: Subject, torch: TorchRun) -> bool:
    """Any Python may be looked at, also one that never had a torch."""
    if subject.target is not None or subject.prefix is None or subject.prefix.torch is not None:
        return False
    return torch.ending.message.startswith("ModuleNotFoundError: No module named 'torch'")


@check(
    level="import",
    needs=("prefix", "probe"),
    symptom="another version of torch runs than the one installed",
    why="what was checked and what runs are two different things",
    source="conda/conda#7173, conda/conda#664",
    cause="A `.pth` file, a link or a customised start-up in site-packages leads to another"
    " checkout or installation of torch, which comes first.",
    fix="Take the file or link out, or install into that environment instead.",
)
def torch_from_elsewhere(subject: Subject) -> Iterator[Finding]:
    """The torch that is imported lies in the prefix."""
    torch, prefix = _torch(subject), _prefix(subject)
    if torch.file and not is_within(torch.file, prefix):
        yield Finding(
            message=f"`import torch` takes torch {torch.version} from outside the environment",
            seen=torch.file,
            expected=f"a file in {prefix.prefix}",
            remedy="remove the `.pth` file or link in site-packages that leads there",
        )


@check(
    level="static",
    needs=("prefix",),
    after=(
        "ld-preload-leak",
        "cudnn-older-than-built",
        "cudnn-sublibrary-mix",
        "nvjitlink-symbol",
        "cublaslt-symbol",
        "glibcxx-too-old",
        "openssl-clash",
        "symbol-version-missing",
        "undefined-symbol",
    ),
    symptom="undefined symbol, wrong version, or results that differ between shells",
    why="another library than the locked one is used, as long as a variable is set",
    source="pytorch/pytorch#119989, bmaltais/kohya_ss#1096; ld.so(8)",
    cause="LD_LIBRARY_PATH leads to a folder, often that of a CUDA toolkit, which holds a library"
    " that the environment has too, and goes before the search path of torch's files.",
    fix="Unset LD_LIBRARY_PATH, or take the folder out of it.",
)
def library_shadowed(subject: Subject) -> Iterator[Finding]:
    """Libraries that the environment has are not loaded from elsewhere."""
    prefix = _prefix(subject)
    outside = _loaded_outside(subject, prefix)
    own = {_key(name) for name in prefix.libraries}
    found = sorted(p for p in outside if _key(_file(p)) in own and _is_shadow(subject, p))
    if found:
        serious = any(CUDA_LIBRARY.match(_file(path)) for path in found)
        yield Finding(
            message=f"{_file(found[0])} is loaded from outside the environment"
            + (f", and {len(found) - 1} more" if len(found) > 1 else ""),
            seen=", ".join(found[:4]),
            expected=f"libraries of {prefix.prefix}",
            remedy=f"unset {_loading_variables(subject)}",
            severity="error" if serious else "warning",
        )


def _loaded_outside(subject: Subject, prefix: PrefixFacts) -> list[str]:
    """What was loaded from elsewhere, or at level static: what a variable would lead to."""
    if subject.probe is not None:
        torch = _torch(subject, imported=False)
        if not torch.libraries:
            raise CannotLook("the loaded libraries cannot be listed on this system")
        return [path for path in torch.libraries if not is_within(path, prefix)]
    if prefix.linking is None:
        raise CannotLook("the shared objects were not read")
    return [
        item.path
        for item in prefix.linking.torch_loads
        if item.via == "LD_LIBRARY_PATH" and item.path.startswith("/")
    ]


def _is_shadow(subject: Subject, path: str) -> bool:
    """The system's libstdc++ beside the environment's is common, unless a variable led there."""
    name = _file(path)
    if DRIVER_LIBRARY.match(name):
        return False
    return bool(CUDA_LIBRARY.match(name)) or _is_by_variable(subject, path)


def _is_by_variable(subject: Subject, path: str) -> bool:
    variables = subject.host.variables if subject.host else {}
    folders = {item.rstrip("/") for item in variables.get("LD_LIBRARY_PATH", "").split(":") if item}
    named = {_key(_file(item)) for item in _entries(variables.get("LD_PRELOAD", ""))}
    return path.rpartition("/")[0] in folders or _key(_file(path)) in named


def _key(name: str) -> str:
    """What a library is found by: `libcudnn.so.9` for `libcudnn.so.9.10.2`."""
    found = _KEY.match(name)
    return found[1] if found else name


def _is_ours(name: str, prefix: PrefixFacts) -> bool:
    own = {_key(item) for item in prefix.libraries}
    return _key(name) in own and not DRIVER_LIBRARY.match(name)


def _loading_variables(subject: Subject) -> str:
    variables = subject.host.variables if subject.host else {}
    present = [name for name in ("LD_LIBRARY_PATH", "LD_PRELOAD") if variables.get(name)]
    return " ".join(present or ["LD_LIBRARY_PATH"])


def _entries(value: str) -> list[str]:
    return [item for item in re.split(r"[ :]+", value) if item]


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="undefined symbol, or a wrong version, in every environment of one shell",
    why="what LD_PRELOAD names goes before the environment's own library",
    source="ContinuumIO/anaconda-issues#720; ld.so(8)",
    cause="LD_PRELOAD was set once to get round a problem of MKL, libgomp or libstdc++, in a"
    " profile or a job script, and holds for every environment since.",
    fix="Unset LD_PRELOAD.",
)
def ld_preload_leak(subject: Subject) -> Iterator[Finding]:
    """LD_PRELOAD replaces no library of the environment."""
    prefix = _prefix(subject)
    value = subject.host.variables.get("LD_PRELOAD", "") if subject.host else ""
    named = {item: item for item in _entries(value)}
    if prefix.linking is not None:
        named = {item.path: item.name for item in prefix.linking.preloaded}
    replaced = [
        path
        for path, name in named.items()
        if path.startswith("/") or prefix.linking is None
        if not is_within(path, prefix)
        if any(
            (_is_ours(_file(item), prefix) or CUDA_LIBRARY.match(_file(item)))
            for item in (path, name)
        )
    ]
    if replaced:
        yield Finding(
            message=f"LD_PRELOAD replaces {_file(named[replaced[0]])} of the environment",
            seen=f"LD_PRELOAD={value}",
            expected="no library there that the environment brings",
            remedy="unset LD_PRELOAD",
        )


@check(
    level="static",
    needs=("host", "prefix"),
    severity="warning",
    symptom="a package that is not in the lock is imported, on one person's account only",
    why="packages under ~/.local go before the environment's own",
    source="PEP 370; Python documentation, PYTHONNOUSERSITE",
    cause="`pip install --user`, or pip in an environment that may not be written, put packages"
    " into the account's own folder, which every Python of that series imports first.",
    fix="Set PYTHONNOUSERSITE=1, or uninstall those packages from the account.",
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


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more

"""Do the packages import that are linked with torch, and what else a session needs?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.live import detail, imported_torch
from envforge.verify.facts import Ending, ImportRun, ProbeFacts, Subject
from envforge.verify.import_errors import reason_of

_READINGS: Final = (
    (
        re.compile(r"undefined symbol: (_ZN?K?(3c10|2at|5torch)|aoti_torch|THP)"),
        "it was built for another torch",
    ),
    (re.compile(r"different CUDA (major )?versions"), "it was built for another CUDA than torch"),
    (re.compile(r"NumPy 1\.x|_ARRAY_API|multiarray failed"), "it was built for NumPy 1"),
    (re.compile(r"is required for a normal functioning"), "its own requirements are not met"),
    (
        re.compile(r"cannot import name|has no attribute"),
        "another version of a package is installed than it needs",
    ),
)
"""What packages that are built on torch say; the rest is in `verify.import_errors`."""
_WANTS_GPU: Final = re.compile(
    r"Found no NVIDIA driver|No CUDA GPUs are available|0 active drivers|libcuda\.so"
    r"|no NVIDIA GPU|not compiled with CUDA|CUDA is not available|CUDA_ERROR_NO_DEVICE"
    r"|CUDA driver (is not|could not)|Failed to infer device type",
    re.IGNORECASE,
)
_TELLTALE: Final = re.compile(
    r"can't load C\+\+/CUDA extensions|A module that was compiled using NumPy 1\.x"
)
"""An import that succeeds, and prints that half of the module will not work."""
_OTHERS: Final = (
    "torch-import-fails",
    "numpy2-abi",
    "torchvision-cuda-major",
    "torch-companion-version",
    "xformers-mismatch",
    "bitsandbytes-cpu",
    "triton-torch-mismatch",
    "hf-versions",
    "peft-accelerate",
    "flash-attn-abi",
    "vllm-or-other-ext-abi",
)


@check(
    level="live",
    needs=("probe",),
    symptom="ImportError, undefined symbol or a crash at `import` of a package built on torch",
    cause="it was built for another torch, CUDA, Python or NumPy than the one that is installed",
    fix="install the build that belongs to this torch, from the index that torch came from",
    why="programs that use it do not start",
    source="Dao-AILab/flash-attention#940, vllm-project/vllm#13608, pytorch/audio#4226",
    after=_OTHERS,
)
def extension_import_fails(subject: Subject) -> Iterator[Finding]:
    """Every package that is built on torch can be imported after it."""
    imported_torch(subject)
    probe = _probe(subject)
    if not probe.imports:
        if not probe.imports_ending.is_good:
            raise CannotLook(f"the packages were not tried: {detail(probe.imports_ending)}")
        raise NotApplicable("no package that is built on torch was tried")
    untold = []
    for run in probe.imports:
        if run.ending.is_good:
            yield from _half_imported(subject, run)
        elif _needs_a_gpu(subject, run):
            untold.append(run.name)
        else:
            yield _import_failed(subject, run)
    if untold:
        raise CannotLook(f"without a GPU, {', '.join(untold)} cannot be imported")


def _import_failed(subject: Subject, run: ImportRun) -> Finding:
    why = _means(run.ending.message)
    return Finding(
        message=f"`import {run.name}` fails{f': {why}' if why else _manner(run.ending)}",
        seen=detail(run.ending),
        expected="an import that succeeds",
        remedy=remedies.install(subject),
    )


def _means(error: str) -> str:
    for words, meaning in _READINGS:
        if words.search(error):
            return meaning
    reason = reason_of(error)
    return reason.meaning if reason else ""


def _manner(ending: Ending) -> str:
    if ending.ended == "timeout":
        return ": it does not end"
    if ending.ended.startswith("signal"):
        return f": it ends the process ({ending.ended})"
    return f": {detail(ending)}"


def _half_imported(subject: Subject, run: ImportRun) -> Iterator[Finding]:
    found = _TELLTALE.search(run.ending.trace)
    if found is not None:
        line = next(text for text in run.ending.trace.splitlines() if found[0] in text)
        yield Finding(
            message=f"`import {run.name}` succeeds, and half of it will not work",
            seen=line.strip(),
            expected="an import without that warning",
            remedy=remedies.install(subject),
            severity="warning",
        )


def _needs_a_gpu(subject: Subject, run: ImportRun) -> bool:
    has_gpu = subject.host is not None and bool(subject.host.usable_gpus)
    return not has_gpu and _WANTS_GPU.search(run.ending.message) is not None


@check(
    level="import",
    needs=("probe",),
    symptom="RuntimeError: Numpy is not available, or `Failed to initialize NumPy`",
    cause="torch was built for another major version of NumPy, or NumPy itself is broken",
    fix="NumPy below 2 for torch before 2.3; else install NumPy anew",
    why="`tensor.numpy()` and `torch.from_numpy()` fail, and with them most loading of data",
    source="pytorch/pytorch#135013",
    after=("torch-import-fails", "numpy2-abi"),
)
def numpy_bridge_fails(subject: Subject) -> Iterator[Finding]:
    """Torch and NumPy exchange arrays."""
    torch = imported_torch(subject)
    numpy = torch.numpy
    if numpy is None:
        raise NotApplicable("NumPy is not installed")
    if numpy.bridge:
        return
    said = [item for item in torch.import_warnings if "numpy" in item.lower()]
    if numpy.bridge is None and not numpy.error and not said:
        raise CannotLook("this torch was not asked for an array")
    words = numpy.error or (said[0] if said else "an array that came back changed")
    broken = numpy.version is None
    yield Finding(
        message="`import numpy` fails"
        if broken
        else f"torch {torch.version} cannot exchange arrays with NumPy {numpy.version}",
        seen=words.partition("\n")[0],
        expected="an array that goes to torch and back",
        remedy=remedies.install(subject),
    )


@check(
    level="import",
    needs=("probe",),
    symptom="ImportError at `import ssl`; pip, conda and downloads of models fail",
    cause="a libssl or libcrypto of another version is found before the environment's own",
    fix="unset LD_LIBRARY_PATH; else install the OpenSSL of the lock",
    why="nothing can be downloaded from within the environment",
    source="conda-forge/miniforge#698, QuantConnect/Lean#8895",
    after=("openssl-clash",),
)
def ssl_import_fails(subject: Subject) -> Iterator[Finding]:
    """The environment's interpreter can use TLS."""
    probe = _probe(subject)
    run = probe.ssl
    if run is None:
        raise CannotLook(f"the interpreter did not run: {probe.failure or 'ssl was not tried'}")
    if not run.ending.is_good:
        variables = subject.host.variables if subject.host else {}
        leads = [name for name in ("LD_LIBRARY_PATH", "LD_PRELOAD") if variables.get(name)]
        yield Finding(
            message=f"`import ssl` fails{_manner(run.ending)}",
            seen=detail(run.ending),
            expected="an import that succeeds",
            remedy=f"unset {' '.join(leads)}" if leads else remedies.install(subject),
        )


def _probe(subject: Subject) -> ProbeFacts:
    assert subject.probe is not None  # noqa: S101 - `needs` says so
    return subject.probe

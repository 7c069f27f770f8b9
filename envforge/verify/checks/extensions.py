"""Do compiled extensions fit the torch that is here?

Two witnesses: the symbols of torch that an extension asks for, and what its wheel's version says
it was built for (`2.6.3+cu123torch2.4cxx11abiFALSE`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from envforge.model.finding import Finding
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.objects import (
    distribution,
    prefix_of,
    reinstall,
    was_loaded,
)
from envforge.verify.facts import Subject
from envforge.verify.facts.linking import TorchSymbols
from envforge.verify.facts.packages import Distribution

_FLASH: Final = re.compile(r"flash[-_]attn")
_OTHERS: Final = re.compile(r"torch|torchvision|torchaudio|torchtext|xformers|triton|functorch")
"""Their versions are other checks' business."""
_TORCH_TAG: Final = re.compile(r"(?<![a-z])(?:torch|pt)(?P<release>\d\.\d+|\d{2,4})(?!\d)")
_CUDA_TAG: Final = re.compile(r"cu(?P<major>1[0-9])\d{0,2}(?=\D|$)")
_CXX11_TAG: Final = re.compile(r"cxx11abi(TRUE|FALSE)", re.IGNORECASE)
_OLD_ABI: Final = re.compile(r"Ss(?=\D|$)|Ssb|RKSs")


@dataclass(frozen=True, slots=True)
class _Tag:
    text: str
    torch: tuple[str, ...]
    """`2.4`; two readings where digits run together: `210` is 2.1.0 or 2.10. Empty: unsaid."""
    cxx11: bool | None
    cuda: str | None


@check(
    level="static",
    needs=("prefix",),
    after=("torch-missing",),
    symptom="flash_attn_2_cuda…so: undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocation…",
    why="flash-attn cannot be imported, nor what is built on it",
    source="Dao-AILab/flash-attention#940, #975, #1622",
    cause="The wheel was built for another minor release of torch, or for the other C++11 ABI; or"
    " torch was replaced after it was installed.",
    fix="Install the wheel that names this torch and this ABI, or build it anew; lock the two"
    " together.",
)
def flash_attn_abi(subject: Subject) -> Iterator[Finding]:
    """flash-attn was built for the torch that is here."""
    if not any(_FLASH.match(_module(item)) for item in _extensions(subject)) and not any(
        _FLASH.match(item.name) for item in prefix_of(subject).packages.distributions
    ):
        raise NotApplicable("flash-attn is not installed")
    yield from _judged(subject, flash=True)


@check(
    level="static",
    needs=("prefix",),
    after=(
        "torch-missing",
        "torchvision-cuda-major",
        "torch-companion-version",
        "xformers-mismatch",
    ),
    symptom="vllm/_C.abi3.so: undefined symbol: _ZN5torch3jit17parseSchemaOrNameERKSsb",
    why="the package cannot be imported",
    source="vllm-project/vllm#13608, vllm-project/vllm#5501, LMCache/LMCache#1294",
    cause="A compiled extension was built for another release of torch, for the other C++11 ABI,"
    " or for CUDA where torch is a CPU build.",
    fix="Install the extension that was built for this torch, or build it anew.",
)
def vllm_or_other_ext_abi(subject: Subject) -> Iterator[Finding]:
    """Every extension asks only for symbols that this torch has."""
    yield from _judged(subject, flash=False)
    linking = prefix_of(subject).linking
    if linking is None:
        raise CannotLook("the shared objects were not read")
    if not linking.every_file and subject.level == "static":
        raise CannotLook("extensions in deeper folders are looked for with `--level import`")


def _judged(subject: Subject, *, flash: bool) -> Iterator[Finding]:
    told = set()
    for item in _extensions(subject):
        package = distribution(subject, item.path)
        if bool(_FLASH.match(_module(item))) is not flash or package in told:
            continue
        if item.count and not was_loaded(subject, item.path):
            told.add(package)
            yield _lacking(subject, item, package)
    for dist in prefix_of(subject).packages.distributions:
        if bool(_FLASH.match(dist.name)) is flash and dist.name not in told:
            yield from _by_tag(subject, dist)


def _lacking(subject: Subject, item: TorchSymbols, package: str) -> Finding:
    more = f" and {item.count - 1} more" if item.count > 1 else ""
    return Finding(
        message=f"{package} was built for another torch: `{item.missing[0]}`{more} is not in this"
        " one",
        seen=f"{item.path} wants {', '.join(item.missing)}{_abi_said(subject, item)}",
        expected=f"{package} built for torch {_torch_version(subject)}",
        remedy=reinstall(subject, item.path),
    )


def _abi_said(subject: Subject, item: TorchSymbols) -> str:
    linking = prefix_of(subject).linking
    wants = any("__cxx11" in name for name in item.missing)
    if linking is None or linking.torch_cxx11 is None or wants is linking.torch_cxx11:
        return ""
    if not wants and not any(_OLD_ABI.search(name) for name in item.missing):
        return ""
    have = "with" if linking.torch_cxx11 else "without"
    return (
        f"; this torch was built {have} the C++11 ABI, it was not"
        if have == "with"
        else ("; this torch was built without the C++11 ABI, it with it")
    )


# --- what wheels say ------------------------------------------------------------------------


def _by_tag(subject: Subject, dist: Distribution) -> Iterator[Finding]:
    tag = _tag(dist)
    torch = prefix_of(subject).torch
    if tag is None or torch is None or not torch.version or _OTHERS.fullmatch(dist.name):
        return
    mine = ".".join(torch.version.partition("+")[0].split(".")[:2])
    abi = _cxx11(subject)
    wrong = []
    if tag.torch and mine not in tag.torch:
        wrong.append(f"torch {tag.torch[0]}")
    if tag.cxx11 is not None and abi is not None and tag.cxx11 is not abi:
        wrong.append(f"the C++11 ABI {'on' if tag.cxx11 else 'off'}")
    if tag.torch and tag.cuda and torch.cuda and _major(torch.cuda) != tag.cuda:
        wrong.append(f"CUDA {tag.cuda}")
    if wrong and not _is_loaded(subject, dist):
        have = f"torch {torch.version}" + (f", CUDA {torch.cuda}" if torch.cuda else "")
        have += "" if abi is None else f", C++11 ABI {'on' if abi else 'off'}"
        yield Finding(
            message=f"{dist.name} {dist.version} was built for {' and '.join(wrong)},"
            f" and this is {have}",
            seen=tag.text,
            expected=f"a build for {have}",
            remedy=f"pip install --force-reinstall --no-deps --no-build-isolation {dist.name}",
        )


def _tag(dist: Distribution) -> _Tag | None:
    """What the local version, or the name of the wheel it came from, says."""
    for text in (dist.version, unquote(dist.local_url.rpartition("/")[2])):
        local = text.partition("+")[2].partition("-")[0].lower()
        if not local:
            continue
        torch, cuda, abi = (p.search(local) for p in (_TORCH_TAG, _CUDA_TAG, _CXX11_TAG))
        if torch or abi:
            return _Tag(
                text=text,
                torch=_releases(torch["release"]) if torch else (),
                cxx11=abi[1] == "true" if abi else None,
                cuda=cuda["major"] if cuda else None,
            )
    return None


def _releases(digits: str) -> tuple[str, ...]:
    """`2.4`, `24`, `240`, `113` and `2100` as torch's releases."""
    if "." in digits:
        return (digits,)
    readings = [f"{digits[0]}.{digits[1]}"] if len(digits) < 4 and digits[0] != "1" else []
    if len(digits) > 2:
        readings.append(f"{digits[0]}.{digits[1:3]}")
    return tuple(readings) or (f"{digits[0]}.{digits[1:]}",)


def _cxx11(subject: Subject) -> bool | None:
    """The ABI of torch: by its symbols, else by its release, where all wheels had the same."""
    prefix = prefix_of(subject)
    if prefix.linking and prefix.linking.torch_cxx11 is not None:
        return prefix.linking.torch_cxx11
    if prefix.linking and prefix.linking.cpu_library_read:
        return None
    wheel = next((item for item in prefix.wheels if item.name == "torch"), None)
    if wheel is None:
        return None
    release = [int(part) for part in re.findall(r"\d+", wheel.version)[:2]]
    # Wheels changed with 2.7, and two variants already with 2.6 (PyTorch 2.6 release notes).
    return True if release >= [2, 7] else False if release < [2, 6] else None


def _is_loaded(subject: Subject, dist: Distribution) -> bool:
    """Whether its symbols were compared and are all there: that says more than a name."""
    found = [i for i in _extensions(subject) if distribution(subject, i.path) == dist.name]
    linking = prefix_of(subject).linking
    return bool(found and linking and linking.cpu_library_read) and not any(
        item.count for item in found
    )


def _extensions(subject: Subject) -> tuple[TorchSymbols, ...]:
    linking = prefix_of(subject).linking
    return linking.extensions if linking else ()


def _module(item: TorchSymbols) -> str:
    return re.split(r"(?:site|dist)-packages/", item.path)[-1]


def _torch_version(subject: Subject) -> str:
    torch = prefix_of(subject).torch
    return torch.version or "of this environment" if torch else "of this environment"


def _major(cuda: str) -> str:
    return cuda.partition(".")[0]

"""Do the libraries that would be found have the symbols asked of them?

As in `linking.py`, what the probe has really loaded counts before what was foreseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify.check import check
from envforge.verify.checks.objects import (
    absolute,
    file_name,
    linking_of,
    numbers,
    prefix_of,
    restore,
    was_loaded,
)
from envforge.verify.facts import Subject
from envforge.verify.facts.linking import MissingSymbol, MissingVersion

_CXX: Final = re.compile(r"(GLIBCXX|CXXABI|GCC)_")
_OPENSSL: Final = re.compile(r"OPENSSL_")
_PROFILED: Final = "iJIT_NotifyEvent"
_PYTORCH_BUILD: Final = re.compile(r"py\d\.\d+_(cuda|cpu)")


@check(
    level="static",
    needs=("prefix",),
    after=("ld-preload-leak",),
    symptom="libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_1, version"
    " libnvJitLink.so.12",
    why="`import torch` fails",
    source="pytorch/pytorch#111469, pytorch/pytorch#134929, NVIDIA/raft#2948",
    cause="An older libnvJitLink is found before the one that belongs to libcusparse: a CUDA"
    " toolkit on LD_LIBRARY_PATH, or an older wheel.",
    fix="Unset LD_LIBRARY_PATH, or install nvjitlink of the same release as cusparse.",
)
def nvjitlink_symbol(subject: Subject) -> Iterator[Finding]:
    """The libnvJitLink that is found has what the CUDA libraries ask of it."""
    yield from _symbols_of(subject, "libnvJitLink")


@check(
    level="static",
    needs=("prefix",),
    after=("ld-preload-leak",),
    symptom="libcublas.so.11: undefined symbol: cublasLtGetStatusString, version libcublasLt.so.11",
    why="`import torch` fails, or the first product of matrices",
    source="pytorch/pytorch#88882, pytorch/pytorch#103832, pytorch/pytorch#174320",
    cause="libcublas finds the libcublasLt of another CUDA release: the system's toolkit on"
    " LD_LIBRARY_PATH, or a second wheel.",
    fix="Unset LD_LIBRARY_PATH, or remove the second copy.",
)
def cublaslt_symbol(subject: Subject) -> Iterator[Finding]:
    """The libcublasLt that is found has what libcublas asks of it."""
    yield from _symbols_of(subject, "libcublasLt")


def _symbols_of(subject: Subject, library: str) -> Iterator[Finding]:
    linking = linking_of(subject)
    if any(_is_of(item.name, library) for item in linking.unresolved):
        return  # there is none at all: `missing-cuda-lib`
    for symbol in linking.missing_symbols:
        if _is_of(symbol.library, library) and not was_loaded(subject, symbol.requester):
            yield _symbol_told(subject, symbol)
            return
    for version in linking.missing_versions:
        if _is_of(version.library, library) and not was_loaded(subject, version.requester):
            yield _version_told(subject, version)
            return


def _is_of(name: str | None, library: str) -> bool:
    return name is not None and name.startswith(f"{library}.so")


def _symbol_told(subject: Subject, item: MissingSymbol) -> Finding:
    more = f" and {item.more} more" if item.more else ""
    who, library = file_name(item.requester), item.library or "library"
    place = f"{item.provider} has no {item.symbol}{more}" if item.provider else "nothing has it"
    return Finding(
        message=f"{who} wants `{item.symbol}`{more} of"
        f" {item.library or 'torch'}, which the one that is found does not have",
        seen=f"{place} (found by {_by(item.via)})" if item.via else place,
        expected=f"a {library} of the same release as {who}",
        remedy=_away_with(subject, item),
    )


def _version_told(subject: Subject, item: MissingVersion) -> Finding:
    """The finding for a library that is too old for another."""
    newest = f"; its newest is {item.newest}" if item.newest else ""
    return Finding(
        message=f"{item.provider} has no `{item.version}`, which {file_name(item.requester)} needs",
        seen=f"{item.requester} needs {item.version} of {item.library}; {item.provider} is found"
        f" by {_by(item.via)}{newest}",
        expected=f"a {item.library} with {item.version}"
        + (f", as {item.in_prefix} is" if item.in_prefix else ""),
        remedy=_newer(subject, item),
    )


def _newer(subject: Subject, item: MissingVersion) -> str:
    if item.via in {"LD_LIBRARY_PATH", "LD_PRELOAD"}:
        return f"unset {item.via}"
    if (
        item.in_prefix
        and file_name(item.in_prefix) != item.library
        and "/" not in item.in_prefix[4:]
    ):
        folder = absolute(subject, item.in_prefix).rpartition("/")[0]
        return f"ln -s {file_name(item.in_prefix)} {folder}/{item.library}"
    if item.library.startswith("libstdc++") and prefix_of(subject).conda:
        return f"conda install -p {prefix_of(subject).prefix} 'libstdcxx-ng>=12' -c conda-forge"
    return restore(subject, item.provider)


def _away_with(subject: Subject, item: MissingSymbol) -> str:
    if item.via in {"LD_LIBRARY_PATH", "LD_PRELOAD"}:
        return f"unset {item.via}"
    return restore(subject, item.provider or item.requester)


def _by(via: str | None) -> str:
    names = {
        "rpath": "the search path in the file that needs it",
        "runpath": "the search path in the file that needs it",
        "cache": "the system's loader cache",
        "default": "the system's default folders",
    }
    return names.get(via or "", via or "its name")


@check(
    level="static",
    needs=("prefix",),
    symptom="libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent",
    why="`import torch` fails",
    source="pytorch/pytorch#123097",
    cause="Builds of the pytorch channel take a profiling symbol from MKL, which MKL 2024.1 no"
    " longer exports, and they name no upper bound for MKL.",
    fix="Ask for `mkl<2024.1` beside torch, or take another source of torch.",
)
def mkl_ijit(subject: Subject) -> Iterator[Finding]:
    """MKL still has the symbol that builds of the pytorch channel take from it."""
    prefix, linking = prefix_of(subject), linking_of(subject)
    mkl = next((item.version for item in prefix.conda if item.name == "mkl"), None)
    found = next((i for i in linking.missing_symbols if i.symbol == _PROFILED), None)
    if found is not None and not was_loaded(subject, found.requester):
        said = f"MKL {mkl}" if mkl else "what is installed"
        yield Finding(
            message=f"torch takes `{_PROFILED}` from MKL, and {said} does not have it",
            seen=f"{found.requester} wants {_PROFILED}; no library that it loads has it",
            expected="mkl older than 2024.1",
            remedy=_with_older_mkl(subject),
        )
    elif found is None and mkl and _is_too_new(mkl) and not _is_imported(subject):
        yield from _by_records(subject, mkl)


def _by_records(subject: Subject, mkl: str) -> Iterator[Finding]:
    """Where torch's library does not tell, its build speaks: all of that channel do it."""
    torch = next((item for item in prefix_of(subject).conda if item.name == "pytorch"), None)
    if torch and _PYTORCH_BUILD.match(torch.build) and numbers(torch.version) < [2, 3]:
        yield Finding(
            message=f"torch {torch.version} takes `{_PROFILED}` from MKL, and MKL {mkl}"
            " does not have it",
            seen=f"pytorch {torch.version} {torch.build} with mkl {mkl}",
            expected="mkl older than 2024.1",
            remedy=_with_older_mkl(subject),
        )


def _is_imported(subject: Subject) -> bool:
    return bool(subject.probe and subject.probe.torch and subject.probe.torch.version)


def _is_too_new(mkl: str) -> bool:
    return numbers(mkl) >= [2024, 1]


def _with_older_mkl(subject: Subject) -> str:
    return f'conda install -p {prefix_of(subject).prefix} "mkl<2024.1"'


@check(
    level="static",
    needs=("prefix",),
    symptom="libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by libtorch_python.so)",
    why="the import fails, of torch or of the extension that was built with a newer compiler",
    source="pytorch/pytorch#157709, pytorch/pytorch#87279, pytorch/pytorch#121796",
    cause="The C++ library of the system, or an old one on LD_LIBRARY_PATH, is loaded in place of"
    " the environment's; or the environment's own is older than the compiler an extension was"
    " built with; or its link libstdc++.so.6 is gone.",
    fix="Unset LD_LIBRARY_PATH, restore the link, or update libstdcxx in the environment.",
)
def glibcxx_too_old(subject: Subject) -> Iterator[Finding]:
    """The C++ library that is found is as new as torch and its extensions ask for."""
    yield from _versions(subject, _CXX)


@check(
    level="static",
    needs=("prefix",),
    symptom="libcrypto.so.3: version `OPENSSL_3.3.0' not found (required by _ssl…so)",
    why="Python cannot speak TLS: nothing can be downloaded",
    source="conda-forge/miniforge#698, QuantConnect/Lean#8895",
    cause="Another OpenSSL than the one Python was built with is found first, as a rule through"
    " LD_LIBRARY_PATH.",
    fix="Unset LD_LIBRARY_PATH.",
)
def openssl_clash(subject: Subject) -> Iterator[Finding]:
    """The OpenSSL that is found is the one that Python's ssl module was built with."""
    yield from _versions(subject, _OPENSSL)


@check(
    level="static",
    needs=("prefix",),
    after=(
        "ld-preload-leak",
        "glibc-too-old",
        "nvjitlink-symbol",
        "cublaslt-symbol",
        "cudnn-older-than-built",
    ),
    symptom="libX.so: version `Y' not found (required by …)",
    why="what needs that version cannot be imported",
    source="ld.so(8); Linux Standard Base, symbol versioning",
    cause="A library is older than the one that a package was linked with: the C library of an"
    " old system, or another copy that is found first.",
    fix="Unset LD_LIBRARY_PATH, take the package built for this system, or update the library.",
)
def symbol_version_missing(subject: Subject) -> Iterator[Finding]:
    """Every other library that is found has the symbol versions asked of it."""
    told = re.compile(rf"{_CXX.pattern}|{_OPENSSL.pattern}|libnvJitLink|libcublasLt")
    others = [i for i in linking_of(subject).missing_versions if not told.match(i.version)]
    yield from _first_of_each(subject, others)


def _versions(subject: Subject, kind: re.Pattern[str]) -> Iterator[Finding]:
    found = [item for item in linking_of(subject).missing_versions if kind.match(item.version)]
    yield from _first_of_each(subject, found)


def _first_of_each(subject: Subject, items: list[MissingVersion]) -> Iterator[Finding]:
    """One finding for each library that is too old, with the newest version that is asked."""
    worst: dict[str, MissingVersion] = {}
    for item in items:
        if was_loaded(subject, item.requester):
            continue
        known = worst.setdefault(item.provider, item)
        if numbers(item.version) > numbers(known.version):
            worst[item.provider] = item
    for item in worst.values():
        yield _version_told(subject, item)


@check(
    level="static",
    needs=("prefix",),
    after=("ld-preload-leak", "missing-cuda-lib", "cudnn-older-than-built", "cudnn-sublibrary-mix"),
    symptom="libtorch_cuda.so: undefined symbol: …",
    why="`import torch` fails",
    source="ld.so(8); pytorch/pytorch#119989",
    cause="A library that torch needs comes from another release than torch was built with.",
    fix="Install torch and its libraries anew, from one source.",
)
def undefined_symbol(subject: Subject) -> Iterator[Finding]:
    """What torch's libraries ask of each other and of the CUDA libraries is there."""
    for item in linking_of(subject).missing_symbols:
        told = item.symbol == _PROFILED or any(
            _is_of(item.library, name) for name in ("libnvJitLink", "libcublasLt")
        )
        if not told and not was_loaded(subject, item.requester):
            yield _symbol_told(subject, item)

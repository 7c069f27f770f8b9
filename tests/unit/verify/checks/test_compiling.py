"""What kernels and extensions are compiled with, judged over facts built by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import TARGET, V100, host, no_driver, prefix, subject, torch_files

from envforge.model.finding import Finding
from envforge.verify.check import CannotLook, Check, NotApplicable
from envforge.verify.checks import compiling as checks
from envforge.verify.facts import ShellFacts, Subject
from envforge.verify.facts.shell import (
    CachedLibrary,
    CacheFolder,
    ForeignValue,
    HeaderFiles,
    LibcudaPlaces,
    PtxAssembler,
    Toolkit,
    TritonFiles,
)

TRITON = TritonFiles(version="2.0.0", folder="/e/triton", has_backend=True, cuda_header="/e/cuda.h")


def around(**facts: Any) -> Subject:
    """A healthy subject whose shell has Triton, a compiler, and these facts."""
    shell = ShellFacts(**{"uid": 1000, "user": "ada", "triton": TRITON, "compiler": "gcc", **facts})
    return subject(host=host(shell=shell))


def found(check: Check, given: Subject) -> list[Finding]:
    return list(check(given))


def cached(name: str = "libcuda.so.1", exists: bool = True) -> CachedLibrary:
    return CachedLibrary(name=name, path=f"/usr/lib/{name}", exists=exists)


@pytest.mark.parametrize(
    ("version", "places", "count"),
    [
        ("3.0.0", LibcudaPlaces(cached=(cached(),)), 0),
        (None, LibcudaPlaces(cached=(cached(),)), 0),
        ("3.0.0", LibcudaPlaces(cached=(cached(exists=False),)), 1),
        ("3.0.0", LibcudaPlaces(cached=(cached("libcuda.so"),)), 1),
        ("3.0.0", LibcudaPlaces(), 1),
        ("3.0.0", LibcudaPlaces(on_library_path=("libcuda.so.1",)), 0),
        ("3.0.0", LibcudaPlaces(named="/x", named_files=("libcuda.so.1",)), 0),
        ("3.0.0", LibcudaPlaces(named="/x", cached=(cached(),)), 1),
        ("2.1.0", LibcudaPlaces(cached=(cached(),)), 1),
        ("2.1.0", LibcudaPlaces(cached=(cached(), cached("libcuda.so"))), 0),
        ("2.1.0", LibcudaPlaces(cached=(cached(),), beside=("/usr/lib/libcuda.so",)), 0),
        ("2.1.0", LibcudaPlaces(on_library_path=("libcuda.so.1",)), 1),
        ("2.1.0", LibcudaPlaces(on_library_path=("libcuda.so",)), 0),
    ],
)
def test_where_triton_looks_for_libcuda(
    version: str | None, places: LibcudaPlaces, count: int
) -> None:
    given = around(libcuda=places, triton=replace(TRITON, version=version))
    told = found(checks.triton_libcuda_not_found, given)
    assert len(told) == count
    assert all(item.remedy and "  " not in item.message for item in told)


@pytest.mark.parametrize(
    "given",
    [
        around(triton=None),
        replace(around(), target=replace(TARGET, cuda=None)),
        replace(around(), host=no_driver(shell=ShellFacts(triton=TRITON))),
    ],
)
@pytest.mark.parametrize(
    "check", [checks.triton_libcuda_not_found, checks.no_c_compiler, checks.ptxas_too_old]
)
def test_what_only_triton_on_a_gpu_needs(given: Subject, check: Check) -> None:
    with pytest.raises(NotApplicable):
        found(check, given)


def test_headers() -> None:
    own = HeaderFiles(python="3.10", looked=("/e/include",))
    [finding] = found(checks.python_headers_missing, around(headers=own))
    assert finding.remedy == "envforge install nlp-bert-torch20-cu118"
    system = replace(own, is_system=True)
    [finding] = found(checks.python_headers_missing, around(headers=system))
    assert "python3.10-dev" in finding.remedy
    there = replace(own, found="/e/include/python3.10/Python.h")
    assert not found(checks.python_headers_missing, around(headers=there))
    nothing = around(triton=TritonFiles(version="3.0.0"))
    with pytest.raises(CannotLook):
        found(checks.python_headers_missing, nothing)


def test_both_headers_are_told_of() -> None:
    given = around(
        headers=HeaderFiles(python="3.10", looked=("/e/include",)),
        triton=replace(TRITON, cuda_header=None),
    )
    told = found(checks.python_headers_missing, given)
    assert [item.message.split()[0] for item in told] == ["Python.h", "cuda.h"]
    assert "cuda-cudart-dev=11.8.*" in told[1].remedy


def test_no_compiler() -> None:
    [finding] = found(checks.no_c_compiler, around(compiler=None))
    assert "gxx" in finding.remedy
    [finding] = found(checks.no_c_compiler, around(compiler=None, compiler_named="icc"))
    assert finding.remedy == "unset CC"


def asked(**changes: Any) -> Subject:
    fields = {"path": "/e/bin/ptxas", "serves": ("sm_90a",), "release": "12.4", **changes}
    return around(triton=replace(TRITON, assemblers=(PtxAssembler(**fields),)))


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"accepted": ("sm_90a",), "release": "11.0"}, 0),
        ({"refused": ("sm_90a",)}, 1),
        ({"release": "11.4"}, 1),
        ({"release": "11.4", "serves": ("sm_80",)}, 0),
    ],
)
def test_ptxas(changes: dict[str, Any], count: int) -> None:
    assert len(found(checks.ptxas_too_old, asked(**changes))) == count


def test_ptxas_that_cannot_be_asked() -> None:
    with pytest.raises(CannotLook):
        found(checks.ptxas_too_old, around())
    given = asked(exists=False, release=None, variable="TRITON_PTXAS_PATH")
    with pytest.raises(CannotLook, match="no file"):
        found(checks.ptxas_too_old, given)
    with pytest.raises(CannotLook, match="not executable"):
        found(checks.ptxas_too_old, asked(release=None, error="not executable"))


def test_remedies_for_ptxas() -> None:
    [finding] = found(checks.ptxas_too_old, asked(release="11.4", variable="TRITON_PTXAS_PATH"))
    assert finding.remedy.startswith("unset TRITON_PTXAS_PATH; else export TRITON_PTXAS_PATH=")
    given = asked(path="/e/bin/ptxas-blackwell", refused=("sm_90a",))
    [finding] = found(checks.ptxas_too_old, given)
    assert "TRITON_PTXAS_BLACKWELL_PATH" in finding.remedy
    dropped = asked(serves=("sm_70",), refused=("sm_70",), release="13.0")
    given = replace(dropped, host=host("535.104.05", "12.2", V100, shell=dropped.host.shell))
    [finding] = found(checks.ptxas_too_old, given)
    assert "12.9 or older" in finding.expected


# --- caches ---------------------------------------------------------------------------------


def folder(**changes: Any) -> CacheFolder:
    fields = {"use": "inductor", "path": "/var/t", "nearest": "/var/t", "exists": True}
    return CacheFolder(**{**fields, "owner": 1000, "mode": 0o700, "writable": True, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"writable": False}, "may not be written to"),
        ({"writable": False, "exists": False, "nearest": "/up"}, "/up may not"),
        ({"is_folder": False}, "no folder"),
        ({"read_only": True, "mount": "/ro"}, "/ro is mounted read-only"),
        ({"owner": 1001, "per_user": True}, "belongs to user 1001"),
        ({"owner": 1001}, ""),
        ({"owner": 0, "per_user": True}, ""),
        ({"owner": 0, "per_user": True, "exists": False, "nearest": "/up"}, ""),
        ({"use": "triton", "writable": False}, "Triton"),
        ({"use": "extensions", "writable": False}, "extensions"),
        ({"use": "extensions", "writable": False, "variable": "HOME"}, "extensions"),
        ({"use": "extensions", "writable": False, "variable": "XDG_CACHE_HOME"}, "extensions"),
        ({"use": "driver", "writable": False, "variable": "CUDA_CACHE_PATH"}, "driver"),
    ],
)
def test_caches(changes: dict[str, Any], says: str) -> None:
    told = found(checks.inductor_cache_perm, around(caches=(folder(**changes),)))
    assert [says in item.message for item in told] == ([True] if says else [])


def test_caches_that_this_torch_does_not_use() -> None:
    bad = folder(writable=False)
    old = prefix(torch=torch_files(version="1.13.1"))
    assert not found(checks.inductor_cache_perm, replace(around(caches=(bad,)), prefix=old))
    given = around(caches=(replace(bad, use="triton"),))
    cpu = replace(given, target=replace(TARGET, cuda=None))
    assert not found(checks.inductor_cache_perm, cpu)
    without = around(caches=(replace(bad, use="triton", variable="HOME"),), triton=None)
    assert not found(checks.inductor_cache_perm, without)
    named = around(caches=(replace(bad, use="triton", variable="TRITON_HOME"),), triton=None)
    assert found(checks.inductor_cache_perm, named)


def test_a_user_without_a_name() -> None:
    [finding] = found(checks.inductor_cache_perm, around(user=None))
    assert "user id 1000" in finding.message
    assert not found(checks.inductor_cache_perm, around(user=None, caches=(folder(),)))
    fixed = replace(around(user=None), prefix=prefix(torch=torch_files(version="2.13.0")))
    assert not found(checks.inductor_cache_perm, fixed)


def test_remedies_for_caches() -> None:
    bad = folder(writable=False, use="triton", variable="HOME")
    [finding] = found(checks.inductor_cache_perm, around(caches=(bad,)))
    assert finding.remedy == "export TRITON_CACHE_DIR=/var/tmp/$(id -u)/triton"


def test_noexec() -> None:
    bad = folder(noexec=True, mount="/up")
    [finding] = found(checks.tmp_noexec, around(caches=(bad,)))
    assert finding.remedy == "export TORCHINDUCTOR_CACHE_DIR=$HOME/.cache/torchinductor"
    driver = replace(bad, use="driver", variable="CUDA_CACHE_PATH")
    assert not found(checks.tmp_noexec, around(caches=(driver,)))


# --- toolkits -------------------------------------------------------------------------------


def toolkit(**changes: Any) -> Toolkit:
    fields = {"source": "CUDA_HOME", "home": "/c", "exists": True, "version": "11.8"}
    return Toolkit(**{**fields, "witness": "/c/version.json", **changes})


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"version": "12.3"}, 1),
        ({"version": "11.7"}, 1),
        ({"version": "11.7", "source": "PATH"}, 1),
        ({"version": "12.3", "source": "PATH"}, 1),
        ({"exists": False, "version": None}, 1),
    ],
)
def test_toolkits(changes: dict[str, Any], count: int) -> None:
    told = found(checks.cuda_home_mismatch, around(toolkit=toolkit(**changes)))
    assert len(told) == count


def test_toolkits_of_which_nothing_is_said() -> None:
    with pytest.raises(CannotLook):
        found(checks.cuda_home_mismatch, around(toolkit=toolkit(version=None)))
    with pytest.raises(NotApplicable):
        found(checks.cuda_home_mismatch, around(toolkit=None))
    with pytest.raises(NotApplicable):
        found(checks.cuda_home_mismatch, around(toolkit=toolkit(is_system=True)))
    leak = ForeignValue(variable="CUDA_HOME", path="/c", prefix="/o", exists=True, active=False)
    with pytest.raises(NotApplicable):
        found(checks.cuda_home_mismatch, around(toolkit=toolkit(), foreign=(leak,)))

"""Checks of shared objects, on facts built by hand: what the catalogue's worlds do not reach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import (
    PREFIX,
    host,
    installed,
    locked,
    prefix,
    probe,
    subject,
    torch_files,
    torch_run,
)

from envforge.model.finding import Finding, Outcome
from envforge.verify.facts import Subject
from envforge.verify.facts.linking import (
    CudnnParts,
    Linking,
    Load,
    MissingSymbol,
    MissingVersion,
    MklFiles,
    OpenMp,
    TorchSymbols,
    Unresolved,
)
from envforge.verify.facts.packages import Distribution, PackageFacts
from envforge.verify.registry import CHECKS
from envforge.verify.verify import judge

SITE = "lib/python3.10/site-packages"
CUDNN = Load(name="libcudnn.so.8", requester="x", path="/opt/cuda/libcudnn.so.8", via="cache")
FLASH = f"{SITE}/flash_attn_2_cuda.cpython-310-x86_64-linux-gnu.so"


def looked(level: str = "static", **facts: Any) -> Subject:
    """A healthy subject whose files were read."""
    changes = {"linking": Linking(every_file=level != "static", **facts)}
    return replace(
        subject(level=level, probe=None, missing={"probe": "level static"}),  # type: ignore[arg-type]
        prefix=prefix(**changes),
    )


def outcome(check: str, facts: Subject) -> Outcome:
    [found] = [item for item in judge(facts, only=[check]) if item.check == check]
    return found


def found(check: str, facts: Subject) -> Finding:
    [finding] = outcome(check, facts).findings
    return finding


def test_where_nothing_was_read_nothing_is_proven() -> None:
    facts = subject(level="static", probe=None)
    for check in ("missing-cuda-lib", "glibcxx-too-old", "vllm-or-other-ext-abi"):
        assert outcome(check, facts).verdict == "unproven"
    without = replace(facts, prefix=prefix(torch=None))
    assert outcome("missing-cuda-lib", without).verdict == "inapplicable"


def test_everything_is_well() -> None:
    names = [
        name
        for name, item in CHECKS.items()
        if item.test.__module__.endswith(("linking", "symbols", "runtimes", "cudnn"))
    ]
    for item in judge(looked(), only=names):
        assert item.findings == (), item


@pytest.mark.parametrize(
    ("item", "seen", "remedy"),
    [
        (
            Unresolved(name="libcudart.so.11.0", requester="lib/libtorch.so", of_torch=True),
            "no libcudart.so.11.0 in the environment",
            "envforge install",
        ),
        (
            Unresolved(
                name="libnccl.so.2",
                requester="lib/libtorch.so",
                of_torch=True,
                lies_at="lib64/x/libnccl.so.2",
            ),
            "where the loader does not look",
            f"export LD_LIBRARY_PATH={PREFIX}/lib64/x",
        ),
        (
            Unresolved(
                name="libnccl.so.2",
                requester="lib/libtorch.so",
                of_torch=True,
                lies_at="lib/libnccl.so.2",
                machine="aarch64",
            ),
            "lib/libnccl.so.2 is for aarch64",
            "envforge install",
        ),
        (
            Unresolved(
                name="libcudart.so.11.0",
                requester=f"{SITE}/torch_sparse/_C.so",
                of_torch=False,
                others=("libcudart.so.12",),
            ),
            "there is libcudart.so.12",
            "pip install --force-reinstall --no-deps --no-build-isolation torch-sparse",
        ),
    ],
)
def test_a_cuda_library_that_is_not_found(item: Unresolved, seen: str, remedy: str) -> None:
    finding = found("missing-cuda-lib", looked(unresolved=(item,)))

    assert seen in finding.seen
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("cuda", "name", "remedy"),
    [
        ("12.6", "libcublas.so.12", "pip install nvidia-cublas-cu12"),
        ("13.0", "libcublas.so.13", "pip install nvidia-cublas"),
        ("13.0", "libcudnn.so.9", "pip install nvidia-cudnn-cu13"),
        (
            "13.0",
            "libtorch_nvshmem.so",
            "make the environment anew: envforge create nlp-bert --torch 2.0.1 --cuda 13.0",
        ),
    ],
)
def test_without_a_lock_the_wheel_is_named(cuda: str, name: str, remedy: str) -> None:
    item = Unresolved(name=name, requester="lib/libtorch_cuda.so", of_torch=True)
    facts = replace(
        looked(unresolved=(item,)),
        locked=None,
        target=None,
    )
    facts = replace(facts, prefix=replace(facts.prefix, torch=torch_files(cuda=cuda), conda=()))  # type: ignore[type-var]

    assert found("missing-cuda-lib", facts).remedy == remedy


def test_a_torch_of_conda_gets_no_wheels() -> None:
    item = Unresolved(name="libcublas.so.12", requester="lib/libtorch_cuda.so", of_torch=True)
    facts = replace(looked(unresolved=(item,)), locked=None, target=None)

    assert "pip install" not in found("missing-cuda-lib", facts).remedy


def test_what_the_probe_has_loaded_counts() -> None:
    """Whatever was foreseen: the file is there, in a torch that was imported."""
    item = Unresolved(name="libnccl.so.2", requester="lib/libtorch_cuda.so", of_torch=True)
    version = MissingVersion(
        version="GLIBCXX_3.4.30",
        library="libstdc++.so.6",
        requester="lib/libtorch_cuda.so",
        provider="/usr/lib/libstdc++.so.6",
        via="cache",
    )
    symbol = MissingSymbol(symbol="f", requester="lib/libtorch_cuda.so")
    linking = Linking(unresolved=(item,), missing_versions=(version,), missing_symbols=(symbol,))
    run = torch_run(libraries=(f"{PREFIX}/lib/libtorch_cuda.so",))
    loaded = subject(prefix=prefix(linking=linking), probe=probe(torch=run))
    for check in ("missing-cuda-lib", "glibcxx-too-old", "undefined-symbol"):
        assert outcome(check, loaded).verdict == "passed"
        failed = replace(loaded, probe=probe(torch=replace(run, version=None)))
        assert outcome(check, failed).verdict == "failed"


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"via": "LD_LIBRARY_PATH"}, "unset LD_LIBRARY_PATH"),
        ({"in_prefix": "lib/libstdc++.so.6.0.33"}, f"ln -s libstdc++.so.6.0.33 {PREFIX}/lib/"),
        ({}, "libstdcxx-ng"),
    ],
)
def test_a_libstdcxx_that_is_too_old(changes: dict[str, Any], remedy: str) -> None:
    older = MissingVersion(
        version="GLIBCXX_3.4.9",
        library="libstdc++.so.6",
        requester="lib/a.so",
        provider="/usr/lib/libstdc++.so.6",
        via="cache",
        newest="GLIBCXX_3.4.8",
    )
    newer = replace(older, version="GLIBCXX_3.4.30", requester="lib/b.so", **changes)

    finding = found("glibcxx-too-old", looked(missing_versions=(older, newer)))

    assert "GLIBCXX_3.4.30" in finding.message
    assert remedy in finding.remedy


def test_nvjitlink_by_its_version() -> None:
    """A library whose versions differ, not its symbols."""
    version = MissingVersion(
        version="libnvJitLink.so.12",
        library="libnvJitLink.so.12",
        requester="lib/libcusparse.so.12",
        provider="/opt/libnvJitLink.so.12",
        via="LD_LIBRARY_PATH",
    )

    facts = looked(missing_versions=(version,))

    assert found("nvjitlink-symbol", facts).remedy == "unset LD_LIBRARY_PATH"
    assert outcome("symbol-version-missing", facts).verdict == "passed"


@pytest.mark.parametrize(
    ("torch", "mkl", "read", "fails"),
    [
        ("2.0.1", "2024.1.0", False, True),
        ("2.0.1", "2024.0.0", False, False),
        ("2.4.0", "2024.2.2", False, False),
        ("2.0.1", "2024.1.0", True, True),
    ],
)
def test_mkl_by_the_records(torch: str, mkl: str, read: bool, fails: bool) -> None:
    """All builds of that channel take the symbol, whether or not libtorch_cpu tells."""
    conda = tuple(
        installed(item)
        for item in (
            locked("pytorch", torch, "py3.10_cuda11.8_cudnn8.7.0_0"),
            locked("mkl", mkl, "h1_0"),
        )
    )
    facts = looked(cpu_library_read=read)
    facts = replace(facts, prefix=replace(facts.prefix, conda=conda))  # type: ignore[type-var]

    assert (outcome("mkl-ijit", facts).verdict == "failed") is fails


def test_conda_forge_builds_take_nothing_from_mkl() -> None:
    conda = tuple(
        installed(item)
        for item in (
            locked("pytorch", "2.1.0", "cuda118_py310h1_300"),
            locked("mkl", "2024.2.2", "h1_0"),
        )
    )
    facts = looked()
    facts = replace(facts, prefix=replace(facts.prefix, conda=conda))  # type: ignore[type-var]

    assert outcome("mkl-ijit", facts).verdict == "passed"


# --- cuDNN ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "pin", "fails"),
    [
        ("8.2.4", None, True),
        ("8.7.0", None, False),
        ("8.9.7", None, False),
        ("9.1.0", None, True),
        ("8.7.0", "8.9.2.26", True),
    ],
)
def test_the_cudnn_that_would_be_loaded(version: str, pin: str | None, fails: bool) -> None:
    """Against torch's metadata, else against its build string."""
    dist = Distribution(
        name="torch",
        version="2.0.1",
        requires=("filelock", f"nvidia-cudnn-cu11 (=={pin}) ; platform_system == 'Linux'"),
    )
    facts = looked(torch_loads=(replace(CUDNN, version=version),))
    if pin is not None:
        packages = PackageFacts(distributions=(dist,))
        facts = replace(facts, prefix=replace(facts.prefix, packages=packages))  # type: ignore[type-var]
    if pin is None:
        kept = [i for i in facts.prefix.cudnn if i.witness.startswith("build ")]  # type: ignore[union-attr]
        assert kept

    assert (outcome("cudnn-older-than-built", facts).verdict == "failed") is fails


def test_an_older_cudnn_in_the_environment_itself() -> None:
    """The wheel that torch's metadata names is the remedy, where there is no lock."""
    dist = Distribution(name="torch", version="2.4.0", requires=("nvidia-cudnn-cu12==9.1.0.70; x",))
    load = replace(CUDNN, version="9.0.0", path="lib/libcudnn.so.9", via="rpath")
    facts = looked(torch_loads=(load,))
    facts = replace(
        facts,
        locked=None,
        prefix=replace(
            facts.prefix,  # type: ignore[type-var]
            torch=torch_files(cuda="12.4"),
            packages=PackageFacts(distributions=(dist,)),
        ),
    )

    assert found("cudnn-older-than-built", facts).remedy == (
        "pip install nvidia-cudnn-cu12==9.1.0.70"
    )


def test_which_cudnn_is_not_known() -> None:
    assert outcome("cudnn-older-than-built", looked()).verdict == "unproven"
    facts = looked(torch_loads=(replace(CUDNN, version="9.1.0"),))
    cpu = replace(facts, prefix=replace(facts.prefix, torch=torch_files(cuda=None)))  # type: ignore[type-var]
    assert outcome("cudnn-older-than-built", cpu).verdict == "inapplicable"
    nobody = replace(facts, prefix=replace(facts.prefix, cudnn=()), target=None)  # type: ignore[type-var]
    assert outcome("cudnn-older-than-built", nobody).verdict == "unproven"
    nothing = replace(facts, prefix=None, missing={"prefix": "no"})
    assert outcome("cudnn-older-than-built", nothing).verdict == "inapplicable"


def test_parts_of_another_version() -> None:
    mixed = CudnnParts(
        main="lib/libcudnn.so.9", version="9.1.0", mixed=(("libcudnn_ops.so.9", "9.5.0"),)
    )
    same = CudnnParts(
        main="lib/libcudnn.so.9",
        version="9.1.0",
        strays=(("libcudnn_ops.so.9", "/opt/libcudnn_ops.so.9", "9.1.0"),),
    )
    other = replace(same, strays=(("libcudnn_ops.so.9", "/opt/libcudnn_ops.so.9", None),))

    assert "9.5.0" in found("cudnn-sublibrary-mix", looked(cudnn=mixed)).message
    assert outcome("cudnn-sublibrary-mix", looked(cudnn=same)).verdict == "passed"
    assert outcome("cudnn-sublibrary-mix", looked()).verdict == "inapplicable"
    assert "install" in found("cudnn-sublibrary-mix", looked(cudnn=other)).remedy


# --- runtimes -------------------------------------------------------------------------------


def test_two_mkls() -> None:
    facts = looked(mkl=MklFiles(core="lib/libmkl_core.so.2"))
    packages = (installed(locked("mkl", "2023.1.0")),)
    wheels = (installed(locked("mkl", "2024.0.0", manager="pip")),)
    both = replace(facts, prefix=replace(facts.prefix, conda=packages, wheels=wheels))  # type: ignore[type-var]

    assert "pip's MKL 2024.0.0" in found("mkl-dispatch-missing", both).message
    assert outcome("mkl-dispatch-missing", facts).verdict == "passed"
    assert outcome("mkl-dispatch-missing", looked()).verdict == "inapplicable"
    alone = replace(both, locked=None)
    assert "conda install" in found("mkl-dispatch-missing", alone).remedy


def test_openmp_of_wheels() -> None:
    runtimes = (
        OpenMp(path="lib/libiomp5.so", family="llvm", requesters=("numpy",)),
        OpenMp(path=f"{SITE}/torch/lib/libomp.so", family="llvm", requesters=("torch",)),
    )
    facts = looked(openmp=runtimes)
    wheels = (installed(locked("torch", "2.0.1", manager="pip")),)
    facts = replace(
        facts,
        host=host(variables={"KMP_DUPLICATE_LIB_OK": "1"}),
        prefix=replace(facts.prefix, wheels=wheels),  # type: ignore[type-var]
    )

    finding = found("two-openmp-runtimes", facts)

    assert "KMP_DUPLICATE_LIB_OK=1" in finding.seen
    assert "both from wheels" in finding.remedy


@pytest.mark.parametrize(
    ("machine", "glibc", "count", "verdict"),
    [
        ("aarch64", "2.28", 2, "failed"),
        ("aarch64", "2.28", 1, "passed"),
        ("aarch64", "2.32", 2, "passed"),
        ("aarch64", None, 2, "unproven"),
        ("x86_64", "2.17", 3, "inapplicable"),
    ],
)
def test_room_for_openmp(machine: str, glibc: str | None, count: int, verdict: str) -> None:
    copies = tuple(f"{SITE}/x{n}.libs/libgomp.so.1" for n in range(count))
    facts = looked(machine=machine, glibc=glibc, bundled_openmp=copies)

    assert outcome("static-tls", facts).verdict == verdict


def test_executable_stacks() -> None:
    stacks = ("lib/libtorch_cpu.so", f"{SITE}/x/_C.so")
    load = Load(name="libtorch_cpu.so", requester="x", path=stacks[0], via="rpath")
    facts = looked(glibc="2.41", executable_stack=stacks, torch_loads=(load,))

    assert found("executable-stack", facts).severity == "error"
    other = looked(glibc="2.41", executable_stack=stacks[1:])
    assert found("executable-stack", other).severity == "warning"
    unknown = looked(executable_stack=stacks)
    assert outcome("executable-stack", unknown).verdict == "unproven"


# --- extensions -----------------------------------------------------------------------------


def with_packages(facts: Subject, *dists: Distribution) -> Subject:
    packages = PackageFacts(distributions=dists)
    return replace(facts, prefix=replace(facts.prefix, packages=packages))  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("cxx11", "symbol", "said"),
    [
        (True, "_ZN3c105ErrorC2ENS_14SourceLocationESs", "built with the C++11 ABI"),
        (False, "_ZN3c10fENSt7__cxx1112basic_stringE", "built without the C++11 ABI"),
        (True, "_ZN3c10fENSt7__cxx1112basic_stringE", ""),
        (True, "_ZN3c10fEi", ""),
        (None, "_ZN3c10fESs", ""),
    ],
)
def test_the_other_abi_is_told(cxx11: bool | None, symbol: str, said: str) -> None:
    item = TorchSymbols(path=FLASH, missing=(symbol,), count=3)
    facts = looked(extensions=(item,), torch_cxx11=cxx11)

    finding = found("flash-attn-abi", facts)

    assert said in finding.seen
    assert ("ABI" in finding.seen) is bool(said)
    assert "and 2 more" in finding.message


@pytest.mark.parametrize(
    ("version", "url", "problem"),
    [
        ("2.5.8+cu118torch2.0cxx11abiFALSE", "", None),
        ("2.5.8+cu118torch2.0cxx11abiTRUE", "", "the C++11 ABI on"),
        ("2.5.8+cu122torch2.0cxx11abiFALSE", "", "CUDA 12"),
        ("2.5.8+cu118torch2.1cxx11abiFALSE", "", "torch 2.1"),
        (
            "2.5.8",
            "https://x/flash_attn-2.5.8%2Bcu118torch2.2cxx11abiFALSE-cp310-cp310-linux_x86_64.whl",
            "torch 2.2",
        ),
        ("2.5.8", "", None),
        ("2.5.8+local.1", "", None),
    ],
)
def test_what_a_wheel_says_of_itself(version: str, url: str, problem: str | None) -> None:
    """torch here is 2.0.1 for CUDA 11.8, and its symbols say nothing of the ABI."""
    dist = Distribution(name="flash-attn", version=version, local_url=url)
    facts = with_packages(looked(), dist)
    wheels = (installed(locked("torch", "2.0.1+cu118", manager="pip")),)
    facts = replace(facts, prefix=replace(facts.prefix, wheels=wheels))  # type: ignore[type-var]

    findings = outcome("flash-attn-abi", facts).findings

    assert [problem in item.message for item in findings] == ([True] if problem else [])


def test_symbols_say_more_than_a_name() -> None:
    """It says torch 2.1, and everything it asks for is there."""
    dist = Distribution(
        name="torch-scatter", version="2.1.2+pt21cu118", top_level=("torch_scatter",)
    )
    item = TorchSymbols(path=f"{SITE}/torch_scatter/_version_cuda.so")

    told = with_packages(looked(), dist)
    compared = with_packages(looked("import", extensions=(item,), cpu_library_read=True), dist)

    assert outcome("vllm-or-other-ext-abi", told).findings
    assert outcome("vllm-or-other-ext-abi", compared).verdict == "passed"


def test_without_flash_attn_there_is_no_claim() -> None:
    assert outcome("flash-attn-abi", looked()).verdict == "inapplicable"
    assert outcome("vllm-or-other-ext-abi", looked()).verdict == "unproven"
    assert outcome("vllm-or-other-ext-abi", looked("import")).verdict == "passed"


# --- what is loaded from elsewhere ------------------------------------------------------------


def test_shadows_at_level_static() -> None:
    """Only what a variable leads to, and only what the environment has too."""
    own = {"libcudnn.so.8": "lib", "libcudnn.so.8.7.0": "lib"}
    for via, path, verdict in (
        ("LD_LIBRARY_PATH", "/opt/cuda/libcudnn.so.8", "failed"),
        ("cache", "/opt/cuda/libcudnn.so.8", "passed"),
        ("LD_LIBRARY_PATH", "/opt/cuda/libcudnn.so.9", "passed"),
        ("LD_LIBRARY_PATH", "/usr/lib/libcuda.so.1", "passed"),
    ):
        load = replace(CUDNN, via=via, path=path, name=path.rpartition("/")[2])  # type: ignore[arg-type]
        facts = looked(torch_loads=(load,))
        facts = replace(facts, prefix=replace(facts.prefix, libraries=own))  # type: ignore[type-var]
        assert outcome("library-shadowed", facts).verdict == verdict


def test_a_preloaded_library_by_its_soname() -> None:
    load = Load(name="libcudnn.so.8", requester="LD_PRELOAD", path="/x/fix.so", via="LD_PRELOAD")
    inside = replace(load, path="lib/libcudnn.so.8")
    variables = {"LD_PRELOAD": "/x/fix.so"}

    leaking = replace(looked(preloaded=(load,)), host=host(variables=variables))
    own = replace(looked(preloaded=(inside,)), host=host(variables=variables))

    assert "libcudnn.so.8" in found("ld-preload-leak", leaking).message
    assert outcome("ld-preload-leak", own).verdict == "passed"

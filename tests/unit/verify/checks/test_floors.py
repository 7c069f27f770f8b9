"""cuDNN, extensions and the C library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import (
    H100,
    TARGET,
    V100,
    host,
    locked,
    no_driver,
    prefix,
    probe,
    subject,
    torch_run,
)

from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.finding import Outcome
from envforge.model.machine import Gpu
from envforge.verify.facts import CudnnWitness, DeviceCode, Subject
from envforge.verify.verify import judge

SITE = "lib/python3.10/site-packages"
A100 = Gpu(name="NVIDIA A100", capability=ComputeCapability(8, 0))
WIDE = probe(torch=torch_run(architectures=("sm_70", "sm_80", "sm_90", "sm_100", "sm_120")))


def outcome(check: str, facts: Subject) -> Outcome:
    [found] = judge(facts, only=[check])
    assert found.verdict != "crashed", found
    return found


# --- extensions -----------------------------------------------------------------------------


def with_extensions(gpu: Gpu, everywhere: bool = True, **codes: str) -> Subject:
    """torch runs on the GPU; extensions by path with their flags."""
    listed = tuple(
        DeviceCode(path=f"{SITE}/{path}", architectures=tuple(flags.split()))
        for path, flags in codes.items()
    )
    return subject(
        host=host("580.65.06", "13.0", gpu),
        probe=WIDE,
        prefix=prefix(code=listed, code_everywhere=everywhere),
    )


def test_an_extension_without_code_for_this_gpu() -> None:
    path = "flash_attn_2_cuda.cpython-310-x86_64-linux-gnu.so"
    found = outcome("ext-arch-missing", with_extensions(H100, **{path: "sm_80 sm_86"}))

    [finding] = found.findings
    assert finding.message == (
        "`flash_attn_2_cuda` has no code for NVIDIA H100 (9.0), which torch has"
    )
    assert "code for 8.0 8.6" in finding.seen
    assert 'TORCH_CUDA_ARCH_LIST="9.0"' in finding.remedy
    assert finding.severity == "error"


@pytest.mark.parametrize(
    "codes",
    [
        {"xformers/_C.so": "sm_80 sm_90"},
        {"xformers/_C.so": "sm_80 compute_80"},
        # a special one for another GPU beside the one for this
        {"xformers/_C.so": "sm_80 sm_90", "xformers/_C_blackwell.so": "sm_100a"},
        {"vllm/_C.abi3.so": "sm_80 sm_90", "vllm/_fa3_C.abi3.so": "sm_80 sm_90a sm_100a"},
        # one file for each CUDA
        {"bnb/libbnb_cuda118.so": "sm_80", "bnb/libbnb_cuda128.so": "sm_80 sm_90"},
        # one file for each architecture
        {"trt/all.so": "sm_90", "trt/resource_sm80.so": "sm_80"},
        {},
    ],
    ids=["code", "ptx", "special", "suffix", "cudas", "one-each", "none"],
)
def test_extensions_that_do(codes: dict[str, str]) -> None:
    found = outcome("ext-arch-missing", with_extensions(H100, **codes))
    assert (found.verdict, found.findings) == ("passed", ())


def test_hopper_only_code_beside_code_for_all_is_none_of_an_a100s_business() -> None:
    codes = {"vllm/_C.abi3.so": "sm_80 sm_90", "vllm/_flashmla_C.abi3.so": "sm_90a"}
    assert outcome("ext-arch-missing", with_extensions(A100, **codes)).findings == ()


def test_one_of_several_plain_extensions_is_a_warning() -> None:
    codes = {"ops/fast.so": "sm_80 sm_90", "ops/slow.so": "sm_80"}
    [finding] = outcome("ext-arch-missing", with_extensions(H100, **codes)).findings
    assert (finding.severity, "ops/slow.so" in finding.seen) == ("warning", True)


def test_where_torch_itself_has_no_code_the_extension_is_not_told() -> None:
    facts = with_extensions(H100, **{"op.so": "sm_80"})
    bare = replace(facts, probe=probe(torch=torch_run(architectures=("sm_80",)), devices=()))
    assert outcome("ext-arch-missing", bare).findings == ()


def test_a_cpu_build_uses_no_extension_on_a_gpu() -> None:
    facts = with_extensions(H100, **{"torchvision/_C.so": "sm_75"})
    cpu = replace(facts, target=replace(TARGET, cuda=None, architectures=()))
    assert outcome("ext-arch-missing", cpu).verdict == "inapplicable"


def test_where_nobody_knows_torch_the_extension_is_told_for_itself() -> None:
    facts = with_extensions(H100, **{"op.so": "sm_80"})
    mute = replace(facts, probe=None, target=replace(TARGET, architectures=()))
    [finding] = outcome("ext-arch-missing", mute).findings
    assert finding.message == "`op` has no code for NVIDIA H100 (9.0)"


def test_at_level_static_deeper_folders_stay_unproven() -> None:
    shallow = with_extensions(H100, everywhere=False, **{"op.so": "sm_80"})
    assert outcome("ext-arch-missing", shallow).verdict == "failed"
    nothing = with_extensions(H100, everywhere=False)
    assert outcome("ext-arch-missing", nothing).verdict == "unproven"
    assert outcome("ext-arch-missing", subject(host=no_driver())).verdict == "unproven"


# --- cuDNN ----------------------------------------------------------------------------------


def conda_forge(**changes: Any) -> Subject:
    """conda-forge's build for CUDA 12.9, which has code for Volta."""
    claim = replace(
        TARGET, torch="2.10.0", cuda=CudaVersion(12, 9), cudnn=None, architectures=("7.0", "9.0")
    )
    facts = {"target": claim, "probe": None, "host": host("580.65.06", "13.0", H100, V100)}
    return subject(**{**facts, **changes})


def witness(version: str) -> Any:
    return prefix(cudnn=(CudnnWitness(version=version, witness="conda package libcudnn"),))


@pytest.mark.parametrize("version", ["9.11.0", "9.20.0.48", "10.0"])
def test_a_cudnn_that_dropped_the_gpu(version: str) -> None:
    [finding] = outcome("cudnn-drops-gpu", conda_forge(prefix=witness(version))).findings
    assert finding.message == f"cuDNN {version} does not work on Tesla V100 (7.0)"
    assert '--torch 2.10.0 --cuda 12.9 --with "cudnn<9.11" --force' in finding.remedy


@pytest.mark.parametrize("version", ["9.10.2.21", "8.9.7"])
def test_a_cudnn_that_still_has_it(version: str) -> None:
    assert outcome("cudnn-drops-gpu", conda_forge(prefix=witness(version))).verdict == "passed"


def test_newer_gpus_take_any_cudnn() -> None:
    facts = conda_forge(prefix=witness("9.20.0"), host=host("580.65.06", "13.0", H100))
    assert outcome("cudnn-drops-gpu", facts).verdict == "passed"


def test_the_cudnn_that_was_loaded_counts_and_the_lock_where_nothing_is_installed() -> None:
    run = probe(torch=torch_run(cudnn_loaded="9.20.0"), devices=())
    assert outcome("cudnn-drops-gpu", conda_forge(prefix=witness("8.9.7"), probe=run)).findings
    lock = conda_forge(prefix=None, locked=(locked("libcudnn", "9.20.0.48"),))
    assert outcome("cudnn-drops-gpu", lock).findings
    claim = conda_forge(prefix=None, locked=None).target
    assert claim is not None
    told = conda_forge(prefix=None, locked=None, target=replace(claim, cudnn="9.20.0"))
    assert outcome("cudnn-drops-gpu", told).findings


def test_cudnn_where_there_is_nothing_to_judge() -> None:
    assert outcome("cudnn-drops-gpu", conda_forge(prefix=None, locked=())).verdict == "unproven"
    cpu = replace(TARGET, cuda=None)
    assert outcome("cudnn-drops-gpu", conda_forge(target=cpu)).verdict == "inapplicable"
    login = conda_forge(prefix=witness("9.20.0"), host=no_driver())
    assert outcome("cudnn-drops-gpu", login).verdict == "unproven"


# --- the C library --------------------------------------------------------------------------

PLAIN = locked("numpy", "1.26.4", depends=("__glibc >=2.17,<3.0.a0", "python >=3.10"))
NEW = locked("cuda-cudart", "13.0.96", depends=("__glibc >=2.28,<3.0.a0",))


def wheel(tags: str) -> Any:
    url = f"https://example.org/torch-2.9.1-cp312-cp312-{tags}.whl"
    return locked("torch", "2.9.1", manager="pip", url=url)


@pytest.mark.parametrize(
    ("packages", "have", "says"),
    [
        ((PLAIN, NEW), "2.17", "cuda-cudart 13.0.96 needs glibc 2.28, and this system has 2.17"),
        ((PLAIN, NEW), "2.28", None),
        ((PLAIN, NEW), "2.39", None),
        ((PLAIN,), "2.17", None),
        ((wheel("manylinux_2_28_x86_64"),), "2.27", "torch 2.9.1 needs glibc 2.28"),
        ((wheel("manylinux_2_27_x86_64.manylinux_2_28_x86_64"),), "2.27", None),
        ((wheel("manylinux2014_x86_64"),), "2.12", "torch 2.9.1 needs glibc 2.17"),
        ((wheel("manylinux1_x86_64"),), "2.12", None),
        ((wheel("linux_x86_64"),), "2.5", None),
        ((wheel("musllinux_1_2_x86_64"),), "2.5", None),
    ],
)
def test_glibc(packages: tuple[Any, ...], have: str, says: str | None) -> None:
    found = outcome("glibc-too-old", subject(locked=packages, host=no_driver(glibc=have)))
    assert [says in item.message for item in found.findings if says] == ([True] if says else [])
    assert found.verdict == ("failed" if says else "passed")


def test_several_packages_are_counted() -> None:
    facts = subject(locked=(PLAIN, NEW), host=no_driver(glibc="2.12"))
    [finding] = outcome("glibc-too-old", facts).findings
    assert "cuda-cudart asks for, as 1 more do" in finding.expected
    assert "`__glibc: '2.12'`" in finding.remedy


def test_other_systems_and_other_c_libraries() -> None:
    mac = subject(platform="osx-arm64", host=no_driver(glibc="2.12"), locked=(NEW,))
    assert outcome("glibc-too-old", mac).verdict == "inapplicable"
    musl = subject(locked=(NEW,), host=no_driver())
    assert outcome("glibc-too-old", musl).verdict == "unproven"

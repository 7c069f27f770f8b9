"""Every check on a broken subject and on its healthy twin."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fakes.facts import (
    H100,
    LOCKED,
    PREFIX,
    TARGET,
    TORCH_BUILD,
    V100,
    device,
    host,
    installed,
    locked,
    no_driver,
    prefix,
    probe,
    subject,
    torch_files,
    torch_run,
)

from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.finding import Finding
from envforge.model.machine import Driver, Gpu, Machine
from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.verify.facts import (
    CudnnWitness,
    DamagedFile,
    Ending,
    HostFacts,
    LibraryAnswer,
    PackageFacts,
    Subject,
    UnlikeRecorded,
)
from envforge.verify.registry import CHECKS
from envforge.verify.verify import judge

RTX_5090 = Gpu(name="NVIDIA GeForce RTX 5090", capability=ComputeCapability(12, 0))
CPU_TARGET = replace(TARGET, cuda=None, cudnn=None, architectures=(), min_driver=None)
CU121 = replace(TARGET, torch="2.1.0", cuda=CudaVersion(12, 1), cudnn=None)
OUTSIDE = "/usr/local/cuda/lib64/libcudnn.so.8"
WHEELS = (
    locked("python", "3.10.14"),
    locked("torch", "2.0.1+cu118", manager="pip", url="https://x/whl/cu118/torch-2.0.1.whl"),
)
CPU_WHEEL_URL = "https://x/torch-2.0.1%2Bcpu-cp310-cp310-linux_x86_64.whl"


def conda_with(*changed: InstalledPackage) -> tuple[InstalledPackage, ...]:
    """The conda packages of `LOCKED`, some replaced by name or added."""
    named = {item.name: item for item in (*prefix().conda, *changed)}
    return tuple(named.values())


def broken_cuda(code: int | None, name: str = "", **answer: Any) -> HostFacts:
    """A machine whose libcuda does not start."""
    base = host()
    cuda = LibraryAnswer(library=base.cuda.library, init=code, init_name=name, **answer)
    return replace(base, cuda=cuda)


def gone(path: str, package: str) -> UnlikeRecorded:
    """A file that its package recorded, and that is not there."""
    return UnlikeRecorded(path=path, package=package, manager="conda", how="gone")


@dataclass(frozen=True)
class Case:
    """One broken situation."""

    check: str
    subject: Subject
    says: tuple[str, ...]
    """What the first finding's sentence, facts or remedy hold."""
    beside: frozenset[str] = field(default_factory=frozenset)
    """Other checks that rightly fire on the same situation."""
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.check}:{self.says[0]}"


def case(check: str, facts: Subject, *says: str, beside: str = "", **more: Any) -> Case:
    return Case(check, facts, says, frozenset(beside.split()), **more)


WITHOUT_PYTORCH = tuple(item for item in prefix().conda if item.name != "pytorch")

CASES = [
    # --- installed
    case(
        "prefix-incomplete",
        subject(prefix=prefix(state=PrefixState.INCOMPLETE)),
        "did not end",
        "envforge install nlp-bert-torch20-cu118",
    ),
    case(
        "prefix-incomplete",
        subject(prefix=prefix(state=PrefixState.ABSENT, torch=None, cudnn=(), conda=(), wheels=())),
        "nothing is installed",
    ),
    case("python-missing", subject(prefix=prefix(interpreter=None)), "has no Python"),
    case(
        "metadata-broken",
        subject(prefix=prefix(broken_metadata=("conda-meta/x.json: no JSON",))),
        "1 package record cannot be used",
        "conda-meta/x.json",
    ),
    case(
        "truncated-library",
        subject(
            prefix=prefix(
                damaged=(
                    DamagedFile(path="lib/a.so", recorded=9, found=4),
                    DamagedFile(path="lib/b.so", recorded=9, found=None),
                )
            )
        ),
        "1 shared object cut off",
        "lib/a.so: 4 bytes",
    ),
    case(
        "library-gone",
        subject(
            prefix=prefix(
                damaged=(
                    DamagedFile(path="lib/b.so", recorded=9, found=None, package="things 1.0"),
                )
            )
        ),
        "1 shared object missing",
        "lib/b.so: gone",
    ),
    case(
        "files-unlike-recorded",
        subject(
            level="import",
            probe=probe(),
            prefix=prefix(
                packages=PackageFacts(
                    unlike=(
                        gone("bin/f2py", "numpy 1.26.4"),
                        gone("lib/a.so", "cudnn 8.7.0"),
                    ),
                    cache=(),
                ),
                damaged=(DamagedFile(path="lib/a.so", recorded=9, found=4),),
            ),
        ),
        "1 file of numpy 1.26.4 missing",
        "bin/f2py",
        "envforge install nlp-bert-torch20-cu118",
        beside="truncated-library",
    ),
    case(
        "lock-drift",
        subject(prefix=prefix(conda=tuple(p for p in prefix().conda if p.name != "numpy"))),
        "1 locked package not installed",
        "numpy 1.26.4",
    ),
    case(
        "lock-drift",
        subject(prefix=prefix(conda=conda_with(installed(locked("numpy", "1.25.2"))))),
        "1 package installed in another version",
        "numpy 1.25.2",
        "numpy 1.26.4",
    ),
    case(
        "lock-drift",
        subject(prefix=prefix(conda=conda_with(installed(locked("numpy", "1.26.4", "other_1"))))),
        "numpy 1.26.4 other_1",
    ),
    case(
        "lock-drift",
        subject(
            prefix=prefix(conda=conda_with(installed(locked("numpy", "1.26.4", sha256="1" * 64))))
        ),
        "numpy 1.26.4",
    ),
    case(
        "lock-drift",
        subject(
            prefix=prefix(wheels=(InstalledPackage(name="einops", manager="pip", version="0.7"),))
        ),
        "einops 0.7",
    ),
    case(
        "lock-drift",
        subject(
            prefix=prefix(wheels=(InstalledPackage(name="einops", manager="pip", version="dev-x"),))
        ),
        "einops dev-x",
    ),
    case(
        "lock-drift",
        subject(
            prefix=prefix(
                wheels=(
                    *prefix().wheels,
                    InstalledPackage(name="numpy", manager="pip", version="2.1.0"),
                )
            )
        ),
        "overwritten by a wheel",
        "numpy 2.1.0",
    ),
    case(
        "lock-drift",
        subject(
            prefix=prefix(
                wheels=(
                    *prefix().wheels,
                    *(
                        InstalledPackage(name=f"extra{n}", manager="pip", version="1")
                        for n in range(7)
                    ),
                )
            )
        ),
        "7 packages installed that the lock does not hold",
        "and 2 more",
        "envforge add nlp-bert-torch20-cu118 extra0",
        severity="warning",
    ),
    case(
        "machine-local-lock",
        subject(
            locked=(
                *LOCKED[:1],
                locked("python", "3.10.14", url="file:///x/python.conda"),
                *LOCKED[2:],
            )
        ),
        "this machine only",
        severity="warning",
    ),
    # --- build
    case("torch-missing", subject(prefix=prefix(torch=None)), "no folder `torch`"),
    case(
        "torch-missing",
        subject(prefix=prefix(torch=torch_files(version=None, problem="not Python source"))),
        "not Python source",
    ),
    case(
        "cpu-build-from-conda-solve",
        subject(
            prefix=prefix(
                conda=conda_with(installed(locked("pytorch", "2.0.1", "py3.10_cpu_0"))),
                torch=torch_files(cuda=None, has_cuda_library=False),
                cudnn=(),
            ),
            probe=None,
            missing={"probe": "not run"},
        ),
        "torch is a CPU build, and CUDA 11.8 was asked for",
        "py3.10_cpu_0",
        "envforge install nlp-bert-torch20-cu118",
        beside="lock-drift",
    ),
    case(
        "cpu-build-from-conda-solve",
        subject(prefix=prefix(torch=torch_files(has_cuda_library=False))),
        "its CUDA library is not there",
    ),
    case(
        "cpu-wheel-from-pip",
        subject(
            locked=WHEELS,
            target=replace(TARGET, source="wheels", cudnn=None),
            prefix=prefix(
                conda=(installed(WHEELS[0]),),
                wheels=(replace(installed(WHEELS[1]), version="2.0.1+cpu"),),
                torch=torch_files(version="2.0.1+cpu", cuda=None, has_cuda_library=False),
                cudnn=(),
            ),
        ),
        "the wheel torch 2.0.1+cpu",
        "CUDA 11.8 was asked for",
        beside="lock-drift",
    ),
    case(
        "cpu-build-solved-in-ci",
        subject(
            locked=(*LOCKED[:2], locked("pytorch", "2.0.1", "cpu_py310h0_0"), LOCKED[3]),
            prefix=None,
            probe=None,
            missing={"prefix": "only a lock", "probe": "only a lock"},
        ),
        "the lock claims CUDA 11.8, and locks torch for CPU",
        "envforge create nlp-bert --torch 2.0.1 --cuda 11.8 --force",
    ),
    case(
        "cpu-build-solved-in-ci",
        subject(
            locked=(WHEELS[0], replace(WHEELS[1], version="2.0.1", url=CPU_WHEEL_URL)),
            prefix=None,
            probe=None,
        ),
        "locks torch for CPU",
    ),
    case(
        "rocm-or-xpu-build-on-nvidia",
        subject(prefix=prefix(torch=torch_files(cuda=None, hip="5.4.2", has_cuda_library=False))),
        "ROCm 5.4.2",
    ),
    case(
        "cuda-build-unasked",
        subject(
            name="nlp-bert-torch20-cpu",
            folder="nlp-bert-torch20-cpu",
            declared_name=None,
            target=CPU_TARGET,
            locked=(*LOCKED[:2], locked("pytorch", "2.0.1", "py3.10_cpu_0"), LOCKED[3]),
        ),
        "a CPU build was asked for",
        beside="lock-drift",
    ),
    case(
        "other-cuda-build",
        subject(prefix=prefix(torch=torch_files(cuda="11.7"))),
        "compiled with CUDA 11.7, and CUDA 11.8 was asked for",
        "by its files",
    ),
    case(
        "other-cuda-build",
        subject(probe=probe(torch=torch_run(cuda="12.1"))),
        "compiled with CUDA 12.1",
        "by the import",
    ),
    case(
        "torch-version-differs",
        subject(prefix=prefix(torch=torch_files(version="2.1.0+cu118"))),
        "torch is 2.1.0+cu118, and the lock names 2.0.1",
    ),
    case(
        "torch-version-differs",
        subject(probe=probe(torch=torch_run(version="2.2.0"))),
        "by the import",
    ),
    case(
        "cudnn-differs",
        subject(prefix=prefix(cudnn=(CudnnWitness(version="8.9.2", witness="lib/libcudnn.so"),))),
        "cuDNN is 8.9.2, and the lock names 8.7.0",
        "lib/libcudnn.so",
    ),
    case(
        "cudnn-differs",
        subject(probe=probe(torch=torch_run(cudnn_compiled="8.5.0"))),
        "torch, compiled with",
    ),
    case(
        "folder-name-claim",
        subject(folder="nlp-bert-torch21-cu118", declared_name=None),
        "`nlp-bert-torch21-cu118` does not hold what its name says",
        "nlp-bert-torch20-cu118",
    ),
    case(
        "folder-name-claim",
        subject(declared_name="other"),
        "environment.yml is named `other`",
    ),
    # --- driver
    case(
        "no-driver-at-all",
        subject(
            host=no_driver(),
            require_gpu=True,
            probe=probe(devices=(device("cpu"),), torch=torch_run(available=False)),
        ),
        "a GPU is required",
    ),
    case(
        "driver-library-mismatch-nvml",
        subject(host=host(nvml=LibraryAnswer(library="/l/libnvidia-ml.so.1", init=18))),
        "old kernel module is still loaded",
        "reboot",
    ),
    case(
        "driver-does-not-answer",
        subject(host=broken_cuda(None, ended="timeout", stage="cuInit")),
        "libcuda does not answer in `cuInit`",
    ),
    case(
        "driver-does-not-answer",
        subject(host=broken_cuda(None, ended="signal 6", stage="cuInit")),
        "ended the process (signal 6)",
    ),
    case(
        "driver-does-not-answer",
        subject(host=broken_cuda(None, ended="error", stage="start")),
        "could not be asked",
    ),
    case(
        "fabric-not-ready-802",
        subject(host=broken_cuda(802, "CUDA_ERROR_SYSTEM_NOT_READY")),
        "fabric manager",
        "cuInit returned 802 (CUDA_ERROR_SYSTEM_NOT_READY)",
    ),
    case("cuda-803-driver-combination", subject(host=broken_cuda(803)), "does not fit"),
    case("cuda-803-driver-combination", subject(host=broken_cuda(804)), "LD_LIBRARY_PATH"),
    case("cuda-unknown-999-uvm", subject(host=broken_cuda(999)), "nvidia_uvm"),
    case(
        "cuda-init-failed",
        subject(host=replace(broken_cuda(46), nvml=LibraryAnswer(init=3))),
        "cuInit returned 46",
    ),
    case(
        "cuda-init-failed",
        subject(host=host(cuda=LibraryAnswer(stage="load libcuda"))),
        "libcuda.so.1 cannot be loaded",
        "NVIDIA_DRIVER_CAPABILITIES",
    ),
    case(
        "cvd-empty-or-invalid",
        subject(host=replace(broken_cuda(100), variables={"CUDA_VISIBLE_DEVICES": ""})),
        "hides every GPU",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    case(
        "cvd-empty-or-invalid",
        subject(host=host(variables={"CUDA_VISIBLE_DEVICES": "0,3"})),
        "names GPU 3, which does not exist",
        severity="warning",
    ),
    case(
        "driver-too-old",
        subject(
            name="nlp-bert-torch21-cu121",
            folder="nlp-bert-torch21-cu121",
            declared_name=None,
            target=CU121,
            locked=(*LOCKED[:2], locked("pytorch", "2.1.0", "py3.10_cuda12.1_cudnn8.9.2_0")),
            host=host("470.82.01", "11.4", V100),
            prefix=None,
            probe=None,
            missing={"prefix": "only a lock", "probe": "only a lock"},
        ),
        "driver 470.82.01 is too old for CUDA 12.1",
        "525.60.13",
        "envforge create nlp-bert --torch 2.1.0 --cuda 11.8",
    ),
    case(
        "driver-too-old",
        subject(
            target=CU121,
            locked=None,
            folder=None,
            host=HostFacts(
                machine=Machine(driver=Driver(version="", cuda=CudaVersion(10, 1)), gpus=(H100,)),
            ),
            level="static",
            prefix=None,
            probe=None,
        ),
        "too old for CUDA 12.1",
        beside="cuda-init-failed",
    ),
    case(
        "driver-minor-too-old-for-ptx",
        subject(
            target=replace(TARGET, architectures=("7.0", "8.0+PTX")),
            probe=None,
            host=host("470.82.01", "11.4", H100),
        ),
        "NVIDIA H100 (9.0) needs this build's PTX",
        "520.61.05",
    ),
    case(
        "arch-too-new",
        subject(host=host("580.65.06", "13.0", RTX_5090, RTX_5090)),
        "no kernels for NVIDIA GeForce RTX 5090 (12.0), newer than",
        "envforge create nlp-bert --torch",
    ),
    case(
        "arch-too-old",
        subject(
            host=host("580.65.06", "13.0", V100),
            probe=probe(torch=torch_run(architectures=("sm_80", "sm_90", "compute_90"))),
        ),
        "no kernels for Tesla V100 (7.0), which this build leaves out",
        "code for 8.0 9.0+PTX",
    ),
    case(
        "no-usable-gpu",
        subject(
            host=replace(broken_cuda(100), nvml=LibraryAnswer(init=0)),
            require_gpu=True,
        ),
        "no GPU can be used, and one is required",
    ),
    case(
        "no-usable-gpu",
        subject(
            target=CPU_TARGET,
            locked=None,
            folder="x-torch20-cpu",
            declared_name=None,
            require_gpu=True,
            prefix=None,
            probe=None,
        ),
        "a GPU is required, and this environment is a CPU build",
        "envforge create x --torch 2.0.1 --cuda auto",
    ),
    # --- loading
    case(
        "ld-preload-leak",
        subject(host=host(variables={"LD_PRELOAD": f"/x/libfoo.so:{OUTSIDE}"})),
        "LD_PRELOAD replaces libcudnn.so.8",
    ),
    case(
        "pythonpath-shadow",
        subject(host=host(pythonpath={"/opt/ros": frozenset({"numpy", "ros"})})),
        "PYTHONPATH hides the environment's numpy",
        "unset PYTHONPATH",
    ),
    case(
        "user-site-leak",
        subject(
            prefix=prefix(
                user_site="/home/u/.local",
                user_packages=(InstalledPackage(name="numpy", manager="pip", version="2.1"),),
            )
        ),
        "numpy 2.1",
        severity="warning",
    ),
    case(
        "python-does-not-start",
        subject(probe=probe(failure="no answer within 9 s", torch=None, python=None, devices=())),
        "no answer within 9 s",
    ),
    case(
        "cudnn-older-than-built",
        subject(probe=probe(torch=torch_run(cudnn_loaded="8.2.4", libraries=(f"{PREFIX}/a.so",)))),
        "cuDNN 8.2.4 is loaded, and torch was compiled with 8.7.0",
        "unset LD_LIBRARY_PATH",
    ),
    case(
        "cudnn-older-than-built",
        subject(probe=probe(torch=torch_run(cudnn_loaded=None, cudnn_error="incompatible"))),
        "torch refuses",
    ),
    case(
        "library-shadowed",
        subject(
            prefix=prefix(libraries={"libtorch_cuda.so": "x", "libcudnn.so.8": "lib"}),
            probe=probe(torch=torch_run(libraries=(OUTSIDE,))),
        ),
        "libcudnn.so.8 is loaded from outside",
        OUTSIDE,
        "unset LD_LIBRARY_PATH",
    ),
    case(
        "library-shadowed",
        subject(
            host=host(variables={"LD_LIBRARY_PATH": "/opt/gcc:/usr/lib"}),
            prefix=prefix(libraries={"libtorch_cuda.so": "x", "libstdc++.so.6": "lib"}),
            probe=probe(torch=torch_run(libraries=("/usr/lib/libstdc++.so.6", "/usr/lib/libz.so"))),
        ),
        "libstdc++.so.6 is loaded from outside",
        "unset LD_LIBRARY_PATH",
        severity="warning",
    ),
    case(
        "torch-import-fails",
        subject(
            probe=probe(
                torch=torch_run(
                    version=None,
                    ending=Ending(
                        ended="error",
                        stage="import torch",
                        message="ImportError: libcudart.so.11: cannot open",
                    ),
                ),
                devices=(),
            )
        ),
        "`import torch` fails: ImportError: libcudart.so.11",
    ),
    case(
        "torch-import-fails",
        subject(
            probe=probe(torch=torch_run(version=None, ending=Ending(ended="signal 11")), devices=())
        ),
        "ends the process (signal 11)",
    ),
    case(
        "torch-import-fails",
        subject(probe=probe(torch=torch_run(ending=Ending(ended="timeout", stage="ask cuDNN")))),
        "torch imports, and then does not end at `ask cuDNN`",
    ),
    case(
        "torch-from-elsewhere",
        subject(probe=probe(torch=torch_run(file="/home/u/pytorch/torch/__init__.py"))),
        "/home/u/pytorch",
    ),
    # --- live
    case(
        "nvml-says-yes-cuda-says-no",
        subject(host=broken_cuda(46, "CUDA_ERROR_DEVICE_UNAVAILABLE")),
        "NVML lists 1 GPU, and CUDA cannot use any: CUDA_ERROR_DEVICE_UNAVAILABLE",
    ),
    case("nvml-says-yes-cuda-says-no", subject(host=broken_cuda(100)), "cuInit returned 100"),
    case(
        "nvml-says-yes-cuda-says-no",
        subject(probe=probe(torch=torch_run(available=False, warnings=("CUDA error 999\nmore",)))),
        "torch cannot use it",
        "is_available() is False: CUDA error 999",
    ),
    case(
        "gpu-kernel-fails",
        subject(
            probe=probe(
                devices=(
                    device(
                        kernel_right=None,
                        matmul_right=None,
                        ending=Ending(
                            ended="error", stage="kernel", message="RuntimeError: no kernel image"
                        ),
                    ),
                )
            )
        ),
        "cuda:0 (NVIDIA H100): no kernel could be run: RuntimeError: no kernel image",
    ),
    case(
        "gpu-kernel-fails",
        subject(
            probe=probe(
                devices=(
                    device("cpu"),
                    device(
                        "cuda:1",
                        name=None,
                        kernel_right=None,
                        ending=Ending(ended="timeout", stage="start CUDA"),
                    ),
                )
            )
        ),
        "cuda:1: no kernel could be run: no end at `start CUDA`",
    ),
    case(
        "gpu-kernel-fails",
        subject(probe=probe(devices=(device("cpu"), device(kernel_right=False)))),
        "a kernel gave a wrong result",
    ),
    case(
        "gpu-matmul-wrong",
        subject(
            probe=probe(devices=(device("cpu"), device(matmul_right=False, matmul_error=None)))
        ),
        "a matrix product (fp32) is wrong",
        "no number",
    ),
    case(
        "gpu-matmul-wrong",
        subject(
            probe=probe(
                devices=(
                    device("cpu"),
                    device(matmul_right=None, ending=Ending(ended="signal 9", stage="matmul")),
                )
            )
        ),
        "a matrix product could not be computed: the process died (signal 9) at `matmul`",
    ),
    case(
        "cpu-compute-wrong",
        subject(
            probe=probe(
                devices=(
                    device(
                        "cpu",
                        kernel_right=None,
                        ending=Ending(
                            ended="signal 4", stage="kernel", trace="Fatal: Illegal instruction\n"
                        ),
                    ),
                    device(),
                )
            )
        ),
        "does not compute on the CPU",
        "Illegal instruction",
    ),
]


def failed(facts: Subject) -> dict[str, list[Finding]]:
    """The checks that found something, in the order of the table."""
    outcomes = judge(facts)
    assert not [item for item in outcomes if item.verdict == "crashed"], outcomes
    return {item.check: list(item.findings) for item in outcomes if item.findings}


@pytest.mark.parametrize("broken", CASES, ids=str)
def test_a_broken_subject_is_named_and_nothing_false_beside_it(broken: Case) -> None:
    """The check fires, says what it saw and what to do, and unrelated checks stay silent."""
    found = failed(broken.subject)

    assert found.keys() == {broken.check} | broken.beside
    finding = found[broken.check][0]
    words = f"{finding.message}\n{finding.seen}\n{finding.expected}\n{finding.remedy}"
    assert [text for text in broken.says if text not in words] == []
    assert finding.severity == broken.severity
    assert finding.check == broken.check
    assert finding.remedy
    assert finding.why
    assert finding.source


@pytest.mark.parametrize(
    "healthy",
    [
        subject(),
        subject(level="static", probe=None),
        subject(host=no_driver(), level="import", probe=probe(devices=())),
        subject(
            name="x-torch20-cpu",
            folder="x-torch20-cpu",
            declared_name="x-torch20-cpu",
            target=CPU_TARGET,
            locked=(*LOCKED[:2], locked("pytorch", "2.0.1", "py3.10_cpu_0"), LOCKED[3]),
            prefix=prefix(
                conda=conda_with(installed(locked("pytorch", "2.0.1", "py3.10_cpu_0"))),
                torch=torch_files(cuda=None, has_cuda_library=False),
                cudnn=(),
                libraries={},
            ),
            probe=probe(torch=torch_run(cuda=None), devices=(device("cpu"),)),
        ),
        subject(target=None, locked=None, folder=None),
        subject(
            host=host(
                variables={
                    "CUDA_VISIBLE_DEVICES": "0",
                    "LD_PRELOAD": "/usr/lib/libjemalloc.so.2",
                    "PYTHONNOUSERSITE": "1",
                },
                pythonpath={"/opt/site": frozenset({"sitecustomize"})},
            ),
            prefix=prefix(
                user_packages=(InstalledPackage(name="numpy", manager="pip", version="2.1"),)
            ),
        ),
        subject(
            target=replace(TARGET, source="conda-forge", cudnn="8.9.7.29"),
            prefix=prefix(cudnn=(CudnnWitness(version="8.9.7", witness="conda package cudnn"),)),
        ),
        subject(
            prefix=prefix(wheels=(InstalledPackage(name="einops", manager="pip", version="0.8"),))
        ),
    ],
    ids=[
        "gpu",
        "static",
        "no-driver",
        "cpu",
        "no-lock",
        "variables",
        "newer-cudnn",
        "0.8-is-0.8.0",
    ],
)
def test_a_healthy_subject_has_no_finding(healthy: Subject) -> None:
    """No false alarm."""
    assert failed(healthy) == {}


def test_every_case_names_a_check_of_the_table() -> None:
    """That every check is tried at all is asserted for the whole catalogue (`test_page.py`)."""
    assert {item.check for item in CASES} <= CHECKS.keys()


def test_without_a_driver_it_says_what_could_not_be_proven() -> None:
    """Nothing about the GPU passes by default."""
    outcomes = judge(subject(host=no_driver(), level="import", probe=probe(devices=())))

    unproven = {item.check: item.detail for item in outcomes if item.verdict == "unproven"}
    assert unproven.keys() >= {
        "no-driver-at-all",
        "driver-too-old",
        "arch-too-new",
        "arch-too-old",
        "gpu-kernel-fails",
        "gpu-matmul-wrong",
    }
    assert unproven["gpu-kernel-fails"] == "no NVIDIA driver on this machine"


@pytest.mark.parametrize(
    ("check", "facts", "why"),
    [
        ("lock-drift", subject(prefix=prefix(state=PrefixState.ABSENT)), "nothing is installed"),
        ("torch-missing", subject(prefix=prefix(state=PrefixState.ABSENT)), "nothing is installed"),
        ("cpu-build-solved-in-ci", subject(locked=LOCKED[:2]), "holds no torch"),
        (
            "cpu-build-solved-in-ci",
            subject(target=None, folder=None, name="x"),
            "made by another tool",
        ),
        (
            "cpu-build-solved-in-ci",
            subject(locked=(locked("pytorch", "2.0.1", "py310_0"),)),
            "names an accelerator",
        ),
        ("cudnn-differs", subject(target=replace(TARGET, cudnn=None)), "does not say which"),
        ("cudnn-differs", subject(prefix=prefix(cudnn=()), probe=None), "names a cuDNN"),
        ("other-cuda-build", subject(prefix=prefix(torch=None)), "torch is not installed"),
        (
            "other-cuda-build",
            subject(prefix=prefix(torch=torch_files(problem="gone"))),
            "cannot be read: gone",
        ),
        (
            "cvd-empty-or-invalid",
            subject(
                host=host(nvml=LibraryAnswer(init=18), variables={"CUDA_VISIBLE_DEVICES": "0"})
            ),
            "NVML does not answer",
        ),
        ("no-usable-gpu", subject(host=broken_cuda(999)), "no usable GPU"),
        (
            "arch-too-new",
            subject(target=replace(TARGET, architectures=()), probe=None),
            "nobody recorded",
        ),
        (
            "arch-too-old",
            subject(host=HostFacts(machine=Machine(driver=Driver(version="535.1")))),
            "no usable GPU",
        ),
        (
            "cudnn-older-than-built",
            subject(probe=probe(torch=torch_run(cudnn_loaded=None))),
            "does not tell",
        ),
        (
            "library-shadowed",
            subject(probe=probe(torch=torch_run(libraries=()))),
            "cannot be listed",
        ),
        (
            "torch-from-elsewhere",
            subject(probe=probe(torch=torch_run(version=None))),
            "could not be imported",
        ),
        (
            "torch-import-fails",
            subject(probe=probe(torch=None, failure="it hung")),
            "did not run: it hung",
        ),
        ("gpu-kernel-fails", subject(probe=probe(devices=(device("cpu"),))), "no usable GPU"),
        ("gpu-kernel-fails", subject(probe=probe(torch=None)), "could not be imported"),
        ("cpu-compute-wrong", subject(probe=probe(devices=())), "was not tried"),
        (
            "nvml-says-yes-cuda-says-no",
            subject(probe=probe(torch=torch_run(available=None))),
            "did not say",
        ),
        ("nvml-says-yes-cuda-says-no", subject(host=no_driver()), "no NVIDIA driver"),
        ("cpu-compute-wrong", subject(level="import"), "needs `--level live`"),
        ("torch-import-fails", subject(level="static"), "needs `--level import`"),
        ("lock-drift", subject(locked=None, missing={"lock": "none was given"}), "none was given"),
        ("lock-drift", subject(locked=None), "there is no lock to compare with"),
    ],
)
def test_what_cannot_be_looked_at_is_unproven(check: str, facts: Subject, why: str) -> None:
    """Never a pass, and the reason is said."""
    [outcome] = judge(facts, only=[check])

    assert outcome.verdict == "unproven"
    assert why in outcome.detail


@pytest.mark.parametrize(
    ("check", "facts"),
    [
        ("driver-too-old", subject(target=CPU_TARGET)),
        ("driver-too-old", subject(target=None, prefix=None, probe=None)),
        ("gpu-kernel-fails", subject(target=CPU_TARGET)),
        ("gpu-kernel-fails", subject(probe=probe(torch=torch_run(cuda=None)))),
        ("cudnn-differs", subject(target=CPU_TARGET)),
        ("cudnn-older-than-built", subject(probe=probe(torch=torch_run(cuda=None)))),
        ("rocm-or-xpu-build-on-nvidia", subject(target=CPU_TARGET)),
        ("other-cuda-build", subject(target=CPU_TARGET)),
        ("cpu-wheel-from-pip", subject()),
        ("cpu-build-from-conda-solve", subject(prefix=prefix(conda=WITHOUT_PYTORCH))),
        ("cuda-build-unasked", subject()),
        ("cuda-init-failed", subject(host=no_driver())),
        ("python-missing", subject(prefix=prefix(state=PrefixState.ABSENT))),
        ("torch-missing", subject(target=None, prefix=prefix(torch=None))),
        (
            "no-usable-gpu",
            subject(
                host=HostFacts(machine=Machine(driver=Driver(version="535.1"), origin="described"))
            ),
        ),
        (
            "user-site-leak",
            subject(host=host(variables={"PYTHONNOUSERSITE": "1"})),
        ),
    ],
)
def test_a_claim_about_what_is_not_here_is_inapplicable(check: str, facts: Subject) -> None:
    """Neither passed nor unproven."""
    [outcome] = judge(facts, only=[check])

    assert outcome.verdict == "inapplicable"
    assert outcome.detail


def test_a_described_machine_is_judged_by_its_driver_and_gpus() -> None:
    """`--driver 470 --gpu V100` for the machines behind a login node."""
    machine = Machine(driver=Driver(version="470.82.01"), gpus=(V100,), origin="described")
    found = failed(subject(target=CU121, host=HostFacts(machine=machine), level="static"))

    assert "driver-too-old" in found
    assert "cuda-init-failed" not in found


def test_the_folder_name_is_the_claim_where_there_is_no_lock() -> None:
    """A `-cu118` folder with a CPU torch is wrong without any lock."""
    bare = subject(
        target=None,
        locked=None,
        prefix=prefix(torch=torch_files(cuda=None, has_cuda_library=False)),
    )
    assert "cpu-build-from-conda-solve" in failed(bare)
    bare = replace(bare, folder="x-torch20-cpu", name="x-torch20-cpu", prefix=prefix())
    assert "cuda-build-unasked" in failed(bare)


def test_minor_version_compatibility_with_machine_code_is_no_finding() -> None:
    """A driver of the same major is enough where the GPU has machine code in the build."""
    assert failed(subject(host=host("470.82.01", "11.4", H100))) == {}


def test_a_build_is_recognised_by_its_torch_build_string() -> None:
    """The fixture's own build string is the one of the pytorch channel."""
    assert TORCH_BUILD.startswith("py3.10_cuda11.8")

"""Is torch the build that was asked for: version, accelerator, cuDNN, and the name they gave?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from envforge.model.cuda import CPU, CudaVersion, accelerator_name
from envforge.model.finding import Finding
from envforge.model.lock import LockedPackage, Target
from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.model.spec import environment_name
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.facts import Distribution, PrefixFacts, Subject, TorchFiles
from envforge.verify.torch_version import cuda_of_build, same_release

_CONDA_TORCH: Final = ("pytorch", "libtorch")
_NAME: Final = re.compile(r"-torch\d+-(cu\d+|cpu)$")
_CPU_BUILD: Final = re.compile(r"(^|_)cpu(_|$)")
_WHEEL_LABEL: Final = re.compile(r"[/+](cu\d{2,3}|cpu)[-/]")


@check(
    level="static",
    needs=("prefix",),
    symptom="ModuleNotFoundError: No module named 'torch'",
    why="there is no torch to run",
    source="PyTorch, `torch/version.py` of every release",
    cause="torch was never asked for, its package was removed, or an install did not end.",
    fix="Install from the lock again.",
    after=("prefix-incomplete",),
)
def torch_missing(subject: Subject) -> Iterator[Finding]:
    """The prefix holds a torch that says which build it is."""
    torch = _prefix(subject).torch
    if _prefix(subject).state is PrefixState.ABSENT:
        raise CannotLook("nothing is installed")
    if subject.target is None and torch is None:
        raise NotApplicable("no torch here, and no lock that asks for one")
    if torch is None or torch.problem is not None:
        place = f"`{torch.package}/version.py`: {torch.problem}" if torch else "no folder `torch`"
        yield Finding(
            message="torch is not installed as a whole",
            seen=place,
            expected=f"torch {subject.target.torch}" if subject.target else "a whole torch",
            remedy=remedies.install(subject),
        )


@check(
    level="static",
    needs=("lock", "prefix"),
    symptom="APIs are missing, or another package asks for the torch that was locked",
    why="packages with compiled parts fit one torch release only",
    source="pytorch/pytorch#12470",
    cause="Another package's install exchanged torch for the release that it asks for.",
    fix="Install from the lock again, and lock both packages together.",
)
def torch_version_differs(subject: Subject) -> Iterator[Finding]:
    """The installed torch has the version that the lock names."""
    target, torch = _target(subject), _torch(subject)
    versions = {"its files": torch.version or ""}
    if subject.probe and subject.probe.torch and subject.probe.torch.version:
        versions["the import"] = subject.probe.torch.version
    for witness, version in versions.items():
        if _release(version) != _release(target.torch):
            yield Finding(
                message=f"torch is {version}, and the lock names {target.torch}",
                seen=f"torch {version}, by {witness}",
                expected=f"torch {target.torch}",
                remedy=remedies.install(subject),
            )
            return


def _release(version: str) -> str:
    return version.partition("+")[0]


@check(
    level="static",
    needs=("prefix",),
    symptom="AssertionError: Torch not compiled with CUDA enabled; is_available() is False",
    why="everything runs, many times slower, on the CPU",
    source="conda/conda#14761, pytorch/pytorch#32369, conda-forge/pytorch-cpu-feedstock#164",
    cause="The solver saw no GPU (`__cuda`), no CUDA build fitted Python, or another package asked"
    " for `cpuonly`; then it takes the CPU build, and says nothing.",
    fix="Ask for the CUDA build by name, with `CONDA_OVERRIDE_CUDA` where no GPU is;"
    " `envforge create --cuda` does both.",
)
def cpu_build_from_conda_solve(subject: Subject) -> Iterator[Finding]:
    """The torch that conda installed is not a CPU build where CUDA was asked for."""
    package = _conda_torch(subject)
    if package is None:
        raise NotApplicable("torch is not a conda package here")
    told = f"{package.name} {package.version} {package.build}"
    yield from _cpu_build(subject, told, _why_cpu(subject))


def _why_cpu(subject: Subject) -> str:
    """What held the solver to the CPU, if that can be seen."""
    conda = {item.name: item for item in _prefix(subject).conda}
    mutex = conda.get("pytorch-mutex")
    if "cpuonly" in conda:
        return "; `cpuonly` is installed"
    return f"; pytorch-mutex is {mutex.build}" if mutex and "cpu" in mutex.build else ""


@check(
    level="static",
    needs=("prefix",),
    symptom="on GH200 or GB200, `pip install torch` gives a build that sees no GPU",
    why="everything runs, many times slower, on the CPU",
    source="pytorch/pytorch#160162, pytorch/pytorch#168065, pytorch/pytorch#123835",
    cause="For Linux on ARM the default index had CPU wheels only, up to torch 2.9; a package that"
    " is installed later may bring such a wheel in again.",
    fix="Install torch from the index of its CUDA release, and lock it.",
)
def aarch64_cpu_wheel(subject: Subject) -> Iterator[Finding]:
    """On ARM machines, the torch wheel is not a CPU build where CUDA was asked for."""
    if not _is_arm_wheel(subject):
        raise NotApplicable("torch is no wheel for Linux on ARM")
    yield from _cpu_build(subject, f"the wheel torch {_built(subject).version} for aarch64")


def _is_arm_wheel(subject: Subject) -> bool:
    if _conda_torch(subject) is not None:
        return False
    torch = (item for item in _prefix(subject).packages.distributions if item.name == "torch")
    tags = [tag for item in torch for tag in item.tags]
    if tags:
        return any(tag.endswith("aarch64") for tag in tags)
    return subject.platform == "linux-aarch64"


@check(
    level="static",
    needs=("prefix",),
    symptom="torch 2.3.1+cpu; AssertionError: Torch not compiled with CUDA enabled",
    why="everything runs, many times slower, on the CPU",
    source="pytorch/pytorch#30664, opendatalab/MinerU#240",
    cause="pip took torch from an index of CPU wheels, or a later install replaced the CUDA build.",
    fix="Install torch from the index of its CUDA release: `envforge create --cuda`.",
)
def cpu_wheel_from_pip(subject: Subject) -> Iterator[Finding]:
    """The torch wheel is not a CPU build where CUDA was asked for."""
    if _conda_torch(subject) is not None:
        raise NotApplicable("torch is a conda package here")
    if _is_arm_wheel(subject):
        raise NotApplicable("wheels for ARM are looked at by `aarch64-cpu-wheel`")
    yield from _cpu_build(subject, f"the wheel torch {_built(subject).version}", _in_place(subject))


def _in_place(subject: Subject) -> str:
    conda = _prefix(subject).packages.replaced.get("torch")
    return f", in place of conda's {conda}" if conda else ""


def _cpu_build(subject: Subject, package: str, detail: str = "") -> Iterator[Finding]:
    wanted, torch = _claimed_cuda(subject), _built(subject)
    if torch.hip or torch.xpu:
        raise NotApplicable("torch is a build for another kind of GPU")
    if wanted is None and (torch.cuda is not None or _has_claim(subject)):
        raise NotApplicable("no CUDA was asked for")
    if torch.cuda is None:
        library = "" if torch.has_cuda_library else ", and there is no libtorch_cuda"
        witness = "`version.py`" if torch.package else "record"
        seen = f"{package}; its {witness} names no CUDA{library}{detail}"
        yield (
            _unclaimed(subject, seen)
            if wanted is None
            else Finding(
                message=f"torch is a CPU build, and CUDA {wanted} was asked for",
                seen=seen,
                expected=f"a build for CUDA {wanted}",
                remedy=_right_build(subject),
            )
        )
    elif not torch.has_cuda_library:
        yield Finding(
            message=f"torch says CUDA {torch.cuda}, and its CUDA library is not there",
            seen="no libtorch_cuda in the prefix",
            expected="libtorch_cuda.so",
            remedy=_right_build(subject),
        )


def _unclaimed(subject: Subject, seen: str) -> Finding:
    """Nobody said what it should be: worth a word where there is a GPU that it leaves alone."""
    gpu = gpu_here(subject)
    if gpu is None and not subject.require_gpu:
        raise NotApplicable("no CUDA was asked for, and no GPU is here")
    torch = _built(subject)
    return Finding(
        message=f"torch {torch.version} is a CPU build"
        + (f", and {gpu} is here" if gpu else ", and a GPU is required"),
        seen=seen,
        expected="a build for CUDA, if it is to use the GPU",
        remedy=remedies.create(subject, torch.version or "", "auto"),
        severity="error" if subject.require_gpu else "warning",
    )


def gpu_here(subject: Subject) -> str | None:
    """An NVIDIA GPU of the machine that is judged for, by whoever sees one; None: nobody does."""
    host = subject.host
    if host is None:
        return None
    gpus = (*host.machine.gpus, *host.cuda.gpus, *host.nvml.gpus)
    if gpus:
        return gpus[0].name or "an NVIDIA GPU"
    devices = host.files.pci if host.files is not None else ()
    return "an NVIDIA GPU" if any(item.is_gpu for item in devices or ()) else None


def _right_build(subject: Subject) -> str:
    """Install again where the lock is right, make it anew where the lock itself is wrong."""
    locked = _locked_cuda(subject)
    if subject.target is None or locked == subject.target.cuda:
        return remedies.install(subject)
    return remedies.create(subject, subject.target.torch, subject.target.cuda) + " --force"


@check(
    level="static",
    needs=("prefix",),
    symptom="gigabytes of CUDA libraries on a machine without a GPU, `libcudart` not found",
    why="a CPU environment should be small, and run where no driver is",
    source="envforge README, one accelerator a folder",
    cause="The default wheel and conda's solver on a GPU machine are builds for CUDA.",
    fix="Install from the lock again; for CPU, lock with `--cuda cpu`.",
)
def cuda_build_unasked(subject: Subject) -> Iterator[Finding]:
    """The installed torch is a CPU build where a CPU build was asked for."""
    if _claimed_cuda(subject) is not None or not _has_claim(subject):
        raise NotApplicable("no CPU build was asked for")
    torch = _torch(subject)
    built = f"CUDA {torch.cuda}" if torch.cuda is not None else _other_maker(torch)
    if built is not None:
        yield Finding(
            message=f"torch is a build for {built}, and a CPU build was asked for",
            seen=f"torch {torch.version}, {built}",
            expected="a CPU build",
            remedy=_right_build(subject),
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="extensions fail to load: `libcudart.so.12: cannot open shared object file`",
    why="the driver floor, the libraries and every extension hang on the CUDA release",
    source="pytorch/pytorch#144433",
    cause="A later install exchanged torch for the default build of its index.",
    fix="Install from the lock again.",
)
def other_cuda_build(subject: Subject) -> Iterator[Finding]:
    """The installed torch was compiled with the CUDA that was asked for."""
    wanted, torch = _claimed_cuda(subject), _torch(subject)
    if wanted is None or torch.cuda is None:
        raise NotApplicable("no two CUDA releases to compare")
    found = {"its files": torch.cuda}
    if subject.probe and subject.probe.torch and subject.probe.torch.cuda:
        found["the import"] = subject.probe.torch.cuda
    for witness, cuda in found.items():
        if not same_release(cuda, str(wanted)):
            yield Finding(
                message=f"torch was compiled with CUDA {cuda}, and CUDA {wanted} was asked for",
                seen=f"CUDA {cuda}, by {witness}",
                expected=f"CUDA {wanted}",
                remedy=_right_build(subject),
            )
            return


@check(
    level="static",
    needs=("prefix",),
    symptom="torch.version.hip is set; is_available() is False on an NVIDIA machine",
    why="a build for another maker's GPUs cannot use these",
    source="PyTorch, `torch/version.py`: `hip` and `xpu` beside `cuda`",
    cause="torch was taken from the index or channel of another maker's GPUs.",
    fix="Install the build for CUDA.",
)
def rocm_or_xpu_build_on_nvidia(subject: Subject) -> Iterator[Finding]:
    """The installed torch is a build for NVIDIA GPUs where CUDA was asked for."""
    wanted, torch = _claimed_cuda(subject), _torch(subject)
    gpu = None if _has_claim(subject) else gpu_here(subject)
    if wanted is None and gpu is None:
        raise NotApplicable("no CUDA was asked for")
    other = _other_maker(torch)
    if other is not None:
        yield Finding(
            message=f"torch is a build for {other}, and "
            + (f"CUDA {wanted} was asked for" if wanted else f"{gpu} is here"),
            seen=f"torch {torch.version} for {other}",
            expected=f"a build for CUDA {wanted or ''}".rstrip(),
            remedy=_right_build(subject)
            if wanted
            else remedies.create(subject, torch.version or "", "auto"),
        )


def _other_maker(torch: TorchFiles) -> str | None:
    if torch.hip:
        return f"ROCm {torch.hip}"
    return f"XPU {torch.xpu}" if torch.xpu else None


@check(
    level="static",
    needs=("lock",),
    symptom="a CPU build appears in an environment that was locked where no GPU is",
    why="the lock gives everyone the wrong build",
    source="mamba-org/micromamba-docker#620, openmm/NNPOps#96",
    cause="The lock was made on a machine without a GPU, where `__cuda` is missing.",
    fix="Lock with `CONDA_OVERRIDE_CUDA` set, or with `envforge create --cuda`; neither needs a"
    " GPU.",
)
def cpu_build_solved_in_ci(subject: Subject) -> Iterator[Finding]:
    """The torch that is locked is for the accelerator that the lock claims."""
    claim, torch = _lock_claim(subject)
    package = subject.find_locked(*_CONDA_TORCH, "torch")
    if package is None:
        raise CannotLook("the lock holds no torch")
    if _accelerator_of(package, subject) is None:
        raise CannotLook(f"neither version nor build of {package.name} names an accelerator")
    locked = _locked_cuda(subject)
    is_same = locked == claim if locked is None or claim is None else locked.major == claim.major
    if not is_same or (subject.target is not None and locked != claim):
        yield Finding(
            message=f"the lock claims {accelerator_name(claim)},"
            f" and locks torch for {accelerator_name(locked)}",
            seen=f"{package.name} {package.version} {package.build}".rstrip(),
            expected=f"a build for {accelerator_name(claim)}",
            remedy=remedies.create(subject, torch or package.version, claim) + " --force",
        )


def _lock_claim(subject: Subject) -> tuple[CudaVersion | None, str]:
    """What the lock is for, and which torch: by its own word, else by the folder's name."""
    if subject.target is not None:
        return subject.target.cuda, subject.target.torch
    label = _label_of(subject)
    if label is None:
        raise CannotLook("the lock was made by another tool and does not say what it is for")
    return (None if label == CPU else CudaVersion.parse(label)), ""


@check(
    level="static",
    needs=("lock", "prefix"),
    symptom="RuntimeError: cuDNN version incompatibility",
    why="cuDNN refuses to work with a torch that was compiled against a newer one",
    source="pytorch/pytorch#80637, pytorch/pytorch#119989",
    cause="cuDNN was installed or upgraded apart from torch.",
    fix="Install from the lock again.",
)
def cudnn_differs(subject: Subject) -> Iterator[Finding]:
    """The installed torch was compiled with, and comes with, the cuDNN that the lock names."""
    target = _target(subject)
    if target.cuda is None:
        raise NotApplicable("a CPU build has no cuDNN")
    if target.cudnn is None:
        raise CannotLook("the lock does not say which cuDNN")
    witnesses = [(item.version, item.witness) for item in _prefix(subject).cudnn[:1]]
    # conda-forge's torch asks for its cuDNN or a newer one, so there only the package counts.
    compiled = subject.probe.torch.cudnn_compiled if subject.probe and subject.probe.torch else None
    if compiled and target.source != "conda-forge":
        witnesses.append((compiled, "torch, compiled with"))
    if not witnesses:
        raise CannotLook("nothing in the prefix names a cuDNN version")
    for version, witness in witnesses:
        if not same_release(version, target.cudnn):
            yield Finding(
                message=f"cuDNN is {version}, and the lock names {target.cudnn}",
                seen=f"cuDNN {version}, by {witness}",
                expected=f"cuDNN {target.cudnn}",
                remedy=remedies.install(subject),
            )
            return


@check(
    level="static",
    needs=("lock",),
    symptom="`nlp-bert-torch20-cu118` runs another torch or another CUDA",
    why="people choose environments by their name",
    source="envforge README, names of environments",
    cause="The folder was renamed or copied, or locked anew for something else.",
    fix="Rename the folder, or lock for what its name says.",
)
def folder_name_claim(subject: Subject) -> Iterator[Finding]:
    """The folder's name, environment.yml, the lock and torch agree."""
    if subject.folder is None:
        raise NotApplicable("there is no folder whose name could be compared")
    if not subject.is_claimed and _NAME.search(subject.folder) is None:
        raise NotApplicable("neither the folder's name nor the lock says what it is for")
    target = _target(subject)
    expected = environment_name(remedies.project(subject), _release(target.torch), target.cuda)
    claim = f"torch {target.torch} with {accelerator_name(target.cuda)}"
    if subject.folder != expected:
        yield Finding(
            message=f"the folder `{subject.folder}` does not hold what its name says",
            seen=f"a lock of {claim}",
            expected=f"the name `{expected}`",
            remedy=f"git mv {subject.folder} {expected}, or lock for what the name says",
        )
    if subject.declared_name not in {None, subject.folder}:
        yield Finding(
            message=f"environment.yml is named `{subject.declared_name}`,"
            f" and lies in `{subject.folder}`",
            seen=f"name: {subject.declared_name}",
            expected=f"name: {subject.folder}",
            remedy=f"write `name: {subject.folder}` into environment.yml",
        )


# --- what the others stand on ---------------------------------------------------------------


def _target(subject: Subject) -> Target:
    if subject.target is None:
        raise CannotLook("the lock was made by another tool and does not say what it is for")
    return subject.target


def _prefix(subject: Subject) -> PrefixFacts:
    assert subject.prefix is not None  # noqa: S101 - `needs` says so
    return subject.prefix


def _torch(subject: Subject) -> TorchFiles:
    """What the files tell of torch. Raises CannotLook where there is none to be read."""
    torch = subject.prefix.torch if subject.prefix else None
    if torch is None:
        raise CannotLook("torch is not installed")
    if torch.problem is not None:
        raise CannotLook(f"`{torch.package}/version.py` cannot be read: {torch.problem}")
    return torch


def _built(subject: Subject) -> TorchFiles:
    """The same; where its files are not there, a record that speaks of a CPU build."""
    prefix = _prefix(subject)
    if prefix.torch is not None:
        return _torch(subject)
    conda = _conda_torch(subject)
    if conda is not None and (_CPU_BUILD.search(conda.build) or _why_cpu(subject)):
        return TorchFiles(package="", version=conda.version)
    wheels = (item for item in prefix.packages.distributions if item.name == "torch")
    wheel = next((item for item in wheels if item.conda_owner is None), None)
    if conda is None and wheel is not None and _is_cpu_wheel(wheel):
        return TorchFiles(package="", version=wheel.version)
    return _torch(subject)


def _is_cpu_wheel(wheel: Distribution) -> bool:
    """By its label; without one, builds for CUDA ask for NVIDIA's wheels since torch 2.0."""
    release, _, label = wheel.version.partition("+")
    if label or not wheel.tags:
        return label.startswith("cpu")
    is_recent = release.partition(".")[0] not in {"0", "1"}
    return is_recent and not any(item.startswith("nvidia-") for item in wheel.requires)


def _conda_torch(subject: Subject) -> InstalledPackage | None:
    """The conda package that brought torch; None: a wheel did, if only in its place."""
    prefix = _prefix(subject)
    conda = {item.name: item for item in prefix.conda}
    found = next((conda[name] for name in _CONDA_TORCH if name in conda), None)
    wheel = next((item for item in prefix.wheels if item.name == "torch"), None)
    if wheel is None or found is None:
        return None if wheel else found
    is_other = "torch" in prefix.packages.replaced or wheel.version != found.version
    return None if is_other else found  # else the wheel is conda's own, in an odd record


def _claimed_cuda(subject: Subject) -> CudaVersion | None:
    """The CUDA that was asked for: by the lock, else by the folder's name, else as locked."""
    if subject.target is not None:
        return subject.target.cuda
    label = _label_of(subject)
    if label is None:
        return _locked_cuda(subject)
    return CudaVersion.parse(label) if label != CPU else None


def _has_claim(subject: Subject) -> bool:
    if subject.target is not None or _label_of(subject) is not None:
        return True
    package = subject.find_locked(*_CONDA_TORCH, "torch")
    return package is not None and _accelerator_of(package, subject) is not None


def _label_of(subject: Subject) -> str | None:
    found = _NAME.search(subject.folder or subject.name)
    return found[1] if found else None


def _locked_cuda(subject: Subject) -> CudaVersion | None:
    package = subject.find_locked(*_CONDA_TORCH, "torch")
    found = _accelerator_of(package, subject) if package else None
    return CudaVersion.parse(found) if found and found != CPU else None


def _accelerator_of(package: LockedPackage, subject: Subject) -> str | None:
    """`11.8` or `cpu` as version (`2.0.1+cu118`), build or wheel index name it; None: unsaid."""
    if package.manager == "conda":
        if cuda := cuda_of_build(package.build):
            return cuda
        if _CPU_BUILD.search(package.build):
            return CPU
        mutex = subject.find_locked("pytorch-mutex")
        is_cpu = mutex is not None and "cpu" in mutex.build
        return CPU if is_cpu or subject.find_locked("cpuonly") else None
    named = _WHEEL_LABEL.search(unquote(package.url)) or _WHEEL_LABEL.search(f"/{package.version}/")
    return named[1] if named else None

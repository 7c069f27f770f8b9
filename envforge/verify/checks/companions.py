"""Do the packages that live beside torch fit it, and one another?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from envforge.matrix import bad_pairs, reading
from envforge.matrix.tables import BadPair
from envforge.model.cuda import CudaVersion
from envforge.model.finding import Finding, Severity
from envforge.model.spec import Source
from envforge.verify import remedies, requirements
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.packages import install_into
from envforge.verify.facts import CompanionBuild, PrefixFacts, Subject
from envforge.verify.requirements import Unmet
from envforge.verify.torch_version import cuda_of_build

_DOMAINS: Final = ("torchvision", "torchaudio", "torchtext")
_HUGGING_FACE: Final = frozenset(
    {"accelerate", "datasets", "diffusers", "evaluate", "hf-xet", "huggingface-hub", "optimum"}
    | {"peft", "safetensors", "sentence-transformers", "setfit", "tokenizers", "transformers"}
    | {"trl"}
)
_TRITONS: Final = ("triton", "pytorch-triton", "triton-nightly", "pytorch-triton-rocm")
_CPU_LABEL: Final = re.compile(r"(^|_)cpu(_|$)")
_CUDNN: Final = re.compile(r"nvidia-cudnn(-cu\d+)?")
_PEFT, _ACCELERATE = "0.15", "0.32"
_NUMPY_1: Final = re.compile(r"<2(\.0)*(\.?a0)?(,|\s|$)")
"""What conda's records say of packages that were built with NumPy 1: `numpy >=1.26,<2.0a0`."""
_HELD_ELSEWHERE: Final = frozenset({"mkl", "numpy"})
"""Packages of known-bad pairs that have a check of their own."""


@check(
    level="static",
    needs=("prefix",),
    symptom="compiled using NumPy 1.x cannot be run in NumPy 2; _ARRAY_API not found",
    cause="NumPy 2 changed its binary interface; torch before 2.3 and other packages of that time"
    " were compiled for NumPy 1",
    fix="install `numpy<2`, or newer releases of the packages that were built for NumPy 1",
    why="tensors do not become arrays, or the process crashes at the first exchange",
    source="pytorch/pytorch#107302, pytorch/pytorch#135013; NumPy 2.0 migration guide",
)
def numpy2_abi(subject: Subject) -> Iterator[Finding]:
    """No package that was built for NumPy 1 meets NumPy 2."""
    prefix = _prefix(subject)
    numpy = _version(prefix, "numpy")
    if numpy is None:
        raise NotApplicable("NumPy is not installed")
    users = [
        f"torch {_torch_version(prefix)}" for pair in _pairs(subject) if pair.package == "numpy"
    ]
    users += [
        f"{item.package} {item.version}"
        for item in _unmet(subject, needs="numpy")
        if _is_major(item.found, 2) and not item.from_conda
    ]
    users += _conda_users_of_numpy_1(prefix, numpy)
    if users:
        yield Finding(
            message=f"NumPy is {numpy}, and {_some(users)} needs another",
            seen=f"numpy {numpy}",
            expected="numpy <2" if _is_major(numpy, 2) else "the NumPy that they ask for",
            remedy=_pin(subject, "numpy<2" if _is_major(numpy, 2) else "numpy"),
        )


def _conda_users_of_numpy_1(prefix: PrefixFacts, numpy: str) -> Iterator[str]:
    """Packages whose own records say `numpy >=1.26,<2.0a0`, beside NumPy 2."""
    if not _is_major(numpy, 2):
        return
    for item in prefix.conda:
        for spec in prefix.packages.depends.get(item.name, ()):
            name, _, versions = spec.partition(" ")
            if name == "numpy" and _NUMPY_1.search(versions) and "|" not in versions:
                yield f"{item.name} {item.version}"


@check(
    level="static",
    needs=("prefix",),
    symptom="PyTorch and torchvision were compiled with different CUDA major versions",
    cause="torch and its domain libraries came from different indexes or channels, or one of them"
    " was upgraded alone",
    fix="install torch, torchvision and torchaudio together from one source",
    why="torchvision and torchaudio refuse to be imported, or have no GPU operators",
    source="m-bain/whisperX#320, pytorch/audio#4226; torchvision `extension.py`",
)
def torchvision_cuda_major(subject: Subject) -> Iterator[Finding]:
    """Torch and its domain libraries were compiled for one CUDA."""
    torch = _torch_cuda(subject)
    told = (*_builds_of_conda(subject), *_builds_of_wheels(subject), *_builds(subject))
    witnesses = {item.package: item for item in told}
    for name in _DOMAINS:
        build = witnesses.get(name)
        if build is None:
            continue
        theirs = build.cuda.partition(".")[0] if build.cuda else None
        if torch and theirs and theirs != str(torch.major):
            yield _other_cuda(subject, build, f"CUDA {build.cuda}", f"CUDA {torch}")
        elif torch and build.is_cpu and name != "torchtext":
            yield _other_cuda(subject, build, "the CPU", f"CUDA {torch}", "warning")
        elif torch is None and build.cuda:
            yield _other_cuda(subject, build, f"CUDA {build.cuda}", "the CPU")


def _other_cuda(
    subject: Subject,
    build: CompanionBuild,
    theirs: str,
    ours: str,
    severity: Severity = "error",
) -> Finding:
    return Finding(
        message=f"{build.package} was compiled for {theirs}, and torch for {ours}",
        seen=f"{build.package}: {theirs}, by {build.witness}",
        expected=f"{build.package} for {ours}",
        remedy=_together(subject, build.package),
        severity=severity,
    )


@check(
    level="static",
    needs=("prefix",),
    symptom="RuntimeError: operator torchvision::nms does not exist; undefined symbol",
    cause="each release of torchvision and torchaudio is compiled against one torch, and one of"
    " them was changed without the others",
    fix="install the releases that belong together",
    why="compiled operators are missing, or the import fails",
    source="pytorch/vision README, table of versions; pytorch/vision#8268",
    after=("torchvision-cuda-major",),
)
def torch_companion_version(subject: Subject) -> Iterator[Finding]:
    """Torchvision and torchaudio are the releases made for this torch."""
    wrong = [item for item in _unmet(subject, of=_DOMAINS, needs="torch") if item.found]
    for item in wrong:
        yield _requirement(item, _together(subject, item.package))


@check(
    level="static",
    needs=("prefix",),
    symptom="xFormers can't load C++/CUDA extensions. xFormers was built for another PyTorch",
    cause="xformers is compiled against one torch release; another one was installed afterwards",
    fix="install the xformers release for this torch, or torch as it was",
    why="memory-efficient attention is silently switched off",
    source="facebookresearch/xformers#982, facebookresearch/xformers#1241",
)
def xformers_mismatch(subject: Subject) -> Iterator[Finding]:
    """Xformers was compiled for the torch that is installed."""
    told = (*_builds(subject), *_xformers_of_conda(subject))
    build = next((item for item in told if item.package == "xformers"), None)
    if build is None:
        if "xformers/cpp_lib.json" in _prefix(subject).companions.unreadable:
            raise CannotLook("`xformers/cpp_lib.json` cannot be read")
        raise NotApplicable("xformers is not installed")
    torch, cuda = _torch_version(_prefix(subject)), _torch_cuda(subject)
    built = f"torch {build.torch or 'of unknown version'} for " + _cuda_words(build)
    other_torch = bool(build.torch and torch) and _minor(build.torch or "") != _minor(torch or "")
    other_cuda = _cuda_major(build) != (str(cuda.major) if cuda else None)
    if other_torch or other_cuda:
        yield Finding(
            message=f"xformers was built for {built}, and this is torch {torch}",
            seen=f"{built}, by {build.witness}",
            expected=f"a build for torch {torch}",
            remedy=_together(subject, "xformers"),
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="The installed version of bitsandbytes was compiled without GPU support",
    cause="bitsandbytes opens a library named for torch's CUDA, and this release has none for it",
    fix="install a release of bitsandbytes for torch's CUDA; unset BNB_CUDA_VERSION",
    why="8-bit and 4-bit layers and optimizers do not work on the GPU",
    source="bitsandbytes-foundation/bitsandbytes#1056, #838; bitsandbytes `cextension.py`",
)
def bitsandbytes_cpu(subject: Subject) -> Iterator[Finding]:
    """Bitsandbytes has a library for torch's CUDA."""
    libraries = _prefix(subject).companions.bitsandbytes
    cuda = _torch_cuda(subject)
    if libraries is None or cuda is None:
        raise NotApplicable("no bitsandbytes beside a CUDA build of torch")
    override = (subject.host.variables.get("BNB_CUDA_VERSION") or "") if subject.host else ""
    wanted = override or f"{cuda.major}{cuda.minor}"
    stems = {name.partition(".")[0].removesuffix("_nocublaslt") for name in libraries}
    if f"libbitsandbytes_cuda{wanted}" in stems:
        return
    has = sorted(stem.removeprefix("libbitsandbytes_") for stem in stems)
    asked = f"BNB_CUDA_VERSION={override} asks for" if override else f"torch's CUDA {cuda} needs"
    yield Finding(
        message=f"bitsandbytes has no library for CUDA {_dotted(wanted)}",
        seen=f"libraries for {', '.join(has) or 'nothing'}",
        expected=f"libbitsandbytes_cuda{wanted}.so, which {asked}",
        remedy="unset BNB_CUDA_VERSION" if override else _pin(subject, "bitsandbytes"),
    )


@check(
    level="static",
    needs=("prefix",),
    symptom="cannot import name 'triton_key' from 'triton.compiler.compiler'; TritonMissing",
    cause="each torch is made for one Triton; another package changed it, or two bring one",
    fix="install the Triton that torch asks for, and only that one",
    why="torch.compile fails",
    source="pytorch/pytorch#127271, triton-lang/triton#3977",
)
def triton_torch_mismatch(subject: Subject) -> Iterator[Finding]:
    """Triton is there once, in the version that torch asks for."""
    prefix = _prefix(subject)
    present = [item for item in prefix.packages.distributions if item.name in _TRITONS]
    if len({item.name for item in present}) > 1:
        both = [f"{item.name} {item.version}" for item in present]
        yield Finding(
            message=f"two packages bring Triton: {' and '.join(both)}",
            seen=", ".join(both),
            expected="one",
            remedy=f"{_uninstall(present[-1].name)}; then {remedies.install(subject)}",
        )
        return
    for item in _unmet(subject, of=("torch",)):
        if item.needs in _TRITONS:
            yield _requirement(item, _pin(subject, item.requirement))


@check(
    level="static",
    needs=("prefix",),
    symptom="Loaded runtime CuDNN library: 9.10.1 but source was compiled with: 9.13.1",
    cause="two frameworks share one cuDNN, and the one that is installed is older than what one of"
    " them was compiled against",
    fix="install the newer cuDNN, or keep the frameworks in environments of their own",
    why="the framework with the higher floor refuses to use the GPU",
    source="conda-forge/jaxlib-feedstock#329, jax-ml/jax#16038",
)
def jax_torch_cudnn(subject: Subject) -> Iterator[Finding]:
    """The installed cuDNN is new enough for every framework that names a floor."""
    prefix = _prefix(subject)
    floors = list(_cudnn_floors(prefix))
    if not floors:
        raise NotApplicable("no second framework asks for a cuDNN")
    if not prefix.cudnn:
        raise CannotLook("nothing in the prefix names a cuDNN version")
    found = _installed_cudnn(prefix)
    for package, specifier in floors:
        if not requirements.meets(found, specifier):
            yield Finding(
                message=f"cuDNN is {found}, and {package} needs {specifier}",
                seen=f"cuDNN {found}",
                expected=f"cuDNN {specifier}",
                remedy="envforge create a second environment, one for each framework",
            )


def _cudnn_floors(prefix: PrefixFacts) -> Iterator[tuple[str, str]]:
    """JAX's plug-ins name cuDNN under an extra, so pip check never looks at it."""
    for item in prefix.packages.distributions:
        if not item.name.startswith(("jax", "tensorflow")):
            continue
        for text in item.requires:
            found = requirements.parse(text)
            if found is not None and _CUDNN.fullmatch(requirements.normalised(found.name)):
                yield f"{item.name} {item.version}", str(found.specifier)


def _installed_cudnn(prefix: PrefixFacts) -> str:
    """By its own package where there is one; a torch build only names what it was built with."""
    named = [item for item in prefix.cudnn if not item.witness.startswith("build ")]
    return (named or list(prefix.cudnn))[0].version


@check(
    level="static",
    needs=("prefix",),
    symptom="CUDAExecutionProvider is not available although onnxruntime-gpu is installed",
    cause="onnxruntime and onnxruntime-gpu write the same folder, so the last one installed wins",
    fix="uninstall both, and install onnxruntime-gpu alone",
    why="ONNX models run on the CPU, or whichever package came last decides",
    source="microsoft/onnxruntime-extensions#404; ONNX Runtime documentation, install",
)
def onnxruntime_cpu_shadows_gpu(subject: Subject) -> Iterator[Finding]:
    """Only one package brings onnxruntime."""
    names = [
        item.name
        for item in _prefix(subject).packages.distributions
        if re.fullmatch(r"onnxruntime(-gpu|-directml|-openvino|-training)?", item.name)
    ]
    if len({*names}) > 1:
        yield Finding(
            message=f"{' and '.join(sorted({*names}))} are both installed into one folder",
            seen=", ".join(sorted({*names})),
            expected="one of them",
            remedy=f"{_uninstall(*sorted({*names}))}; then install the one that is wanted",
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="huggingface-hub>=0.34.0,<1.0 is required for a normal functioning of this module",
    cause="transformers, tokenizers, huggingface-hub and their relatives move together, and one of"
    " them was upgraded alone",
    fix="lock the family again, together",
    why="transformers and its relatives check versions at import and refuse",
    source="huggingface/huggingface_hub#2377, huggingface/transformers#41973",
)
def hf_versions(subject: Subject) -> Iterator[Finding]:
    """The Hugging Face packages that are installed fit one another."""
    told: set[tuple[str, str]] = set()
    for item in (*_unmet(subject, of=_HUGGING_FACE), *_refused_at_import(subject)):
        family = item.package in _HUGGING_FACE and item.needs in _HUGGING_FACE
        if family and item.found and (item.package, item.needs) not in told:
            told.add((item.package, item.needs))
            yield _requirement(item, _pin(subject, f"{item.package} {item.requirement}"))


def _refused_at_import(subject: Subject) -> Iterator[Unmet]:
    """What transformers' own table refuses, whatever its metadata says."""
    prefix = _prefix(subject)
    for package, text in prefix.companions.checked_at_import:
        found = requirements.parse(text)
        name = requirements.normalised(found.name) if found else ""
        version = _version(prefix, name)
        if found and version and not requirements.meets(version, str(found.specifier)):
            yield Unmet(
                package=package,
                version=_version(prefix, package) or "",
                requirement=f"{name}{found.specifier}",
                needs=name,
                found=version,
                from_conda=False,
            )


@check(
    level="static",
    needs=("prefix",),
    symptom="cannot import name 'clear_device_cache' from 'accelerate.utils.memory'",
    cause="peft 0.15 and later use a function that accelerate has since 0.32, and ask for 0.21",
    fix="upgrade accelerate, or take peft 0.14",
    why="peft cannot be imported, nor what builds on it",
    source="nullquant/ComfyUI-BrushNet#183, hiyouga/LlamaFactory#8142; the two packages' sources",
)
def peft_accelerate(subject: Subject) -> Iterator[Finding]:
    """Peft finds the accelerate functions it imports."""
    prefix = _prefix(subject)
    peft, accelerate = _version(prefix, "peft"), _version(prefix, "accelerate")
    if peft is None or accelerate is None:
        raise NotApplicable("peft and accelerate are not both installed")
    if requirements.meets(peft, f">={_PEFT}") and requirements.meets(accelerate, f"<{_ACCELERATE}"):
        yield Finding(
            message=f"peft {peft} does not work with accelerate {accelerate}",
            seen=f"peft {peft}, accelerate {accelerate}",
            expected=f"accelerate >={_ACCELERATE}, or peft <{_PEFT}",
            remedy=_pin(subject, f"accelerate>={_ACCELERATE}"),
        )


@check(
    level="static",
    needs=("prefix",),
    severity="warning",
    symptom="building an extension fails, or an import does, since torch and a package do not fit",
    cause="the combination is known to fail, and was installed past the lock's constraints",
    fix="install the version that the finding names",
    why="others met the failure before",
    source="envforge's table of known-bad pairs (`envforge matrix`)",
)
def known_bad_pair(subject: Subject) -> Iterator[Finding]:
    """No installed package is known to fail with this torch."""
    for pair in _pairs(subject):
        if pair.package not in _HELD_ELSEWHERE:
            yield Finding(
                message=pair.text,
                seen=f"{pair.package} {_version(_prefix(subject), pair.package or '')}",
                expected=f"{pair.package} {pair.range}",
                remedy=_pin(subject, f"{pair.package}{pair.range}"),
                source=", ".join(item.removeprefix("gh:") for item in pair.references),
            )


@check(
    level="import",
    needs=("prefix",),
    severity="warning",
    symptom="`pip check` complains; ImportError or a missing feature at the first use",
    cause="a package was installed or removed without its dependants being looked at",
    fix="lock the packages together and install from the lock",
    why="the package was never tried with what is installed",
    source="PyPA: core metadata, Requires-Dist; `pip check`",
    after=("lock-drift", "metadata-broken", "prefix-incomplete"),
)
def requirement_unmet(subject: Subject) -> Iterator[Finding]:
    """Every wheel finds what it requires, in a version that it accepts."""
    told = {"numpy", "torch", *_TRITONS}
    for item in _unmet(subject):
        family = item.package in _HUGGING_FACE and item.needs in _HUGGING_FACE
        if not (item.from_conda or family or item.needs in told):
            yield _requirement(item, _pin(subject, item.requirement))


# --- what the others stand on ---------------------------------------------------------------


def _prefix(subject: Subject) -> PrefixFacts:
    assert subject.prefix is not None  # noqa: S101 - `needs` says so
    return subject.prefix


def _unmet(subject: Subject, **which: Any) -> tuple[Unmet, ...]:
    return requirements.unmet(_prefix(subject), subject.platform, **which)


def _requirement(item: Unmet, remedy: str) -> Finding:
    found = f"{item.needs} is {item.found}" if item.found else f"{item.needs} is not installed"
    return Finding(
        message=f"{item.package} {item.version} requires {item.requirement}, and {found}",
        seen=f"{item.needs} {item.found}" if item.found else f"no {item.needs}",
        expected=item.requirement,
        remedy=remedy,
    )


def _builds(subject: Subject) -> tuple[CompanionBuild, ...]:
    return _prefix(subject).companions.builds


def _builds_of_conda(subject: Subject) -> Iterator[CompanionBuild]:
    """Build strings of the pytorch channel and conda-forge: `py310_cu118`, `cuda126_py310h…`."""
    for item in _prefix(subject).conda:
        if item.name in _DOMAINS:
            found = re.search(r"(?:^|_)cu(?:da)?(\d{2})\.?(\d)", item.build)
            witness = f"build {item.build}"
            if found:
                cuda = f"{found[1]}.{found[2]}"
                yield CompanionBuild(package=item.name, witness=witness, cuda=cuda)
            elif re.search(r"(?:^|_)cpu(?:_|$)", item.build):
                yield CompanionBuild(package=item.name, witness=witness, is_cpu=True)


def _xformers_of_conda(subject: Subject) -> Iterator[CompanionBuild]:
    """Build strings of the xformers channel name both: `py311_cu11.8.0_pyt2.1.1`."""
    for item in _prefix(subject).conda:
        found = re.search(r"_cu(\d+\.\d+)(?:\.\d+)?_pyt(\d+\.\d+(?:\.\d+)?)", item.build)
        if item.name == "xformers" and found:
            witness = f"build {item.build}"
            yield CompanionBuild(package=item.name, witness=witness, cuda=found[1], torch=found[2])


def _builds_of_wheels(subject: Subject) -> Iterator[CompanionBuild]:
    """Labels of the wheels of torch's own indexes: `0.16.0+cu118`."""
    for item in _prefix(subject).packages.distributions:
        if item.name in _DOMAINS:
            label = item.version.partition("+")[2]
            witness = f"wheel {item.name} {item.version}"
            if cuda := cuda_of_build(label):
                yield CompanionBuild(package=item.name, witness=witness, cuda=cuda)
            elif label == "cpu":
                yield CompanionBuild(package=item.name, witness=witness, is_cpu=True)


def _version(prefix: PrefixFacts, name: str) -> str | None:
    """What Python would import: a wheel's version before that of a conda package of the name."""
    wheel = next(
        (item.version for item in prefix.packages.distributions if item.name == name), None
    )
    return wheel or next((item.version for item in prefix.conda if item.name == name), None)


def _torch_version(prefix: PrefixFacts) -> str | None:
    version = prefix.torch.version if prefix.torch else _recorded_torch(prefix)[0]
    return version.partition("+")[0] if version else None


def _recorded_torch(prefix: PrefixFacts) -> tuple[str | None, str]:
    """Version, and the label or build that names an accelerator, of a torch by its record."""
    if (version := _version(prefix, "torch")) is not None:
        return version, version.partition("+")[2]
    conda = next((item for item in prefix.conda if item.name == "pytorch"), None)
    return (conda.version, conda.build) if conda else (None, "")


def _torch_cuda(subject: Subject) -> CudaVersion | None:
    """The CUDA of the torch that is installed; None: a CPU build."""
    torch = _prefix(subject).torch
    if torch is not None and torch.version is not None:
        return CudaVersion.parse(torch.cuda) if torch.cuda else None
    version, label = _recorded_torch(_prefix(subject))
    if version is None or torch is not None:
        raise NotApplicable("torch is not installed")
    if cuda := cuda_of_build(label):
        return CudaVersion.parse(cuda)
    if not _CPU_LABEL.search(label):
        raise NotApplicable("torch's files are not there, and its record names no CUDA")
    return None


def _pairs(subject: Subject) -> Iterator[BadPair]:
    """Known-bad pairs of the installed torch that an installed package falls into."""
    prefix = _prefix(subject)
    torch = _torch_version(prefix)
    if torch is None:
        return
    python = requirements.python_of(prefix)
    try:
        cuda = _torch_cuda(subject)
    except NotApplicable:  # only its metadata is there; such pairs hold for every accelerator
        cuda = None
    rows = bad_pairs.matching(
        torch,
        cuda,
        _source(prefix),
        ".".join(python.split(".")[:2]) if python else None,
        (subject.platform,),
        matrix=reading.load(),
    )
    for row in rows:
        if row.effect != "constraint" or not row.package or not row.range:
            continue
        version = _version(prefix, row.package)
        if version is not None and not requirements.meets(version, row.range):
            yield row


def _source(prefix: PrefixFacts) -> Source:
    """Where the installed torch came from."""
    conda = next((item for item in prefix.conda if item.name in {"pytorch", "libtorch"}), None)
    if conda is None:
        return "wheels"
    return "pytorch" if "/pytorch/" in conda.url else "conda-forge"


def _is_major(version: str | None, major: int) -> bool:
    return bool(version) and (version or "").partition(".")[0] == str(major)


def _minor(version: str) -> list[str]:
    return version.partition("+")[0].split(".")[:2]


def _cuda_major(build: CompanionBuild) -> str | None:
    return build.cuda.partition(".")[0] if build.cuda else None


def _cuda_words(build: CompanionBuild) -> str:
    return f"CUDA {build.cuda}" if build.cuda else "the CPU"


def _dotted(label: str) -> str:
    return f"{label[:-1]}.{label[-1]}" if label.isdigit() and len(label) > 1 else label


def _pin(subject: Subject, spec: str) -> str:
    """Change the environment so that it holds this."""
    if subject.kind != "environment" or subject.folder is None:
        return install_into(_prefix(subject), spec)
    return f"envforge add {subject.folder} '{spec}'"


def _together(subject: Subject, package: str) -> str:
    if subject.kind != "environment" or subject.folder is None:
        return f"install torch and {package} together, from one index or channel"
    add = f"envforge add {subject.folder} {package}"
    return f"{remedies.install(subject)}; if it is locked like this: {add}"


def _uninstall(*names: str) -> str:
    return f"pip uninstall {' '.join(names)}"


def _some(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
    return ", ".join(unique[:3]) + more

"""environment.yml becomes conda-lock.yml: solve, agree, assert, write back.

Nothing is written to disk here: the result holds the texts of the three files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from envforge.errors import Unsolvable
from envforge.formats.conda import virtual_packages_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.formats.conda_lock import conda_lock_yml, content_hash
from envforge.model.cuda import CudaVersion
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.machine import Platform
from envforge.model.solving import Channel, CondaProblem
from envforge.model.spec import Constraint, Dependency, Source, VirtualPackage
from envforge.ports import CondaSolver, Reporter, WheelResolver
from envforge.solve import agree, builds, visible, wheels
from envforge.solve.conda import solve_platforms

ENVIRONMENT = "environment.yml"
VIRTUAL_PACKAGES = "virtual-packages.yml"
CONDA_LOCK = "conda-lock.yml"
_DEFAULTS = (
    "channel `defaults` is used because it was asked for: Anaconda's terms of service want a"
    " licence from organisations of 200 people or more"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInputs:
    """Everything that decides what a lock holds."""

    document: EnvironmentDocument
    virtual: Mapping[Platform, tuple[VirtualPackage, ...]]
    channels: tuple[Channel, ...]
    """Those of the document, found; a local channel of the host's Python included."""
    source: Source
    cuda: CudaVersion | None
    constraints: tuple[Constraint, ...] = ()
    other_pythons: tuple[str, ...] = ()
    """Tried in this order where the Python in the document does not solve."""
    is_fresh: bool = False
    """Composed just now, not edited by a person: see `_with_wider_cuda`."""
    preferred: tuple[LockedPackage, ...] = ()
    """An old lock's packages, kept where they still fit."""
    exclude_newer: str | None = None
    """Nothing published after this moment, `2024-03-01T23:59:59Z`."""
    architectures: tuple[str, ...] = ()
    min_driver: str | None = None
    wheel_index: str | None = None
    """`pytorch`, `site` or an address, as it is recorded; None: no wheels of torch."""
    torch_index: str | None = None
    """Address that torch and its family come from; None: the default index."""
    machine_local: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further `custom_metadata`, strings only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """A lock, and the files it is to be kept in."""

    lock: Lock
    document: EnvironmentDocument
    """With exact versions written back."""
    files: Mapping[str, str]
    """File name to text."""
    notes: tuple[str, ...]
    """What was decided on the way, for the person who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    document: EnvironmentDocument
    packages: tuple[LockedPackage, ...]
    notes: tuple[str, ...] = ()


def lock(
    inputs: LockInputs, solver: CondaSolver, resolver: WheelResolver, reporter: Reporter
) -> Locked:
    """Solve every platform, and write down what came of it.

    Raises:
        Unsolvable: the solver's reasons, for the first platform that has some.
        WrongBuild: torch, or what belongs to it, is for another accelerator.
        Unreachable: a channel or an index cannot be read.
    """
    solved = _with_other_pythons(inputs, solver, resolver, reporter)
    by_platform = {
        platform: [item for item in solved.packages if item.platform == platform]
        for platform in solved.document.spec.platforms
    }
    for platform, packages in by_platform.items():
        builds.assert_build(packages, platform=platform, cuda=inputs.cuda, source=inputs.source)
        _require_hashes(packages, platform)
    document = _written_back(solved, inputs)
    finished = _lock(inputs, document, solved.packages)
    return Locked(
        lock=finished,
        document=document,
        files={
            ENVIRONMENT: document.text,
            VIRTUAL_PACKAGES: virtual_packages_yml.write(inputs.virtual),
            CONDA_LOCK: conda_lock_yml.write(finished),
        },
        notes=(*([_DEFAULTS] if "defaults" in document.spec.channels else []), *solved.notes),
    )


def problems(
    document: EnvironmentDocument, inputs: LockInputs, preferred: Sequence[LockedPackage] = ()
) -> tuple[CondaProblem, ...]:
    """One question to the conda solver for each platform."""
    return tuple(
        CondaProblem(
            platform=platform,
            channels=inputs.channels,
            dependencies=document.spec.conda(),
            constraints=inputs.constraints,
            virtual_packages=tuple(inputs.virtual.get(platform, ())),
            preferred=tuple(item for item in preferred if item.platform == platform),
            exclude_newer=inputs.exclude_newer,
        )
        for platform in document.spec.platforms
    )


def _with_other_pythons(
    inputs: LockInputs, solver: CondaSolver, resolver: WheelResolver, reporter: Reporter
) -> _Solved:
    """The document as it is, else what comes near it; the first failure is what counts."""
    first: Unsolvable | None = None
    for document, notes in _attempts(inputs):
        try:
            solved = _solve(document, inputs, solver, resolver, reporter)
        except Unsolvable as error:
            first = first or error
            continue
        return replace(solved, notes=(*notes, *solved.notes))
    assert first is not None  # noqa: S101 - there is at least one attempt
    raise first


def _attempts(inputs: LockInputs) -> Iterator[tuple[EnvironmentDocument, tuple[str, ...]]]:
    """Documents to try in order, each with what is to be said if it is the one."""
    python = inputs.document.spec.find("python")
    asked = python.version.lstrip("=") if python else ""
    for other in (None, *inputs.other_pythons):
        document, notes = inputs.document, list[str]()
        if other is not None:
            document = document.with_dependency(Dependency(name="python", version=f"={other}"))
            notes.append(f"python {other}: with {asked} nothing fits together")
        yield document, tuple(notes)
        wider = _with_wider_cuda(document, inputs)
        if wider is not None:
            notes.append(
                f"CUDA libraries of a later minor release: those of {inputs.cuda} do not fit"
                " together, and both run on the same drivers"
            )
            yield wider, tuple(notes)


def _with_wider_cuda(
    document: EnvironmentDocument, inputs: LockInputs
) -> EnvironmentDocument | None:
    """conda-forge's torch for 12.6 asks for libraries `>=12.6,<13`, and 12.9's may be what is left.

    They run on the same drivers (NVIDIA, "CUDA Compatibility", minor version compatibility).
    The build of torch itself stays the one asked for.
    """
    cuda = inputs.cuda
    pin = next(
        (item for item in document.spec.conda() if item.name in {"cuda-version", "cudatoolkit"}),
        None,
    )
    if not inputs.is_fresh or inputs.source != "conda-forge" or cuda is None or pin is None:
        return None
    return document.with_dependency(replace(pin, version=f">={cuda},<{cuda.major + 1}"))


def _solve(
    document: EnvironmentDocument,
    inputs: LockInputs,
    solver: CondaSolver,
    resolver: WheelResolver,
    reporter: Reporter,
) -> _Solved:
    platforms = document.spec.platforms
    with reporter.step(f"solving {', '.join(platforms)}"):
        questions = problems(document, inputs, inputs.preferred)
        packages, notes = solve_platforms(document, questions, solver)
    if document.spec.pip():
        with reporter.step(f"resolving wheels for {', '.join(platforms)}"):
            found, more = wheels.resolve(document.spec, packages, inputs, resolver)
        packages, notes = (*packages, *found), (*notes, *more)
    return _Solved(document=document, packages=tuple(sorted(packages)), notes=notes)


def _require_hashes(packages: Sequence[LockedPackage], platform: Platform) -> None:
    """conda-lock 4 refuses a conda entry without md5, and nobody should take one without sha256."""
    for package in packages:
        lacking = [
            kind
            for kind, value in (("md5", package.md5), ("sha256", package.sha256))
            if not value and not (kind == "md5" and package.manager == "pip")
        ]
        if lacking:
            raise Unsolvable(
                platform=platform,
                explanation=(
                    f"`{package.url}` has no {' and no '.join(lacking)} in its channel's metadata,"
                    " and a lock needs both\nindex the channel again (`conda index` or"
                    " `rattler-index` write both), or take the package from another channel"
                ),
            )


def _written_back(solved: _Solved, inputs: LockInputs) -> EnvironmentDocument:
    document, packages = solved.document, solved.packages
    platforms = document.spec.platforms
    conda = agree.agreed(
        [item.name for item in document.spec.conda()], packages, "conda", platforms
    )
    pip = agree.agreed([item.name for item in document.spec.pip()], packages, "pip", platforms)
    document = document.with_versions(conda, pip)
    for dependency in visible.constrained_dependencies(document.spec, inputs.constraints, packages):
        document = document.with_dependency(dependency)
    for dependency in wheels.addressed(document.spec, packages, inputs):
        document = document.with_dependency(dependency)
    return document


def _lock(
    inputs: LockInputs, document: EnvironmentDocument, packages: tuple[LockedPackage, ...]
) -> Lock:
    spec = document.spec
    finished = Lock(
        packages=packages,
        platforms=spec.platforms,
        channels=tuple(content_hash.locked_channels(spec.channels)),
        content_hash=content_hash.content_hashes(spec, inputs.virtual),
        target=_target(inputs, packages, spec.platforms),
        inputs_digest=content_hash.inputs_digest(spec, inputs.virtual),
        metadata=inputs.metadata,
    )
    return conda_lock_yml.normalised(finished)


def _target(
    inputs: LockInputs, packages: Sequence[LockedPackage], platforms: Sequence[Platform]
) -> Target:
    """The claim, read from what was locked for the first platform."""
    first = [item for item in packages if item.platform == platforms[0]]
    torch = builds.find_torch(first)
    python = next((item.version for item in first if item.name == "python"), "")
    assert torch is not None  # noqa: S101 - `assert_build` found it
    return Target(
        torch=torch.version.partition("+")[0],
        cuda=inputs.cuda,
        cudnn=builds.cudnn_version(first),
        python=python,
        source=inputs.source,
        min_driver=inputs.min_driver,
        architectures=inputs.architectures,
        wheel_index=inputs.wheel_index,
        machine_local=inputs.machine_local
        or any(item.url.startswith("file:") for item in packages),
    )

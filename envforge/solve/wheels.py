"""The wheels of an environment: questions to the resolver, and lines of environment.yml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from envforge.errors import InvalidValue, Unsolvable
from envforge.formats.conda import conda_spec
from envforge.model.cuda import CudaVersion, accelerator_label
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import WheelProblem
from envforge.model.spec import Constraint, Dependency, EnvironmentSpec, VirtualPackage
from envforge.ports import WheelResolver
from envforge.solve import agree, visible, wheel_names
from envforge.solve.wheel_index import TORCH_FAMILY


class WheelInputs(Protocol):
    """The part of `lock.LockInputs` that concerns wheels."""

    @property
    def cuda(self) -> CudaVersion | None: ...
    @property
    def constraints(self) -> tuple[Constraint, ...]: ...
    @property
    def exclude_newer(self) -> str | None: ...
    @property
    def preferred(self) -> tuple[LockedPackage, ...]: ...
    @property
    def torch_index(self) -> str | None: ...
    @property
    def virtual(self) -> Mapping[Platform, tuple[VirtualPackage, ...]]: ...


def resolve(
    spec: EnvironmentSpec,
    conda: Sequence[LockedPackage],
    inputs: WheelInputs,
    resolver: WheelResolver,
) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
    """Wheels of every platform, direct ones in the same versions; and what is to be said.

    Raises:
        Unsolvable, Unreachable
    """
    questions = [_problem(spec, platform, conda, inputs) for platform in spec.platforms]
    packages = _answers(questions, resolver)
    names = [item.name for item in spec.pip()]
    split = agree.differing(names, packages, "pip")
    if not split:
        return packages, ()
    pins = tuple(f"{name}=={versions[0]}" for name, versions in split.items())
    try:
        return _answers([_constrained(item, pins) for item in questions], resolver), ()
    except Unsolvable:
        listed = ", ".join(f"`{name}` ({' and '.join(split[name])})" for name in split)
        return packages, (f"these keep their ranges, as no version fits all platforms: {listed}",)


def addressed(
    spec: EnvironmentSpec, packages: Sequence[LockedPackage], inputs: WheelInputs
) -> Iterator[Dependency]:
    """Direct wheels of the torch index as `name @ url#sha256=…`.

    conda and conda-lock read that, and no option for an index besides the default one. Where
    several platforms need several files one line cannot name them, and the version stays.
    """
    if inputs.torch_index is None or len(spec.platforms) > 1:
        return
    found = {item.name: item for item in packages if item.manager == "pip"}
    for item in spec.pip():
        wheel = found.get(item.name)
        if item.name in TORCH_FAMILY and not item.url and wheel and _is_remote(wheel.url):
            yield replace(
                item,
                version="",
                url=f"{wheel.url}#sha256={wheel.sha256}",
                comment=item.comment or f"asked: {item.version or 'any'}",
            )


def _is_remote(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _answers(
    questions: Sequence[WheelProblem], resolver: WheelResolver
) -> tuple[LockedPackage, ...]:
    """Platforms side by side: a resolution waits for an index most of the time."""
    if len(questions) == 1:
        return resolver.resolve(questions[0])
    with ThreadPoolExecutor(max_workers=len(questions)) as pool:
        return tuple(item for found in pool.map(resolver.resolve, questions) for item in found)


def _problem(
    spec: EnvironmentSpec,
    platform: Platform,
    conda: Sequence[LockedPackage],
    inputs: WheelInputs,
) -> WheelProblem:
    family = [item for item in spec.pip() if item.name in TORCH_FAMILY]
    others = [item for item in spec.pip() if item.name not in TORCH_FAMILY]
    old = [item for item in inputs.preferred if (item.manager, item.platform) == ("pip", platform)]
    return WheelProblem(
        platform=platform,
        python=_python(conda, platform),
        requirements=tuple(map(conda_spec.format_pip, others)),
        torch_requirements=tuple(map(conda_spec.format_pip, family)),
        torch_index=inputs.torch_index,
        constraints=visible.wheel_constraints(inputs.constraints),
        glibc=next(
            (item.version for item in inputs.virtual.get(platform, ()) if item.name == "__glibc"),
            None,
        ),
        accelerator=accelerator_label(inputs.cuda),
        preferred=tuple(old),
        provided=_provided(spec, conda, platform),
        exclude_newer=inputs.exclude_newer,
    )


def _provided(
    spec: EnvironmentSpec, conda: Sequence[LockedPackage], platform: Platform
) -> tuple[str, ...]:
    """The Python packages among conda's by the names that wheels ask for.

    Not those that a person lists as wheels too.
    """
    asked = {item.name for item in spec.pip()}
    names = set[str]()
    for item in conda:
        needs = {depends.partition(" ")[0] for depends in item.depends}
        if item.platform == platform and needs & {"python", "python_abi"}:
            with suppress(InvalidValue):  # it has no counterpart, so no wheel asks for it
                names.add(wheel_names.wheel_name(item.name))
    return tuple(sorted(names - asked))


def _constrained(problem: WheelProblem, pins: Sequence[str]) -> WheelProblem:
    return replace(problem, constraints=(*problem.constraints, *pins))


def _python(conda: Sequence[LockedPackage], platform: Platform) -> str:
    found = next(
        (item for item in conda if item.platform == platform and item.name == "python"), None
    )
    if found is None:
        raise Unsolvable(
            platform=platform,
            explanation="wheels need an interpreter, and environment.yml lists no `python`",
        )
    return found.version

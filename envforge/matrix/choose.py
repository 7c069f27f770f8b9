"""The choice: one torch, CUDA, source and Python for a request, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator

from envforge.errors import NoMatchingBuild
from envforge.matrix import bad_pairs, drivers, explain, gpus, pythons, running, versions
from envforge.matrix.nearest import Wish, nearest
from envforge.matrix.selecting import Query, Selected, query_of, select
from envforge.matrix.tables import Matrix
from envforge.model.choice import Choice
from envforge.model.cuda import accelerator_label, accelerator_name
from envforge.model.machine import CUDA_PLATFORMS, Machine
from envforge.model.spec import AUTO, HOST, LATEST, SOURCES, Request


def choose(
    request: Request,
    machine: Machine | None,
    *,
    matrix: Matrix,
    host_python: str | None = None,
    check_machine: bool = True,
    command: str = "create",
) -> Choice:
    """Resolve `latest`, `2.0` and `auto`, and check that it exists and runs on the machine.

    Args:
        request: what was asked for.
        machine: what it is for; None: nothing is judged by it.
        matrix: the tables.
        host_python: version of the interpreter that runs us, for `--python host`.
        check_machine: False with `--force`: also what does not run there is chosen.
        command: `create` or `lock`, in the commands that errors suggest.

    Raises:
        InvalidValue: exit 2.
        NoMatchingBuild, DriverTooOld, NoKernelsForGpu: exit 3.
    """
    query = query_of(request, machine, matrix, host_python)
    judge = machine if check_machine or query.cuda_is_free else None
    wish = Wish(request=request, machine=judge, host_python=host_python, command=command)
    selected = select(query, matrix, judge)
    if selected is None:
        raise NoMatchingBuild(
            wanted=explain.wanted(request, query),
            reason=explain.reason(request, query, matrix),
            nearest=nearest(wish, matrix),
        )
    choice = _choice(request, query, selected, machine, matrix)
    if check_machine and not selected.runs:
        platform, others = selected.cell.primary.platform, nearest(wish, matrix)
        running.judge_machine(choice, machine, matrix=matrix, platform=platform, nearest=others)
    return choice


def _choice(
    request: Request, query: Query, selected: Selected, machine: Machine | None, matrix: Matrix
) -> Choice:
    cell = selected.cell
    build = cell.primary
    ranked = pythons.ranked(cell, matrix)
    python = request.python or ranked[0]
    minor = query.python or ranked[0]
    return Choice(
        torch=cell.torch,
        cuda=cell.cuda,
        python=python,
        other_pythons=() if request.python else ranked[1:],
        source=cell.source,
        cudnn=build.cudnn,
        architectures=build.architectures,
        min_driver=drivers.min_driver(cell.cuda, "linux-64", matrix) if cell.cuda else None,
        min_glibc=_glibc(selected),
        metapackage=build.metapackage,  # type: ignore[arg-type]
        companions=matrix.companions(cell.torch, cell.source, cell.cuda),
        constraints=bad_pairs.constraints_for(
            cell.torch, cell.cuda, cell.source, minor, query.platforms, matrix=matrix
        ),
        notes=tuple(_notes(request, query, selected, machine, python=minor, matrix=matrix)),
        wheel_label=accelerator_label(cell.cuda) if cell.source == "wheels" else None,
    )


def _glibc(selected: Selected) -> str | None:
    known = [build.glibc for build in selected.cell.builds if build.glibc]
    return max(known, key=versions.key, default=None)


def _notes(
    request: Request,
    query: Query,
    selected: Selected,
    machine: Machine | None,
    *,
    python: str,
    matrix: Matrix,
) -> Iterator[str]:
    """Which choices were made for the person, and why."""
    cell = selected.cell
    yield from _torch_note(request, selected, query)
    yield from _cuda_note(request, selected, machine)
    if request.source == AUTO:
        yield _source_note(request, query, selected, matrix)
    if request.python is None:
        yield f"python {python}: {_python_reason(selected, matrix)}"
    elif request.python == HOST:
        yield f"python {python}: the interpreter that runs envforge"
    yield from _machine_notes(selected, machine, matrix)
    found = bad_pairs.matching(
        cell.torch, cell.cuda, cell.source, python, query.platforms, matrix=matrix
    )
    for pair in found:
        told = pair.effect == "avoid" or (pair.effect == "note" and machine is not None)
        if told and bad_pairs.concerns(pair, machine.gpus if machine else ()):
            yield f"known trouble: {pair.text}; better: {pair.fix}"


def _torch_note(request: Request, selected: Selected, query: Query) -> Iterator[str]:
    torch = selected.cell.torch
    if request.torch == torch or torch in request.torch:
        return
    newest = query.torches[0]
    asked = "latest" if request.torch == LATEST else request.torch
    if torch == newest:
        yield f"torch {torch}: the newest release of `{asked}`"
    else:
        yield f"torch {torch}: the newest of `{asked}` that meets the rest; {newest} does not"


def _cuda_note(request: Request, selected: Selected, machine: Machine | None) -> Iterator[str]:
    if request.cuda != AUTO:
        return
    cuda = selected.cell.cuda
    if cuda is not None and machine is not None:
        yield f"CUDA {cuda}: the newest that {_who(machine)} can run with this torch"
    elif not all(platform in CUDA_PLATFORMS for platform in request.platforms):
        yield "CPU: one of the platforms has no CUDA, and one folder has one accelerator"
    elif machine is None:
        yield "CPU: no machine was looked at, so there is no GPU to choose a CUDA for"
    else:
        yield "CPU: no NVIDIA driver here; describe another machine with `--driver` and `--gpu`"


def _who(machine: Machine) -> str:
    names = [machine.driver.label] if machine.driver else []
    names += dict.fromkeys(gpus.describe(gpu) for gpu in machine.gpus)
    return versions.spell(names)


def _source_note(request: Request, query: Query, selected: Selected, matrix: Matrix) -> str:
    cell = selected.cell
    if request.python == HOST:
        return "source wheels: the only one that takes the interpreter as it is"
    passed_over = SOURCES[: SOURCES.index(cell.source)]
    why = [explain.passed_over(source, cell, query, matrix) for source in passed_over]
    verb = "have" if cell.source == "wheels" else "has"
    build = f"torch {cell.torch} built for {accelerator_name(cell.cuda)}"
    what = f"{explain.NAMES[cell.source]} {verb} {build}"
    return "; ".join([f"source {cell.source}: {what}", *why])


def _python_reason(selected: Selected, matrix: Matrix) -> str:
    ranked = pythons.ranked(selected.cell, matrix)
    newer = [item for item in selected.cell.pythons if versions.key(item) > versions.key(ranked[0])]
    if not newer:
        return "the newest this build has"
    others = f"{versions.spell(newer)} {'exists' if len(newer) == 1 else 'exist'} too"
    return f"the newest that has been tried long enough with this torch; {others}"


def _machine_notes(selected: Selected, machine: Machine | None, matrix: Matrix) -> Iterator[str]:
    cell, found = selected.cell, selected.verdict
    if cell.cuda is None or machine is None:
        return
    if found and found.state == "unknown" and found.gpu:
        yield (
            f"nobody recorded which GPUs this build has code for, so `verify` must show that it"
            f" runs on {gpus.describe(found.gpu)}"
        )
    driver = machine.driver
    if driver and drivers.support(driver, cell.cuda, matrix) == "minor-version":
        newest = drivers.newest_cuda(driver, matrix)
        yield (
            f"{driver.label} is made for CUDA {newest}, and runs CUDA {cell.cuda} by"
            " minor-version compatibility: all but what is compiled from PTX"
        )

"""`update`: some packages, or all, become newer; everything else stays where it can."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envforge import matrix
from envforge.adapters.environments import CONDA_LOCK_YML, MODELS_LOCK_YML, MODELS_YML
from envforge.errors import (
    EnvforgeError,
    EnvironmentExists,
    NoMatchingBuild,
    StaleLock,
    TooManyMoves,
)
from envforge.forge.folders import Folder, read_folder
from envforge.forge.solving import asking, locking, preparing
from envforge.forge.solving.asking import Decision
from envforge.forge.workplace import Workplace
from envforge.formats.conda import environment_yml
from envforge.model.lock import Lock
from envforge.model.results import LockResult, UpdateResult
from envforge.model.spec import AUTO, Dependency, Request
from envforge.solve import claim, compose, record
from envforge.solve import lock as solving
from envforge.solve.least_moves import LeastMoves, LeastWheelMoves
from envforge.team import beside_plan, update_plan
from envforge.team.beside_plan import COMPANIONS
from envforge.team.update_plan import CLAIM, UpdatePlan

if TYPE_CHECKING:
    from envforge.forge.caching.locking import PlannedModels
    from envforge.model.difference import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an update was asked for."""

    packages: tuple[str, ...] = ()
    torch: str | None = None
    cuda: str | None = None
    models: bool = False
    max_moves: int | None = None
    """How many other packages may move; None: any number."""
    exclude_newer: str | None = None
    """`2024-03-01T23:59:59Z`."""
    dry_run: bool = False


def update(workplace: Workplace, path: Path, wanted: Wanted) -> UpdateResult:
    """Move what was asked for; with another torch or CUDA, in a new folder beside the old one.

    Raises:
        StaleLock: there is no lock yet.
        InvalidValue: a package that cannot be moved so.
        EnvironmentExists: the new folder is there already.
        TooManyMoves, Unsolvable, WrongBuild, NoMatchingBuild: nothing was written.
    """
    folder = read_folder(workplace, path)
    if folder.lock is None:
        raise StaleLock(
            path=str(path / CONDA_LOCK_YML),
            reasons=folder.stale,
            remedy=f"`envforge lock {path.name}` makes it",
        )
    locking.check_name(path, folder.document)
    plan = update_plan.plan(folder.document, folder.lock, wanted.packages)
    for note in plan.notes:
        workplace.reporter.note(note)
    if folder.stale:
        workplace.reporter.note(
            f"environment.yml was edited since it was locked ({'; '.join(folder.stale)}):"
            " that is solved with the rest"
        )
    models = _planned_models(workplace, path) if wanted.models else None
    if wanted.torch is None and wanted.cuda is None:
        job = _in_place(workplace, folder, plan, wanted)
    else:
        job = _beside(workplace, folder, plan, wanted)
    return _carry_out(workplace, folder, job, models, wanted)


def _planned_models(workplace: Workplace, path: Path) -> PlannedModels:
    from envforge.forge.caching import locking as model_locking

    return model_locking.plan(workplace, path, (), keep=False)


# --- what is to be solved -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A solve, and what is to be held against the old lock."""

    path: Path
    inputs: solving.LockInputs
    plan: UpdatePlan
    asked: frozenset[str]
    """Names whose moves are not counted."""
    sparing: bool
    """Look for the fewest moves; False: everything is to move."""


def _in_place(workplace: Workplace, folder: Folder, plan: UpdatePlan, wanted: Wanted) -> _Job:
    inputs = preparing.edited(workplace, folder, plan.document, prefer_locked=bool(wanted.packages))
    return _Job(
        path=folder.path,
        inputs=preparing.dated(inputs, wanted.exclude_newer),
        plan=plan,
        asked=plan.asked,
        sparing=bool(wanted.packages),
    )


def _beside(workplace: Workplace, folder: Folder, plan: UpdatePlan, wanted: Wanted) -> _Job:
    """The same environment for another torch or CUDA; the old lock is what the solver prefers."""
    decision = _decide(workplace, folder, wanted)
    path = workplace.environments.folder(decision.name)
    if path != folder.path and workplace.environments.is_taken(path):
        raise EnvironmentExists(
            folder=str(path),
            remedy=f"`envforge update {path.name}` moves what is in it",
        )
    asked = plan.asked | CLAIM | COMPANIONS
    inputs = _inputs_beside(workplace, folder, plan, decision)
    return _Job(
        path=path,
        inputs=replace(
            preparing.dated(inputs, wanted.exclude_newer),
            preferred=tuple(item for item in folder.locked.packages if item.name not in asked),
        ),
        plan=plan,
        asked=asked,
        sparing=True,
    )


def _decide(workplace: Workplace, folder: Folder, wanted: Wanted) -> Decision:
    """Stay with source and Python as long as the new build exists there.

    Raises:
        NoMatchingBuild: with none of them.
    """
    claimed = claim.read_claim(folder.document.spec, folder.document.path)
    given = _recorded(folder)
    fixed = given.get("python")
    python = fixed or beside_plan.asked_python(folder.document.spec)
    tried = [(claimed.source, python), (claimed.source, None), (AUTO, python), (AUTO, None)]
    if fixed:
        tried = [item for item in tried if item[1]]
    if claimed.source == "wheels":  # its packages have the names of wheels
        tried = [item for item in tried if item[0] != AUTO]
    refused: NoMatchingBuild | None = None
    for source, each in dict.fromkeys(tried):
        request = asking.make_request(
            workplace,
            claimed.project,
            torch=wanted.torch or claimed.torch,
            cuda=wanted.cuda or claimed.cuda or "cpu",
            python=each,
            packages=given.get("packages", ()),
            template=given.get("template"),
            source=source,
            channels=given.get("channels") or beside_plan.further_channels(folder.document.spec),
            platforms=folder.document.spec.platforms,
            wheel_index=given.get("wheel_index") or _wheel_index(folder),
        )
        try:
            decision = asking.decide(workplace, request, command="lock")
        except NoMatchingBuild as error:
            refused = error
            continue
        return decision if fixed else _with_other_pythons(workplace, decision)
    assert refused is not None  # noqa: S101 - something was tried
    raise refused


def _with_other_pythons(workplace: Workplace, decision: Decision) -> Decision:
    """Nobody asked for the Python of the old folder: others may be tried where it does not fit."""
    request = replace(decision.request, python=None)
    free = matrix.choose(request, None, matrix=workplace.matrix, check_machine=False)
    others = tuple(
        item for item in (free.python, *free.other_pythons) if item != decision.choice.python
    )
    return replace(decision, choice=replace(decision.choice, other_pythons=others))


def _recorded(folder: Folder) -> dict[str, Any]:
    """The request that the folder was made from; empty: it was made by hand."""
    found: dict[str, Any] = json.loads(folder.locked.metadata.get(record.KEY, "{}"))
    return found


def _wheel_index(folder: Folder) -> str | None:
    target = folder.locked.target
    return target.wheel_index if target else None


def _inputs_beside(
    workplace: Workplace, folder: Folder, plan: UpdatePlan, decision: Decision
) -> solving.LockInputs:
    bare = replace(decision.request, packages=(), template=None)
    fresh = preparing.fresh(workplace, replace(decision, request=bare))
    own = {(item.manager, item.name) for item in fresh.document.spec.dependencies}
    carried = [
        item for item in _carried(workplace, plan, decision) if (item.manager, item.name) not in own
    ]
    spec = replace(
        fresh.document.spec,
        dependencies=(*fresh.document.spec.dependencies, *carried),
        variables=folder.document.spec.variables,
    )
    text = environment_yml.write(spec, preparing.HEADER.format(name=decision.name))
    return replace(
        fresh,
        document=environment_yml.read(text, fresh.document.path),
        virtual=beside_plan.machine_of(folder.virtual, fresh.virtual, decision.choice.cuda),
        metadata={
            **fresh.metadata,
            **preparing.variables_metadata(folder.document.spec.variables),
            record.KEY: _record(workplace, decision.request, decision),
        },
    )


def _carried(workplace: Workplace, plan: UpdatePlan, decision: Decision) -> Iterator[Dependency]:
    """The other lines, as they are written for this torch."""
    known_bad = {(pair.package, pair.range) for pair in workplace.matrix.bad_pairs}
    for item in beside_plan.carried(plan.document, known_bad):
        yield compose.finished(item, decision.choice)


def _record(workplace: Workplace, request: Request, decision: Decision) -> str:
    index = preparing.wheel_index_of(workplace, request.wheel_index)
    return record.to_text(request, decision.choice, index)


# --- solving, judging, writing --------------------------------------------------------------


def _carry_out(
    workplace: Workplace,
    folder: Folder,
    job: _Job,
    models: PlannedModels | None,
    wanted: Wanted,
) -> UpdateResult:
    compared: list[Comparison] = []

    def judge(lock: Lock) -> None:
        compared.append(_compare(workplace, folder, job, lock, models))
        _check_moves(workplace, job, folder, compared[0], wanted)

    solved = _solve(workplace, job, folder, still=False)
    beside = _models_beside(workplace, folder, job) if models is None else {}
    result = locking.written(
        workplace,
        job.path,
        solved,
        dry_run=wanted.dry_run,
        before_writing=judge,
        beside=beside,
    )
    result = _with_models(workplace, result, models)
    [comparison] = compared
    _say_what_stayed(workplace, folder, job, result.lock)
    return UpdateResult(
        name=result.name,
        folder=result.folder,
        old_name=folder.path.name,
        lock=result,
        asked=tuple(sorted(job.plan.asked)),
        others=update_plan.others(comparison.moves, job.asked),
        comparison=comparison,
    )


def _solve(workplace: Workplace, job: _Job, folder: Folder, *, still: bool) -> solving.Locked:
    solver, resolver = workplace.solver, workplace.wheels
    if job.sparing:
        old = folder.locked.packages
        solver = LeastMoves(solver=solver, old=old, asked=job.asked, still=still)
        resolver = LeastWheelMoves(resolver=resolver, old=old, asked=job.asked, still=still)
    return solving.lock(job.inputs, solver, resolver, workplace.reporter)


def _compare(
    workplace: Workplace, folder: Folder, job: _Job, lock: Lock, models: PlannedModels | None
) -> Comparison:
    from envforge.forge.locks import differing
    from envforge.forge.locks.lock_sides import Side

    direct = frozenset(item.name for item in job.inputs.document.spec.dependencies)
    asked = job.asked if job.plan.asked else direct
    old, new = folder.path.name, job.path.name
    if old == new:
        old, new = f"{old} as it was", "as it is now"
    return differing.compare(
        workplace,
        Side(shown=old, lock=folder.locked, asked=asked, models=models.before if models else None),
        Side(shown=new, lock=lock, asked=asked, models=models.lock if models else None),
    )


def _check_moves(
    workplace: Workplace, job: _Job, folder: Folder, comparison: Comparison, wanted: Wanted
) -> None:
    moved = update_plan.others(comparison.moves, job.asked)
    if wanted.max_moves is None or len(moved) <= wanted.max_moves:
        return
    raise TooManyMoves(
        name=folder.path.name,
        asked=tuple(sorted(job.plan.asked)),
        allowed=wanted.max_moves,
        moves=moved,
        within=tuple(_without_others(workplace, job, folder)) if job.path == folder.path else (),
    )


def _without_others(workplace: Workplace, job: _Job, folder: Folder) -> Iterator[str]:
    """What was named, in the newest versions that leave everything else where it is."""
    if not job.plan.asked:
        return
    try:
        still = _solve(workplace.for_trying(), job, folder, still=True).lock
    except EnvforgeError:
        return
    if update_plan.others(_compare(workplace, folder, job, still, None).moves, job.asked):
        return  # it brings, or drops, others all the same
    for name in sorted(job.plan.asked):
        pairs = [
            (folder.locked.find(name, each), still.find(name, each)) for each in still.platforms
        ]
        versions = {new.version for old, new in pairs if old and new and old.version != new.version}
        if len(versions) == 1:
            yield f"{name}={versions.pop().partition('+')[0]}"


def _say_what_stayed(workplace: Workplace, folder: Folder, job: _Job, lock: Lock) -> None:
    for sentence in update_plan.stayed(job.plan, folder.locked, lock, lock.platforms):
        workplace.reporter.note(sentence)


def _models_beside(workplace: Workplace, folder: Folder, job: _Job) -> Mapping[str, str]:
    """The models of the old folder, for a new one."""
    if job.path == folder.path:
        return {}
    texts = {
        name: workplace.environments.read(folder.path, name)
        for name in (MODELS_YML, MODELS_LOCK_YML)
    }
    return {name: text for name, text in texts.items() if text is not None}


def _with_models(
    workplace: Workplace, result: LockResult, planned: PlannedModels | None
) -> LockResult:
    from envforge.forge.caching import locking as model_locking

    return model_locking.with_models(workplace, result, planned)

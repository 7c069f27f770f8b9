"""`lock`: a request or an edited environment.yml becomes the three files of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from envforge.adapters.environments import ENVIRONMENT_YML
from envforge.errors import (
    EnvforgeError,
    EnvironmentExists,
    InvalidFile,
    InvalidValue,
    Unreachable,
    Unsolvable,
)
from envforge.forge.folders import read_folder
from envforge.forge.solving import preparing
from envforge.forge.solving.asking import Decision
from envforge.forge.workplace import Workplace
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.choice import Choice
from envforge.model.lock import Lock
from envforge.model.results import LockResult
from envforge.model.spec import Request
from envforge.solve import claim, compose, nearest, record
from envforge.solve import lock as solving


def lock_request(
    workplace: Workplace,
    decision: Decision,
    *,
    dry_run: bool = False,
    force: bool = False,
    engine: str = "rattler",
    before_writing: Callable[[Lock], None] = lambda _: None,
) -> LockResult:
    """Make the folder of a request; one that was made from the same request is kept.

    `before_writing` sees a new lock, and may raise to leave everything as it was.

    Raises:
        EnvironmentExists: another request gave this name.
        InvalidFile: a file is where a folder belongs.
        Unsolvable, WrongBuild, Unreachable
    """
    path = workplace.environments.folder(decision.name)
    workplace.environments.check_place(path)
    if workplace.environments.is_taken(path) and not force:
        return _existing(workplace, path, decision, dry_run=dry_run, engine=engine)
    inputs = preparing.fresh(workplace, decision)
    return _solve_and_write(
        workplace,
        path,
        inputs,
        decision,
        dry_run=dry_run,
        engine=engine,
        before_writing=before_writing,
    )


def _existing(
    workplace: Workplace, path: Path, decision: Decision, *, dry_run: bool, engine: str
) -> LockResult:
    folder = read_folder(workplace, path)
    if folder.lock is None or record.KEY not in folder.lock.metadata:
        raise EnvironmentExists(
            folder=str(path),
            differences=(f"it was not made by `create`; `envforge lock {path.name}` locks it",),
        )
    different = record.differences(folder.lock.metadata, decision.request, decision.choice)
    if different:
        raise EnvironmentExists(folder=str(path), differences=different)
    if folder.stale:
        workplace.reporter.note("environment.yml was edited since it was locked: locking again")
        return relock(
            workplace,
            path,
            exclude_newer=decision.request.exclude_newer,
            dry_run=dry_run,
            engine=engine,
        )
    workplace.reporter.note(f"`{path}` is locked already, and current")
    return LockResult(
        name=path.name,
        folder=path,
        lock=folder.lock,
        choice=decision.choice,
        outcome="unchanged",
    )


def relock(
    workplace: Workplace,
    path: Path,
    *,
    document: EnvironmentDocument | None = None,
    exclude_newer: str | None = None,
    dry_run: bool = False,
    engine: str = "rattler",
) -> LockResult:
    """Solve an existing environment.yml again; with `document`, that one instead.

    What is locked stays where it still fits, as with `uv lock` and `pixi lock`: to move what
    need not move is what `update` is for.

    Raises:
        InvalidFile: folder, `name:` and dependencies contradict each other.
        NoMatchingBuild: torch, CUDA or Python were edited to what does not exist.
    """
    folder = read_folder(workplace, path, replacing_lock=True)
    document = document or folder.document
    check_name(path, document)
    inputs = preparing.edited(workplace, folder, document, prefer_locked=True)
    inputs = preparing.dated(inputs, exclude_newer)
    return _solve_and_write(workplace, path, inputs, None, dry_run=dry_run, engine=engine)


def check_name(path: Path, document: EnvironmentDocument) -> None:
    """See that a folder and its environment.yml bear one name.

    Raises:
        InvalidFile: they do not.
    """
    if document.spec.name != path.name:
        raise InvalidFile(
            path=str(path / ENVIRONMENT_YML),
            mistakes=(f"name: `{document.spec.name}`, but the folder is `{path.name}`",),
            remedy="rename one of them: the name is a claim that is checked",
        )


def add(
    workplace: Workplace, path: Path, packages: Sequence[str], *, dry_run: bool = False
) -> LockResult:
    """Put packages into environment.yml and lock again; what is locked stays where it fits.

    Raises:
        InvalidValue: a spec that cannot be read, or contradicts what is there.
        Unsolvable: nothing was written.
    """
    folder = read_folder(workplace, path)
    choice = preparing.choice_of(workplace, folder, folder.document)
    document = folder.document
    for text in packages:
        document = document.with_dependency(compose.dependency(text, choice))
    return relock(workplace, path, document=document, dry_run=dry_run)


def _run_engine(
    workplace: Workplace, inputs: solving.LockInputs, decision: Decision | None, engine: str
) -> solving.Locked:
    solver = workplace.solver_for(engine)
    if inputs.exclude_newer and engine != "rattler":
        raise InvalidValue(
            what="engine",
            value=engine,
            reason="cannot leave out what was published after a date",
            remedy="leave out `--engine` or `--exclude-newer`",
        )
    try:
        return solving.lock(inputs, solver, workplace.wheels, workplace.reporter)
    except Unsolvable as error:
        if decision is None:
            raise
        with workplace.reporter.step("looking for the nearest combination that does solve"):
            raise _with_nearest(workplace, decision, error, engine) from error


def _with_nearest(
    workplace: Workplace, decision: Decision, error: Unsolvable, engine: str
) -> Unsolvable:
    """The same error with commands that were tried; nothing is written while trying."""
    solver = workplace.solver_for(engine)
    trying = workplace.for_trying()
    out_of_reach = set[str]()

    def solves(request: Request, choice: Choice) -> bool:
        if choice.source in out_of_reach:  # waiting for it once is enough
            return False
        tried = replace(decision, request=request, choice=choice)
        try:
            inputs = replace(preparing.fresh(trying, tried), other_pythons=())
            solving.lock(inputs, solver, trying.wheels, trying.reporter)
        except Unreachable:
            out_of_reach.add(choice.source)
            return False
        except EnvforgeError:
            return False
        return True

    commands = nearest.find(
        decision.request,
        decision.machine,
        choice=decision.choice,
        explanation=error.explanation,
        solves=solves,
        matrix=workplace.matrix,
        spellings=error.spellings,
        command=decision.command,
    )
    return replace(error, nearest=commands)


def _solve_and_write(
    workplace: Workplace,
    path: Path,
    inputs: solving.LockInputs,
    decision: Decision | None,
    *,
    dry_run: bool,
    engine: str,
    before_writing: Callable[[Lock], None] = lambda _: None,
) -> LockResult:
    solved = _run_engine(workplace, inputs, decision, engine)
    result = written(workplace, path, solved, dry_run=dry_run, before_writing=before_writing)
    if decision is None:
        return result
    notes = (*decision.choice.notes, *result.notes)
    return replace(result, choice=decision.choice, notes=notes)


def written(
    workplace: Workplace,
    path: Path,
    solved: solving.Locked,
    *,
    dry_run: bool,
    before_writing: Callable[[Lock], None] = lambda _: None,
    beside: Mapping[str, str] | None = None,
) -> LockResult:
    """Check what was solved against the name it is to have, and write it.

    `beside`: texts of further files for the folder.

    Raises:
        InvalidFile: the folder's name, `name:` and the lock contradict each other.
    """
    for note in solved.notes:
        workplace.reporter.note(note)
    assert solved.lock.target is not None  # noqa: S101 - `lock` always states one
    wrong = tuple(claim.contradictions(path.name, solved.document.spec.name, solved.lock.target))
    if wrong:
        raise InvalidFile(path=str(path / ENVIRONMENT_YML), mistakes=wrong)
    before_writing(solved.lock)
    files = {**solved.files, **(beside or {})}
    changed = not dry_run and workplace.environments.write(path, files)
    outcome: Literal["written", "unchanged"] = "written" if changed else "unchanged"
    return LockResult(
        name=path.name,
        folder=path,
        lock=solved.lock,
        files=files,
        outcome="planned" if dry_run else outcome,
        notes=solved.notes,
    )

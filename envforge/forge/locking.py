"""`lock`: a request or an edited environment.yml becomes the three files of a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from envforge import matrix
from envforge.adapters.channels import NODEFAULTS, resolve_channels
from envforge.adapters.environments import CONDA_LOCK_YML, ENVIRONMENT_YML, VIRTUAL_PACKAGES_YML
from envforge.errors import EnvforgeError, EnvironmentExists, InvalidFile, Unreachable, Unsolvable
from envforge.forge.asking import Decision
from envforge.forge.workplace import Workplace
from envforge.formats import conda_lock_yml, environment_yml, virtual_packages_yml
from envforge.formats.environment_yml import EnvironmentDocument
from envforge.model.choice import Choice
from envforge.model.lock import Lock
from envforge.model.machine import Platform
from envforge.model.results import LockResult
from envforge.model.solving import Channel, without_credentials
from envforge.model.spec import HOST, Request, VirtualPackage
from envforge.solve import claim, compose, current, nearest, record, targets
from envforge.solve import lock as solving
from envforge.solve.wheel_index import torch_index_url

if TYPE_CHECKING:
    from envforge.adapters.host_python import HostPython

VARIABLES = "envforge.variables"
"""Key in `custom_metadata`: what activation sets, as JSON."""
HEADER = "{name}: edit this file, then run `envforge lock {name}`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of one environment, read."""

    path: Path
    document: EnvironmentDocument
    virtual: dict[Platform, tuple[VirtualPackage, ...]]
    lock: Lock | None

    @property
    def stale(self) -> tuple[str, ...]:
        """Why the lock is not current; empty: it is."""
        if self.lock is None:
            return (f"there is no {CONDA_LOCK_YML}",)
        return current.is_current(self.lock, self.document, self.virtual)


def read_folder(workplace: Workplace, path: Path) -> Folder:
    """Read and check all that is there.

    Raises:
        InvalidFile: one of the files cannot be read as what it should be.
    """
    source = workplace.environments.read(path, ENVIRONMENT_YML)
    if source is None:
        raise InvalidFile(
            path=str(path / ENVIRONMENT_YML),
            mistakes=("it does not exist",),
            remedy="`envforge install` needs conda-lock.yml only; to lock, restore the file",
        )
    virtual = workplace.environments.read(path, VIRTUAL_PACKAGES_YML)
    return Folder(
        path=path,
        document=environment_yml.read(source, str(path / ENVIRONMENT_YML)),
        virtual=virtual_packages_yml.read(virtual, str(path / VIRTUAL_PACKAGES_YML))
        if virtual is not None
        else {},
        lock=read_lock(workplace, path),
    )


def read_lock(workplace: Workplace, path: Path) -> Lock | None:
    """The lock of a folder, or None where there is none."""
    text = workplace.environments.read(path, CONDA_LOCK_YML)
    return None if text is None else conda_lock_yml.read(text, str(path / CONDA_LOCK_YML))


def lock_request(
    workplace: Workplace,
    decision: Decision,
    *,
    dry_run: bool = False,
    force: bool = False,
    engine: str = "rattler",
) -> LockResult:
    """Make the folder of a request; one that was made from the same request is kept.

    Raises:
        EnvironmentExists: another request gave this name.
        Unsolvable, WrongBuild, Unreachable
    """
    path = workplace.environments.folder(decision.name)
    if path.is_dir() and not force:
        kept = _existing(workplace, path, decision, dry_run=dry_run, engine=engine)
        if kept is not None:
            return kept
    inputs = _fresh(workplace, decision)
    return _solve_and_write(workplace, path, inputs, decision, dry_run=dry_run, engine=engine)


def _existing(
    workplace: Workplace, path: Path, decision: Decision, *, dry_run: bool, engine: str
) -> LockResult | None:
    if not any(path.iterdir()):
        return None
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
        return relock(workplace, path, dry_run=dry_run, engine=engine)
    workplace.reporter.note(f"`{path}` is locked already, and current")
    return LockResult(
        name=path.name,
        folder=path,
        lock=folder.lock,
        choice=decision.choice,
        outcome="unchanged",
    )


def _fresh(workplace: Workplace, decision: Decision) -> solving.LockInputs:
    """What a new folder is solved from."""
    request, choice = decision.request, decision.choice
    packages, variables = _template(workplace, request, choice)
    host = workplace.host_python() if choice.python == HOST else None
    spec = compose.compose(
        request,
        choice,
        packages,
        decision.name,
        variables=variables,
        host_python=host.version if host else None,
    )
    text = environment_yml.write(spec, HEADER.format(name=decision.name))
    document = environment_yml.read(text, ENVIRONMENT_YML)
    if host is not None:  # it is bound to this machine, so its C library is what counts
        choice = replace(choice, min_glibc=host.min_glibc)
    virtual = targets.all_virtual_packages(
        request.platforms, choice, workplace.settings.environment
    )
    inputs = _inputs(
        workplace,
        document,
        virtual,
        choice,
        wheel_index=request.wheel_index,
        channels=_local_channel(host),
        given_channels=request.channels,
        metadata={record.KEY: record.to_text(request, choice), **_variables(variables)},
    )
    return replace(inputs, is_fresh=True)


def _local_channel(host: HostPython | None) -> tuple[Channel, ...]:
    return (Channel(name="host-python", url=host.channel_url),) if host else ()


def _variables(variables: Mapping[str, str]) -> dict[str, str]:
    """What activation sets, as it is kept in `custom_metadata`."""
    return {VARIABLES: json.dumps(dict(variables), sort_keys=True)} if variables else {}


def _template(
    workplace: Workplace, request: Request, choice: Choice
) -> tuple[tuple[str, ...], dict[str, str]]:
    if request.template is None:
        return (), {}
    from envforge.forge.starting import load_template
    from envforge.solve import templates

    template = load_template(request.template)
    asked = {
        "torch": choice.torch,
        "platforms": request.platforms,
        "source": choice.source,
        "cuda": choice.cuda,
    }
    left_out = templates.left_out(template, **asked)  # type: ignore[arg-type]
    if left_out:
        workplace.reporter.note(
            f"template {template.name}: without {', '.join(left_out)},"
            f" which torch {choice.torch} or a platform does not have"
        )
    return templates.select(template, **asked), dict(template.variables)  # type: ignore[arg-type]


def _inputs(
    workplace: Workplace,
    document: EnvironmentDocument,
    virtual: dict[Platform, tuple[VirtualPackage, ...]],
    choice: Choice,
    *,
    wheel_index: str | None,
    metadata: dict[str, str],
    channels: tuple[Channel, ...] = (),
    given_channels: Sequence[str] = (),
) -> solving.LockInputs:
    names = document.spec.channels
    with_credentials = {without_credentials(item): item for item in given_channels}
    named = tuple(with_credentials.get(name, name) for name in names)
    resolved = resolve_channels(named, workplace.settings)
    wheels = choice.source == "wheels"
    index = wheel_index or workplace.settings.wheel_index
    torch_index = torch_index_url(index, choice.wheel_label or "cpu") if wheels else None
    known_as = without_credentials(index)
    if wheels:
        served = torch_index or "what pip on this machine is configured with"
        workplace.reporter.note(
            f"torch's wheels come from {without_credentials(served)} (`{known_as}`)"
        )
    return solving.LockInputs(
        document=document,
        virtual=virtual,
        channels=(*channels, *resolved),
        source=choice.source,
        cuda=choice.cuda,
        constraints=choice.constraints,
        other_pythons=choice.other_pythons,
        architectures=choice.architectures,
        min_driver=choice.min_driver,
        wheel_index=known_as if wheels else None,
        torch_index=torch_index,
        machine_local=choice.python == HOST,
        metadata=metadata,
    )


def relock(
    workplace: Workplace,
    path: Path,
    *,
    document: EnvironmentDocument | None = None,
    prefer_locked: bool = False,
    dry_run: bool = False,
    engine: str = "rattler",
) -> LockResult:
    """Solve an existing environment.yml again; with `document`, that one instead.

    Raises:
        InvalidFile: folder, `name:` and dependencies contradict each other.
        NoMatchingBuild: torch, CUDA or Python were edited to what does not exist.
    """
    folder = read_folder(workplace, path)
    document = document or folder.document
    if document.spec.name != path.name:
        raise InvalidFile(
            path=str(path / ENVIRONMENT_YML),
            mistakes=(f"name: `{document.spec.name}`, but the folder is `{path.name}`",),
            remedy="rename one of them: the name is a claim that is checked",
        )
    choice, old = choice_of(workplace, folder, document), folder.lock
    virtual = _virtual(workplace, folder, document, choice)
    no_channel = all(name == NODEFAULTS for name in document.spec.channels)
    host = workplace.host_python() if no_channel else None
    inputs = _inputs(
        workplace,
        document,
        virtual,
        choice,
        wheel_index=old.target.wheel_index if old and old.target else None,
        metadata=_kept_metadata(old, document),
        channels=_local_channel(host),
    )
    inputs = replace(
        inputs,
        other_pythons=(),
        machine_local=host is not None,
        preferred=old.packages if old and prefer_locked else (),
    )
    return _solve_and_write(workplace, path, inputs, None, dry_run=dry_run, engine=engine)


def add(
    workplace: Workplace, path: Path, packages: Sequence[str], *, dry_run: bool = False
) -> LockResult:
    """Put packages into environment.yml and lock again; what is locked stays where it fits.

    Raises:
        InvalidValue: a spec that cannot be read, or contradicts what is there.
        Unsolvable: nothing was written.
    """
    folder = read_folder(workplace, path)
    choice = choice_of(workplace, folder, folder.document)
    document = folder.document
    for text in packages:
        document = document.with_dependency(compose.dependency(text, choice))
    return relock(workplace, path, document=document, prefer_locked=True, dry_run=dry_run)


def choice_of(workplace: Workplace, folder: Folder, document: EnvironmentDocument) -> Choice:
    """The matrix's choice for what an environment.yml claims; no machine is judged."""
    found = claim.read_claim(document.spec, str(folder.path / ENVIRONMENT_YML))
    request = Request(
        project=found.project,
        torch=found.torch,
        cuda=found.cuda,
        python=".".join(found.python.split(".")[:2]) if found.python else None,
        source=found.source,
        platforms=document.spec.platforms,
    )
    return matrix.choose(request, None, matrix=workplace.matrix, check_machine=False)


def _virtual(
    workplace: Workplace, folder: Folder, document: EnvironmentDocument, choice: Choice
) -> dict[Platform, tuple[VirtualPackage, ...]]:
    """The file beside it counts; a platform that it lacks is described anew."""
    fresh = targets.all_virtual_packages(
        document.spec.platforms, choice, workplace.settings.environment
    )
    return {name: folder.virtual.get(name, packages) for name, packages in fresh.items()}


def _kept_metadata(old: Lock | None, document: EnvironmentDocument) -> dict[str, str]:
    kept = dict(old.metadata) if old else {}
    kept.pop(VARIABLES, None)
    return kept | _variables(document.spec.variables)


def _run_engine(
    workplace: Workplace, inputs: solving.LockInputs, decision: Decision | None, engine: str
) -> solving.Locked:
    solver = workplace.solver_for(engine)
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
            inputs = replace(_fresh(trying, tried), other_pythons=())
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
) -> LockResult:
    solved = _run_engine(workplace, inputs, decision, engine)
    for note in solved.notes:
        workplace.reporter.note(note)
    assert solved.lock.target is not None  # noqa: S101 - `lock` always states one
    wrong = tuple(claim.contradictions(path.name, solved.document.spec.name, solved.lock.target))
    if wrong:
        raise InvalidFile(path=str(path / ENVIRONMENT_YML), mistakes=wrong)
    written = not dry_run and workplace.environments.write(path, solved.files)
    changed: Literal["written", "unchanged"] = "written" if written else "unchanged"
    return LockResult(
        name=path.name,
        folder=path,
        lock=solved.lock,
        choice=decision.choice if decision else None,
        files=solved.files,
        outcome="planned" if dry_run else changed,
        notes=solved.notes,
    )

"""The use case: read, find, draft, solve, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from envforge.adapters.environments import ENVIRONMENT_YML, VIRTUAL_PACKAGES_YML
from envforge.errors import EnvironmentExists
from envforge.forge.adopting.draft import Draft, decide, make_draft
from envforge.forge.adopting.find import Found, Wanted, find
from envforge.forge.adopting.lookup import with_depends
from envforge.forge.adopting.pins import Attempt, solve
from envforge.forge.workplace import Workplace
from envforge.formats.conda import virtual_packages_yml
from envforge.model.adoption import AdoptResult, PinChange
from envforge.model.lock import LockedPackage
from envforge.team import adoption


def adopt(
    workplace: Workplace,
    source: str,
    wanted: Wanted,
    *,
    lock: bool = True,
    dry_run: bool = False,
    force: bool = False,
) -> AdoptResult:
    """Read a source, find torch and CUDA in it, and write the folder.

    Raises:
        InvalidFile, NoSuchEnvironment, FileNotUsable: the source cannot be read.
        InvalidValue: it says too little, and the options do not say the rest.
        NoMatchingBuild: nobody publishes that torch.
        EnvironmentExists: the name is taken.
    """
    found = find(workplace, source, wanted)
    decision, notes = decide(workplace, found, wanted)
    path = workplace.environments.folder(decision.name)
    workplace.environments.check_place(path)
    if workplace.environments.is_taken(path) and not force:
        raise EnvironmentExists(
            folder=str(path), remedy="`--name PROJECT` makes another one, `--force` replaces it"
        )
    if lock:
        told = with_depends(workplace, found.environment, decision)
        found = replace(found, environment=told)
    draft = make_draft(workplace, found, decision)
    attempt = (
        solve(workplace, draft, _preferred(found))
        if lock
        else Attempt(document=draft.inputs.document, unchecked="that was not asked for")
    )
    result = _result(found, draft, attempt, path, notes)
    if not dry_run:
        workplace.environments.write(path, result.files)
    return replace(result, outcome="planned" if dry_run else "written")


def _preferred(found: Found) -> tuple[LockedPackage, ...]:
    """What a solver may be told of: a wheel with a hash that an index or a site serves."""
    packages = found.environment.lock.packages if found.environment.lock else ()
    return tuple(
        item
        for item in packages
        if item.manager == "conda"
        or (item.sha256 and item.url.startswith("http") and item.url.endswith(".whl"))
    )


def _result(
    found: Found, draft: Draft, attempt: Attempt, path: Path, notes: Sequence[str]
) -> AdoptResult:
    locked = attempt.locked
    by_name: dict[tuple[str, str], LockedPackage] = {}
    if locked is not None:
        by_name = {(item.platform, item.name): item for item in locked.lock.packages}
    changed = tuple(_changes(draft, attempt, by_name))
    names = {item.name for item in changed}
    platforms = draft.decision.request.platforms
    every = found.environment.lock.packages if found.environment.lock else ()
    before = [item for item in every if item.platform in platforms]
    return AdoptResult(
        name=draft.decision.name,
        folder=path,
        origin=found.imported.origin,
        kind=found.imported.kind,
        environment=found.environment.name,
        platforms=platforms,
        choice=draft.decision.choice,
        found_cudnn=found.cudnn,
        kept=tuple(
            item.name
            for item in draft.pins
            if item.name not in names and adoption.plain_version(item.version)
        ),
        changed=changed,
        not_carried=(*notes, *draft.not_carried),
        lock=locked.lock if locked else None,
        unchecked=attempt.unchecked,
        unsolved=attempt.unsolved,
        same=adoption.same_versions(before, by_name),
        before=len(before),
        files=locked.files
        if locked
        else {
            ENVIRONMENT_YML: attempt.document.text,
            VIRTUAL_PACKAGES_YML: virtual_packages_yml.write(draft.inputs.virtual),
        },
    )


def _changes(
    draft: Draft, attempt: Attempt, locked: Mapping[tuple[str, str], LockedPackage]
) -> Iterator[PinChange]:
    """Pins that the document, or what was locked from it, does not have any more."""
    platform = draft.decision.request.platforms[0]
    for item in draft.pins:
        was = adoption.plain_version(item.version)
        found, line = locked.get((platform, item.name)), attempt.document.spec.find(item.name)
        if found is not None:
            became = found.version
        else:
            became = adoption.plain_version(line.version) if line else ""
        if not was or f"{became.partition('+')[0]}.".startswith(f"{was}."):
            continue
        yield PinChange(
            name=item.name,
            manager=item.manager,
            was=was,
            became=became or ("any" if line else ""),
            reason=attempt.loosened.get(item.name, "it does not fit the rest"),
        )

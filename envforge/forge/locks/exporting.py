"""`export`: an environment, or another tool's lock, written for others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from envforge.adapters import files
from envforge.adapters.environments import (
    CONDA_LOCK_YML,
    ENVIRONMENT_YML,
    FILES,
    MODELS_LOCK_YML,
)
from envforge.around.outputs.registry import OUTPUTS, PLAIN_NAME
from envforge.errors import InvalidValue, NoSuchEnvironment, StaleLock
from envforge.forge import folders
from envforge.forge.workplace import Workplace
from envforge.formats.models import models_lock_yml
from envforge.model.export import (
    EXPORT_TARGETS,
    Export,
    ExportFile,
    ExportSubject,
    ExportTarget,
    Loss,
)
from envforge.model.inventory import Inventory
from envforge.model.lock import Lock
from envforge.model.spec import Dependency, EnvironmentSpec
from envforge.team import export_plan, inventory

_BILLS: Final[Mapping[ExportTarget, tuple[str, ...]]] = {
    "sbom": ("cyclonedx", "spdx"),
    "cyclonedx": ("cyclonedx",),
    "spdx": ("spdx",),
}
_ELSEWHERE: Final = re.compile(r"[:#]|^-$")
"""`HEAD~1:envs/x`, `installed:ENV`, `pixi.lock#gpu`, and standard input."""
_ENDING: Final = re.compile(
    r"[.-]?(?:v\d\.)?(?:conda-lock\.ya?ml|pixi\.lock|pylock\.toml|requirements\.txt"
    r"|(?:explicit\.)?(?:lock|txt)|ya?ml|toml)$"
)
"""What lock files of other tools are called."""
_LICENCES: Final = Loss(what="licences, which conda-lock.yml does not hold")


def export(
    workplace: Workplace,
    env: str,
    target: str,
    *,
    platforms: Sequence[str] = (),
    sha256: bool = False,
    given: Mapping[str, str] | None = None,
) -> Export:
    """Write an environment for another tool; nothing touches the disk.

    Raises:
        InvalidValue: an unknown target or platform, or nothing that the format could hold.
        StaleLock: there is no lock.
        ToolMissing: a bill of materials, without the libraries that write it.
    """
    from envforge.forge.locks import templated

    output = templated.find(workplace, target)
    if output is not None:
        return templated.export(
            workplace, output, _subject(workplace, env), platforms=platforms, given=given or {}
        )
    if given:
        raise InvalidValue(
            what="setting of the output",
            value=min(given),
            reason=f"is none: `{target}` has no settings",
        )
    wanted = _target(target)
    subject, losses = export_plan.prepared(_subject(workplace, env))
    if wanted in _BILLS:
        chosen = export_plan.chosen_platforms(subject, platforms)
        written = _bills(inventory.take(subject, chosen), wanted, workplace)
        common = export_plan.common_losses(subject, wanted, chosen)
        losses = (*losses, _LICENCES, *common)
    else:
        plan = export_plan.plan(subject, wanted, platforms=platforms, sha256=sha256)
        chosen, written, losses = plan.platforms, plan.files, (*losses, *plan.losses)
    return Export(
        environment=subject.name,
        target=wanted,
        platforms=chosen,
        files=written,
        losses=losses,
    )


def write(export: Export, output: str | Path) -> tuple[Path, ...]:
    """Write the files of an export: one into the file or folder `output`, several into a folder.

    What ends with `/` is a folder, too.

    Raises:
        InvalidValue: it would replace a file that envforge keeps there.
        FileNotUsable: it cannot be written.
    """
    place = Path(output).expanduser()
    as_folder = len(export.files) > 1 or files.is_folder(place) or str(output).endswith("/")
    paths = [place / item.name if as_folder else place for item in export.files]
    for path in paths:
        if path.name in FILES and files.is_there(path.parent / CONDA_LOCK_YML):
            raise InvalidValue(
                what="output",
                value=str(path),
                reason="is a file of the environment itself",
                remedy="choose another folder or name with `-o`",
            )
    for path, item in zip(paths, export.files, strict=True):
        files.write_text(path, item.text, mode=0o755 if item.executable else None)
    return tuple(paths)


def _target(name: str) -> ExportTarget:
    found = next((item for item in EXPORT_TARGETS if item == name), None)
    if found is None:
        raise InvalidValue(
            what="export",
            value=name,
            reason="is no format that can be written",
            remedy=_instead_of(name),
        )
    return found


def _instead_of(name: str) -> str:
    """What a person may have meant by a format that there is not."""
    known = (*EXPORT_TARGETS, *OUTPUTS)
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    guess = f"did you mean `{nearest[0]}`? " if nearest else ""
    one = f"{guess}one of {', '.join(known)}"
    if not PLAIN_NAME.fullmatch(name):
        return one
    return f"{one}; or write a template of your own, `templates/exports/{name}.j2`"


def _bills(found: Inventory, target: ExportTarget, workplace: Workplace) -> tuple[ExportFile, ...]:
    from envforge.adapters.sbom import cyclonedx, spdx

    writers: Mapping[str, tuple[str, Callable[[Inventory, Mapping[str, str]], str]]] = {
        "cyclonedx": ("cdx.json", cyclonedx.render),
        "spdx": ("spdx.json", spdx.render),
    }
    written = []
    for name in _BILLS[target]:
        ending, render = writers[name]
        text = render(found, workplace.settings.environment)
        written.append(ExportFile(name=f"{found.name}.{ending}", text=text))
    return tuple(written)


# --- from what ------------------------------------------------------------------------------


def _subject(workplace: Workplace, env: str) -> ExportSubject:
    """A folder of ours, or whatever else `diff` reads as a lock.

    Raises:
        NoSuchEnvironment, InvalidFile, InvalidValue
        StaleLock: it is not locked.
    """
    path = Path(env).expanduser()
    is_other_file = files.is_there(path) and not files.is_folder(path) and path.name not in FILES
    try:
        folder = None if is_other_file else workplace.environments.locate(env)
    except NoSuchEnvironment:
        if not files.is_there(path) and not _ELSEWHERE.search(env):
            raise
        folder = None
    return _other(workplace, env) if folder is None else _own(workplace, folder)


def _own(workplace: Workplace, path: Path) -> ExportSubject:
    lock = folders.read_lock(workplace, path)
    if lock is None:
        raise StaleLock(
            path=str(path / CONDA_LOCK_YML),
            reasons=("it does not exist",),
            remedy=f"`envforge lock {path.name}`",
        )
    models = workplace.environments.read(path, MODELS_LOCK_YML)
    is_alone = workplace.environments.read(path, ENVIRONMENT_YML) is None
    folder = None if is_alone else folders.read_folder(workplace, path)
    if folder is not None and folder.stale:
        workplace.reporter.warn(
            f"the lock is not current ({'; '.join(folder.stale[:2])}), and is exported as it is"
        )
    return ExportSubject(
        name=path.name,
        lock=lock,
        spec=folder.document.spec if folder else None,
        virtual={str(name): found for name, found in folder.virtual.items()} if folder else {},
        variables=folders.variables_of(lock),
        models=models_lock_yml.read(models, str(path / MODELS_LOCK_YML)) if models else None,
        folder=path,
    )


def _other(workplace: Workplace, env: str) -> ExportSubject:
    """Another tool's lock, a revision of git, or what is installed in a prefix."""
    from envforge.forge.locks import lock_sides

    found = lock_sides.side(workplace, env)
    for note in found.notes:
        workplace.reporter.note(note)
    name = _name_of(env)
    return ExportSubject(
        name=name,
        lock=found.lock,
        spec=_asked(name, found.lock, found.asked) if found.asked else None,
        models=found.models,
    )


def _name_of(env: str) -> str:
    """A name for what has none: of the file without its endings, else of the folder."""
    source, _, environment = env.partition("#")
    *folders_above, last = source.rpartition(":")[2].rstrip("/").split("/")
    stem = _ENDING.sub("", last) or (folders_above[-1] if folders_above else "")
    return "-".join(part for part in (stem, environment) if part.strip("-")) or "environment"


def _asked(name: str, lock: Lock, asked: frozenset[str]) -> EnvironmentSpec:
    """What was asked for, as far as it is known by name, in the versions that are locked."""
    found = {
        (item.manager, item.name): Dependency(
            name=item.name, manager=item.manager, version=f"={item.version}"
        )
        for item in lock.packages
        if item.name in asked
    }
    return EnvironmentSpec(
        name=name,
        channels=lock.channels,
        dependencies=tuple(found[key] for key in sorted(found)),
        platforms=lock.platforms,
    )

"""`env`: what a program in an environment finds set, by whom, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from envforge.adapters.activation import activation_files as files
from envforge.adapters.activation import activation_scripts
from envforge.adapters.prefix_reader import read_record
from envforge.around.activation import presets
from envforge.around.activation.explained import explained
from envforge.errors import BrokenPrefix, InvalidValue
from envforge.forge.activation import writing
from envforge.forge.caching import activating
from envforge.forge.prefixes.entering import folder_of
from envforge.forge.prefixes.locating import refuse_frozen, refuse_of_another, usable_prefix
from envforge.forge.workplace import Workplace
from envforge.formats.conda.conda_meta import package_variables
from envforge.model.activation import ALLOCATORS, Choices, EnvironmentVariables

_STACKED = "conda's activation"
_VIEW = "your view of its models"


def env(
    workplace: Workplace,
    name: str,
    *,
    prefix: Path | None,
    allocator: str | None,
    deterministic: bool | None,
    threads: str | None,
    dry_run: bool,
) -> EnvironmentVariables:
    """Write what was chosen, if anything was, and explain all that is set."""
    folder = folder_of(workplace, name, prefix)
    place = usable_prefix(workplace, folder, prefix)
    before = files.read_record(place).choices
    choices = _chosen(before, allocator=allocator, deterministic=deterministic, threads=threads)
    asked = not (allocator is None and deterministic is None and threads is None)
    planned = writing.plan(workplace, folder.name, place, choices) if asked else None
    if planned and planned.changes and not dry_run:
        _refuse_others(folder, place)
        writing.write(workplace, planned)
    return EnvironmentVariables(
        environment=folder.name,
        prefix=place,
        choices=choices,
        variables=explained(_found(workplace, folder.name, place, planned)),
        scripts=activation_scripts.read_activation(place, "bash").scripts,
        kept=planned.kept if planned else (),
        changed=planned.changes if planned else (),
    )


def _chosen(
    before: Choices, *, allocator: str | None, deterministic: bool | None, threads: str | None
) -> Choices:
    found = before
    if allocator is not None:
        known = next((item for item in ALLOCATORS if item == allocator), None)
        if known is None:
            raise InvalidValue(
                what="allocator",
                value=allocator,
                reason="is no preset",
                remedy=f"known: {', '.join(ALLOCATORS)}",
            )
        found = replace(found, allocator=known)
    if deterministic is not None:
        found = replace(found, deterministic=deterministic)
    if threads is not None:
        found = replace(found, threads=presets.threads(threads))
    return found


def _refuse_others(folder: Path, place: Path) -> None:
    """Only an environment of ours, and of this folder, is written to."""
    refuse_frozen(place)
    refuse_of_another(folder, place)
    if read_record(place) is None:
        raise BrokenPrefix(
            prefix=str(place),
            reason="is an environment that envforge did not make",
            remedy="`conda env config vars set NAME=VALUE` sets variables in it",
        )


def _found(
    workplace: Workplace, name: str, prefix: Path, planned: writing.Planned | None
) -> Iterator[tuple[str, str, str]]:
    """Name, value and source, in the order in which they are set."""
    activation = activation_scripts.read_activation(prefix, "bash")
    own = ("CONDA_PREFIX", "CONDA_DEFAULT_ENV")
    for key in own:
        yield key, activation.all_variables[key], _STACKED
    yield "PATH", f"{activation.folder}:$PATH", _STACKED
    for key, value in activating.variables(workplace, name, prefix).items():
        yield key, value, _VIEW
    same_for_all = [*_of_packages(prefix), *_of_state(prefix, planned)]
    yield from same_for_all
    yield from _of_machine(workplace, prefix, {key: value for key, value, _ in same_for_all})


def _of_packages(prefix: Path) -> Iterator[tuple[str, str, str]]:
    for path in sorted((prefix / "etc" / "conda" / "env_vars.d").glob("*.json")):
        brought = package_variables(path.read_text(encoding="utf-8", errors="replace"))
        for key, value in sorted(brought.items()):
            yield key, value, f"a package: {path.relative_to(prefix)}"


def _of_machine(
    workplace: Workplace, prefix: Path, before: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    shell = workplace.settings.environment
    machine = activation_scripts.machine_variables(prefix, {**shell, **before}, workplace.processes)
    for key in activation_scripts.MACHINE_NAMES:
        of_models = key.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_"))
        if key in machine:
            yield key, machine[key], _VIEW if of_models else "this machine and user"
        elif key in shell and key not in before and not of_models:
            yield key, shell[key], "your shell"


def _of_state(prefix: Path, planned: writing.Planned | None) -> Iterator[tuple[str, str, str]]:
    marker, record = read_record(prefix), files.read_record(prefix)
    locked = frozenset(marker.variables if marker else ())
    state = files.state_variables(prefix)
    ours: Mapping[str, str] = {
        name: value
        for name, value in state.items()
        if name not in locked and value in record.written.get(name, ())
    }
    if planned is not None:  # as it will be, where this is a dry run
        state = {name: value for name, value in state.items() if name not in ours}
        ours = planned.writing.variables
        state |= ours
    for name, value in sorted(state.items()):
        if name in locked:
            yield name, value, "environment.yml"
        elif name in ours:
            yield name, value, "envforge's preset"
        else:
            yield name, value, "conda env config vars"

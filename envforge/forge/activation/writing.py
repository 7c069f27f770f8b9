"""Writes what activation sets into a prefix: after an install, and when something is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from envforge.adapters.activation import activation_files as files
from envforge.adapters.files import read_start
from envforge.adapters.prefix_reader import read_record, site_packages
from envforge.adapters.prefixes import RealPrefixes
from envforge.around.activation import presets
from envforge.cache import view_variables
from envforge.errors import EnvforgeError, InvalidValue
from envforge.forge.caching import activating
from envforge.forge.workplace import Workplace
from envforge.model.activation import Choices
from envforge.verify import torch_version

_LARGEST: Final = 1 << 20
_FLAT: Final = {True: "first", False: "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is to be written."""

    writing: files.Writing
    kept: tuple[str, ...]
    """Names that the choices would set, and that others set already."""
    changes: tuple[str, ...]
    """Paths, relative to the prefix."""


def plan(workplace: Workplace, name: str, prefix: Path, choices: Choices) -> Planned:
    """What the choices come to in a prefix; nothing is written.

    Raises:
        InvalidValue: what is installed does not have what was chosen.
        FileNotUsable, InvalidFile: the prefix cannot be read.
    """
    release, has_cuda = installed_torch(prefix)
    wanted = presets.variables(choices, release, has_cuda=has_cuda)
    record, marker = files.read_record(prefix), read_record(prefix)
    locked = frozenset(marker.variables if marker else ())
    ours, kept = presets.merged(wanted, files.state_variables(prefix), record, locked)
    transformers = activating.installed_transformers(prefix)
    flat = "never" if transformers >= (5,) else _FLAT[view_variables.needs_flat(transformers)]
    scripts = files.script_files(
        name=name,
        views=str(workplace.settings.views.absolute()),
        threads="auto" if choices.threads == "auto" else "off",
        flat=flat,
    )
    writing = files.Writing(
        prefix=prefix, choices=choices, variables=ours, locked=locked, files=scripts
    )
    return Planned(writing=writing, kept=kept, changes=files.changes(writing))


def write(workplace: Workplace, planned: Planned) -> None:
    """Carry it out; held against installs, and looked at again once it is our turn."""
    if not planned.changes:
        return
    with RealPrefixes().hold(planned.writing.prefix, workplace.reporter.note):
        files.write(planned.writing)


def refresh(workplace: Workplace, folder: Path, prefix: Path) -> None:
    """After an install: as it was chosen before. The install is good without it."""
    marker = read_record(prefix)
    if marker is None or not marker.complete or marker.published:
        return
    try:
        planned = _as_before(workplace, folder, prefix)
        if files.may_write(prefix):
            write(workplace, planned)
    except EnvforgeError as error:
        workplace.reporter.warn(f"what activation sets was left as it is: {error}")


def _as_before(workplace: Workplace, folder: Path, prefix: Path) -> Planned:
    try:
        return plan(workplace, folder.name, prefix, files.read_record(prefix).choices)
    except InvalidValue:  # a torch that has no such allocator any more
        return _without_allocator(workplace, folder, prefix)


def _without_allocator(workplace: Workplace, folder: Path, prefix: Path) -> Planned:
    chosen = files.read_record(prefix).choices
    workplace.reporter.warn(
        f"`--allocator {chosen.allocator}` is not kept: the torch that is installed now has none"
    )
    return plan(workplace, folder.name, prefix, replace(chosen, allocator="default"))


def installed_torch(prefix: Path) -> tuple[tuple[int, int] | None, bool]:
    """Release of the torch in a prefix, by its own file, and whether it is a CUDA build."""
    site = site_packages(prefix)
    if site is None:
        return None, False
    try:
        data = read_start(str(site / "torch" / "version.py"), _LARGEST)
        found = torch_version.read_torch_version(data.decode("utf-8"))
    except (OSError, ValueError):
        return None, False
    release = view_variables.release(str(found["__version__"]))
    return (release[0], release[1]) if len(release) > 1 else None, bool(found.get("cuda"))

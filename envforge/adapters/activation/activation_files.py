"""What envforge writes into a prefix for its activation, by conda and by itself.

What is the same for everybody goes into `conda-meta/state`; what depends on the user and the
machine is said by a script, which conda's activation asks as well.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envforge.adapters.activation import activation_scripts as scripts
from envforge.adapters.files import make_folder, read_text, unusable, write_text
from envforge.formats import activation_record
from envforge.formats.conda import conda_meta
from envforge.model.activation import ActivationRecord, Choices

_STATE: Final = "conda-meta/state"
_RECORD: Final = activation_record.RECORD


def read_record(prefix: Path) -> ActivationRecord:
    """What was chosen and written before; nothing, where there is no such file."""
    return activation_record.parse(_text(prefix / _RECORD))


def state_variables(prefix: Path) -> dict[str, str]:
    """Variables of `conda-meta/state`, as conda reads them."""
    return conda_meta.state_variables(_text(prefix / _STATE))


def script_files(*, name: str, views: str, threads: str, flat: str) -> dict[str, str]:
    """The scripts, by their path in a prefix.

    Args:
        name: of the environment.
        views: where views of models lie.
        threads: `auto`: by the control group; `off`.
        flat: whether TRANSFORMERS_CACHE is the flat view: `first`, `no`; `never`: it is not set.
    """
    names = {"names": scripts.bare(" ".join(scripts.MACHINE_NAMES))}
    machine = {"name": name, "views": views, "threads": threads, "flat": flat}
    hooks = "etc/conda"
    return {
        scripts.MACHINE_SCRIPT: scripts.render("machine.sh.j2", machine),
        f"{hooks}/activate.d/envforge.sh": scripts.render("conda.activate.sh.j2", {}),
        f"{hooks}/activate.d/envforge.fish": scripts.render("conda.activate.fish.j2", {}, "fish"),
        f"{hooks}/deactivate.d/envforge.sh": scripts.render("conda.deactivate.sh.j2", names),
        f"{hooks}/deactivate.d/envforge.fish": scripts.render(
            "conda.deactivate.fish.j2", names, "fish"
        ),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What a prefix is to hold for its activation."""

    prefix: Path
    choices: Choices
    variables: Mapping[str, str]
    """Ours, for `conda-meta/state`."""
    locked: frozenset[str] = frozenset()
    """Names that environment.yml declares, and an install writes."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Scripts, by their path in the prefix."""

    @property
    def record(self) -> str:
        """Our record, once all is written."""
        values = {name: (value,) for name, value in sorted(self.variables.items())}
        return activation_record.render(ActivationRecord(choices=self.choices, written=values))


def changes(wanted: Writing) -> tuple[str, ...]:
    """Paths, relative to the prefix, that `write` would change."""
    files = {**wanted.files, _RECORD: wanted.record}
    found = [path for path, text in files.items() if _text(wanted.prefix / path) != text]
    old, new = _state(wanted)
    return (*found, _STATE) if _variables(old) != _variables(new) else tuple(found)


def write(wanted: Writing) -> None:
    """Write scripts and variables; done twice, it changes nothing.

    The record first names old and new values: after an interruption neither is taken for the
    user's own.

    Raises:
        FileNotUsable: the prefix may not be written.
        InvalidFile: `conda-meta/state` is not conda's.
    """
    prefix, before = wanted.prefix, read_record(wanted.prefix).written
    new_values = {name: (value,) for name, value in wanted.variables.items()}
    both = {
        name: tuple(dict.fromkeys((*before.get(name, ()), *new_values.get(name, ()))))
        for name in sorted({*before, *new_values})
    }
    old, new = _state(wanted)
    interim = ActivationRecord(choices=wanted.choices, written=both)
    _put(prefix, _RECORD, activation_record.render(interim))
    if _variables(old) != _variables(new):
        _put(prefix, _STATE, new)
    for name, content in wanted.files.items():
        if _text(prefix / name) != content:
            _put(prefix, name, content)
    _put(prefix, _RECORD, wanted.record)


def _put(prefix: Path, name: str, text: str) -> None:
    """Write a file for all who may enter the prefix: our umask may be narrower than theirs."""
    path = prefix / name
    try:
        for_all = stat.S_IMODE(prefix.stat().st_mode)
        make_folder(path.parent, for_all)
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else for_all & 0o666
    except OSError as error:
        raise unusable(path, error) from error
    write_text(path, text, mode=mode)


def _state(wanted: Writing) -> tuple[str | None, str]:
    """`conda-meta/state` as it is, and as it is to be: what others set there stays."""
    path = wanted.prefix / _STATE
    text = read_text(path) if path.is_file() else None
    present, before = _variables(text), read_record(wanted.prefix).written
    going = {
        name
        for name, values in before.items()
        if name not in wanted.locked and present.get(name) in values
    }
    return text, conda_meta.merge_state(text, wanted.variables, going, str(path))


def _variables(state: str | None) -> dict[str, str]:
    return conda_meta.state_variables(state)


def may_write(prefix: Path) -> bool:
    """Whether this user may change the prefix."""
    return os.access(prefix / "conda-meta", os.W_OK | os.X_OK)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    except OSError as error:
        raise unusable(path, error) from error

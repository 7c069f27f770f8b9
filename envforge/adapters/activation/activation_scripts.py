"""Shell code that activates an environment, and the same as an environment for a child process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from envforge.adapters.process import RealProcesses
from envforge.adapters.templates_folder import templates_folder
from envforge.errors import ToolFailed
from envforge.formats.activation import (
    QUOTES,
    SCRIPT_SUFFIX,
    Activation,
    Shell,
    checked_variables,
)
from envforge.formats.conda.conda_meta import package_variables, state_variables
from envforge.ports import Processes

_TEMPLATES: Final[Mapping[Shell, str]] = {
    "bash": "posix.sh.j2",
    "zsh": "posix.sh.j2",
    "fish": "fish.fish.j2",
    "powershell": "powershell.ps1.j2",
}
_SOURCE_ALL: Final = 'for script; do . "$script" >&2; done; exec "$ENVFORGE_ENV" -0'
MACHINE_SCRIPT: Final = "etc/envforge/activation.sh"
"""In a prefix: says what depends on user and machine (`activation_files.py` writes it)."""
OUR_SCRIPT: Final = "envforge"
"""Name of ours among the packages' scripts; there for conda, which asks nobody else."""
_THE_SHELLS_OWN: Final = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "ENVFORGE_ENV"})
_SCRIPT_SECONDS: Final = 60.0


class _Quoted(str):
    """Text that may stand in a script as it is."""

    __slots__ = ()


def activate(prefix: Path, shell: Shell, more: Mapping[str, str] | None = None) -> str:
    """Code to be evaluated by a shell; `deactivate_envforge` in it undoes what it did.

    It does not depend on the state of the shell that asks, so it may be kept in a file.

    Args:
        prefix: which environment.
        shell: for which shell.
        more: variables besides; the environment's own win.

    Raises:
        InvalidValue: a variable that no shell can have.
    """
    activation = read_activation(prefix, shell, more)
    variables = {_Quoted(name): value for name, value in activation.all_variables.items()}
    code: str = _template(_TEMPLATES[shell], shell).render(
        variables=variables,
        folder=activation.folder,
        prompt=f"({activation.label}) ",
        scripts=activation.scripts,
        undo_scripts=activation.undo_scripts,
    )
    return code


def read_activation(
    prefix: Path, shell: Shell, more: Mapping[str, str] | None = None
) -> Activation:
    """Gather what activation of a prefix means to a shell.

    As in conda, `conda-meta/state` overrides what packages set, and scripts run in order of name,
    those of deactivation backwards.

    Raises:
        InvalidValue: a variable that no shell can have.
    """
    suffix = SCRIPT_SUFFIX[shell]
    variables = dict(more or {})
    for path in sorted((prefix / "etc" / "conda" / "env_vars.d").glob("*.json")):
        variables |= package_variables(path.read_text(encoding="utf-8", errors="replace"))
    state = prefix / "conda-meta" / "state"
    if state.is_file():
        variables |= state_variables(state.read_text(encoding="utf-8", errors="replace"))
    return Activation(
        prefix=str(prefix),
        variables=checked_variables(variables),
        scripts=_scripts(prefix, "activate.d", suffix),
        undo_scripts=_scripts(prefix, "deactivate.d", suffix)[::-1],
    )


def run_environment(
    prefix: Path,
    base: Mapping[str, str],
    processes: Processes | None = None,
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables for a program that runs in an environment, as if that were activated.

    `PYTHONHOME` goes: it would have the environment's Python take another's library.
    `LD_LIBRARY_PATH` stays, though it can put other libraries before the environment's: on
    clusters it is how MPI and drivers are found, and `verify` names what it changes.

    Raises:
        InvalidValue: a variable that no shell can have.
        ToolFailed: a package's activation script failed.
    """
    activation = read_activation(prefix, "bash", more)
    path = activation.variables.get("PATH", base.get("PATH"))
    environment = {
        **{name: value for name, value in base.items() if name != "PYTHONHOME"},
        **activation.all_variables,
        "PATH": f"{activation.folder}:{path}" if path else activation.folder,
    }
    if not activation.scripts:
        return environment
    return _sourced(activation, environment, processes or RealProcesses())


def _sourced(
    activation: Activation, environment: dict[str, str], processes: Processes
) -> dict[str, str]:
    """What the packages' own scripts make of the variables."""
    shell = shutil.which("bash") or shutil.which("sh") or "/bin/sh"
    program = shutil.which("env") or "/usr/bin/env"
    done = processes.run(
        [shell, "-c", _SOURCE_ALL, "envforge", *activation.scripts],
        env={**environment, "ENVFORGE_ENV": program},
        timeout=_SCRIPT_SECONDS,
    )
    after = dict(item.partition("=")[::2] for item in done.stdout.split("\0") if "=" in item)
    for name in _THE_SHELLS_OWN:
        after.pop(name, None)
    kept = {
        name: value
        for name, value in environment.items()
        if name in after or name in _THE_SHELLS_OWN
    }
    # A value that is no UTF-8 does not survive the way through a pipe, so what was is kept.
    changed = {
        name: value for name, value in after.items() if _as_text(environment.get(name)) != value
    }
    return {**kept, **changed}


def _as_text(value: str | None) -> str | None:
    if value is None:
        return None
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _scripts(prefix: Path, folder: str, suffix: str) -> tuple[str, ...]:
    found = (prefix / "etc" / "conda" / folder).glob(f"*{suffix}")
    return tuple(sorted(str(path) for path in found if path.is_file() and path.stem != OUR_SCRIPT))


def machine_variables(
    prefix: Path, base: Mapping[str, str], processes: Processes | None = None
) -> dict[str, str]:
    """What depends on the user and the machine, as the script in the prefix tells it.

    conda's activation asks the same script, so all agree. Empty: the prefix has none, or it fails,
    as it may in a shell; what it would have set is a comfort.
    """
    found = _asked(prefix, "nul", base, processes)
    return dict(item.partition("=")[::2] for item in found if "=" in item)


def compiled_place(
    prefix: Path, base: Mapping[str, str], processes: Processes | None = None
) -> tuple[str, str]:
    """The folder of compiled code for this user, and what the machine is called; empty: none."""
    found = _asked(prefix, "place", base, processes)
    return (found[0], found[1]) if len(found) > 1 else ("", "")


def _asked(
    prefix: Path, mode: str, base: Mapping[str, str], processes: Processes | None
) -> list[str]:
    script = prefix / MACHINE_SCRIPT
    if not script.is_file():
        return []
    try:
        done = (processes or RealProcesses()).run(
            ["/bin/sh", str(script), mode], env=base, timeout=_SCRIPT_SECONDS
        )
    except ToolFailed:
        return []
    return done.stdout.split("\0")[:-1]


def render(template: str, fields: Mapping[str, str], shell: Shell = "bash") -> str:
    """One of the templates that have nothing but text to fill in."""
    code: str = _template(template, shell).render(**fields)
    return code


def bare(text: str) -> str:
    """Text of ours that needs no quotes."""
    return _Quoted(text)


def _template(file: str, shell: Shell) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    quote = QUOTES[shell]
    environment = Environment(
        loader=FileSystemLoader(templates_folder() / "activate"),
        undefined=StrictUndefined,
        finalize=_only_quoted,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - shell code: `_only_quoted` sees to the quoting
    )
    environment.filters["quote"] = lambda text: _Quoted(quote(text))
    return environment.get_template(file)


def _only_quoted(value: object) -> object:
    """A template that puts a bare value into a script is a bug."""
    if not isinstance(value, _Quoted):
        raise TypeError(f"unquoted in a script: {value!r}")
    return value

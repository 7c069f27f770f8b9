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
"""Name of ours among the packages' scripts; it asks the machine's."""
MACHINE_NAMES: Final = (
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "CUDA_CACHE_PATH",
    "CUDA_CACHE_MAXSIZE",
    "OMP_NUM_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
)
"""What the machine's script may set."""
_ASKED: Final = tuple(
    f"{kind}{name}" for name in MACHINE_NAMES for kind in ("", "_ENVFORGE_SET_", "_ENVFORGE_WAS_")
)
"""The same, and what the script notes for itself."""
_THE_SHELLS_OWN: Final = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "ENVFORGE_ENV"})
_WHAT_BASH_OBEYS: Final = frozenset({"BASH_ENV", "SHELLOPTS", "BASHOPTS"})
"""The user's, for shells of their own: packages' scripts are not run by them."""
_SCRIPT_SECONDS: Final = 60.0


class _Quoted(str):
    """Text that may stand in a script as it is."""

    __slots__ = ()


def activate(
    prefix: Path,
    shell: Shell,
    more: Mapping[str, str] | None = None,
    *,
    base: Mapping[str, str] | None = None,
    processes: Processes | None = None,
) -> str:
    """Code to be evaluated by a shell; `deactivate_envforge` in it undoes what it did.

    What depends on user and machine is asked by the code itself, after an earlier environment is
    left: until then, what that one set looks like the user's.

    Args:
        prefix: which environment.
        shell: for which shell.
        more: variables besides; the environment's own win.
        base: what the shell has, for PowerShell, which cannot ask.
        processes: where programs are started.

    Raises:
        InvalidValue: a variable that no shell can have.
    """
    activation = read_activation(prefix, shell, more, with_ours=True)
    found = activation.all_variables
    asked: tuple[str, ...] = ()
    if shell == "powershell":
        found |= machine_variables(prefix, {**(base or {}), **activation.variables}, processes)
    elif (prefix / MACHINE_SCRIPT).is_file():
        asked = tuple(name for name in _ASKED if name not in found)
    variables = {_Quoted(name): value for name, value in found.items()}
    code: str = _template(_TEMPLATES[shell], shell).render(
        variables=variables,
        asked=[_Quoted(name) for name in asked],
        folder=activation.folder,
        prompt=f"({activation.label}) ",
        scripts=activation.scripts,
        undo_scripts=activation.undo_scripts,
    )
    return code


def read_activation(
    prefix: Path,
    shell: Shell,
    more: Mapping[str, str] | None = None,
    *,
    with_ours: bool = False,
) -> Activation:
    """Gather what activation of a prefix means to a shell.

    As in conda, `conda-meta/state` overrides what packages set, and scripts run in order of name,
    those of deactivation backwards.

    Args:
        prefix: which environment.
        shell: for which shell.
        more: variables besides; the environment's own win.
        with_ours: with the script that asks the machine's, in its turn.

    Raises:
        InvalidValue: a variable that no shell can have.
    """
    suffix = SCRIPT_SUFFIX[shell]
    return Activation(
        prefix=str(prefix),
        variables=checked_variables({**(more or {}), **_declared(prefix)}),
        scripts=_scripts(prefix, "activate.d", suffix, with_ours=with_ours),
        undo_scripts=_scripts(prefix, "deactivate.d", suffix)[::-1],
    )


def _declared(prefix: Path) -> dict[str, str]:
    variables: dict[str, str] = {}
    for path in sorted((prefix / "etc" / "conda" / "env_vars.d").glob("*.json")):
        variables |= package_variables(path.read_text(encoding="utf-8", errors="replace"))
    state = prefix / "conda-meta" / "state"
    if state.is_file():
        variables |= state_variables(state.read_text(encoding="utf-8", errors="replace"))
    return variables


def _left(base: Mapping[str, str]) -> dict[str, str]:
    """What there was before another environment was entered, as far as it can be known.

    As by conda's deactivation: what that environment declares goes, or is again what it was; what
    somebody changed since stays. PATH is left alone: ours comes before it.
    """
    found = dict(base)
    for name in MACHINE_NAMES:
        ours = found.pop(f"_ENVFORGE_SET_{name}", None)
        _take_back(found, name, ours, found.pop(f"_ENVFORGE_WAS_{name}", None))
    level = base.get("CONDA_SHLVL", "")
    before = f"__CONDA_SHLVL_{int(level) - 1}_" if level.isascii() and level.isdigit() else ""
    try:
        declared = _declared(Path(base["CONDA_PREFIX"])) if base.get("CONDA_PREFIX") else {}
    except OSError:  # another user's, before `su`
        declared = {}
    for name, value in declared.items():
        if name != "PATH":
            _take_back(found, name, value, base.get(before + name) if before else None)
    return found


def _take_back(found: dict[str, str], name: str, ours: str | None, was: str | None) -> None:
    if ours is None or found.get(name) != ours:
        return
    del found[name]
    if was is not None:
        found[name] = was


def run_environment(
    prefix: Path,
    base: Mapping[str, str],
    processes: Processes | None = None,
    more: Mapping[str, str] | None = None,
    *,
    with_machine: bool = False,
) -> dict[str, str]:
    """The variables for a program that runs in an environment, as if that were activated.

    `PYTHONHOME` goes: it would have the environment's Python take another's library.
    `LD_LIBRARY_PATH` stays, though it can put other libraries before the environment's: on
    clusters it is how MPI and drivers are found, and `verify` names what it changes.

    Args:
        prefix: which environment.
        base: what the program would have without it.
        processes: where programs are started.
        more: variables besides; the environment's own win.
        with_machine: set what depends on user and machine as well.

    Raises:
        InvalidValue: a variable that no shell can have.
        ToolFailed: a package's activation script failed.
    """
    activation, base = read_activation(prefix, "bash", more), _left(base)
    path = activation.variables.get("PATH", base.get("PATH"))
    environment = {
        **{name: value for name, value in base.items() if name != "PYTHONHOME"},
        **activation.all_variables,
        "PATH": f"{activation.folder}:{path}" if path else activation.folder,
    }
    if activation.scripts:
        environment = _sourced(activation, environment, processes or RealProcesses())
    if with_machine:
        environment |= machine_variables(prefix, environment, processes)
    return environment


def _sourced(
    activation: Activation, environment: dict[str, str], processes: Processes
) -> dict[str, str]:
    """What the packages' own scripts make of the variables."""
    shell = shutil.which("bash") or shutil.which("sh") or "/bin/sh"
    program = shutil.which("env") or "/usr/bin/env"
    apart = _THE_SHELLS_OWN | _WHAT_BASH_OBEYS
    given = {name: value for name, value in environment.items() if name not in _WHAT_BASH_OBEYS}
    done = processes.run(
        [shell, "-c", _SOURCE_ALL, "envforge", *activation.scripts],
        env={**given, "ENVFORGE_ENV": program},
        timeout=_SCRIPT_SECONDS,
    )
    after = dict(item.partition("=")[::2] for item in done.stdout.split("\0") if "=" in item)
    for name in _THE_SHELLS_OWN:
        after.pop(name, None)
    kept = {name: value for name, value in environment.items() if name in after or name in apart}
    # A value that is no UTF-8 does not survive the way through a pipe, so what was is kept.
    changed = {
        name: value for name, value in after.items() if _as_text(environment.get(name)) != value
    }
    return {**kept, **changed}


def _as_text(value: str | None) -> str | None:
    if value is None:
        return None
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _scripts(prefix: Path, folder: str, suffix: str, *, with_ours: bool = False) -> tuple[str, ...]:
    found = (prefix / "etc" / "conda" / folder).glob(f"*{suffix}")
    wanted = (path for path in found if with_ours or path.stem != OUR_SCRIPT)
    return tuple(sorted(str(path) for path in wanted if path.is_file()))


def machine_variables(
    prefix: Path, base: Mapping[str, str], processes: Processes | None = None
) -> dict[str, str]:
    """What depends on the user and the machine, as the script in the prefix tells it.

    conda's activation asks the same script, once the environment's own variables are set; with
    those in `base` all agree. Empty: the prefix has none, or it fails, as it may in a shell; what
    it would have set is a comfort.
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

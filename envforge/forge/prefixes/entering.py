"""`run` and `activate`: using an environment."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

from envforge.adapters.activation import activation_scripts
from envforge.adapters.process import become
from envforge.errors import FileNotUsable, InvalidValue, NoSuchEnvironment, ToolMissing
from envforge.forge.caching import activating
from envforge.forge.prefixes.locating import usable_prefix
from envforge.forge.workplace import Workplace
from envforge.formats.activation import SHELLS

_OTHER_NAMES = {"sh": "bash", "dash": "bash", "ksh": "bash", "pwsh": "powershell"}


def run(workplace: Workplace, env: str, command: Sequence[str], *, prefix: Path | None) -> None:
    """Replace this process by a command in the environment."""
    folder = folder_of(workplace, env, prefix)
    place = usable_prefix(workplace, folder, prefix)
    variables = run_variables(workplace, folder, place)
    program = shutil.which(command[0], path=variables.get("PATH", ""))
    if program is None:
        raise ToolMissing(
            tool=command[0],
            needed_for=f"`envforge run {env}`",
            remedy=_nearest_program(command[0], place, env),
        )
    become(program, command, variables)


def run_variables(workplace: Workplace, folder: Path, prefix: Path) -> dict[str, str]:
    """All variables of a program that runs in an environment."""
    return activation_scripts.run_environment(
        prefix,
        workplace.settings.environment,
        workplace.processes,
        activating.variables(workplace, folder.name, prefix),
        with_machine=True,
    )


def activate(workplace: Workplace, env: str, *, shell: str | None, prefix: Path | None) -> str:
    """Shell code for `eval`."""
    folder = folder_of(workplace, env, prefix)
    place = usable_prefix(workplace, folder, prefix)
    named = shell or Path(workplace.settings.environment.get("SHELL") or "bash").name
    named = _OTHER_NAMES.get(named, named)
    if named not in SHELLS:
        raise InvalidValue(
            what="shell",
            value=named,
            reason="is not one we write code for",
            remedy=f"`--shell` takes {', '.join(SHELLS)}",
        )
    return activation_scripts.activate(
        place,
        named,
        activating.variables(workplace, folder.name, place),
        base=workplace.settings.environment,
        processes=workplace.processes,
    )


def folder_of(workplace: Workplace, env: str, prefix: Path | None) -> Path:
    """The environment's folder, which tells its models; with a prefix, it need not be there."""
    try:
        return workplace.environments.locate(env)
    except (NoSuchEnvironment, FileNotUsable):
        if prefix is None:
            raise
        return Path(env)


def _nearest_program(program: str, prefix: Path, env: str) -> str:
    folder = prefix / "bin"
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    nearest = difflib.get_close_matches(program, there, n=1)
    if nearest:
        return f"did you mean `{nearest[0]}`?"
    return f"`envforge add {env} PKG` adds the package that brings it"

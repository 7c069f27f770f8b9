"""`run` and `activate`: using an environment."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

from envforge.adapters import activation_scripts
from envforge.adapters.process import become
from envforge.errors import FileNotUsable, InvalidValue, NoSuchEnvironment, ToolMissing
from envforge.forge.caching import activating
from envforge.forge.prefixes.locating import usable_prefix
from envforge.forge.workplace import Workplace
from envforge.formats.activation import SHELLS

_OTHER_NAMES = {"sh": "bash", "dash": "bash", "ksh": "bash", "pwsh": "powershell"}


def run(workplace: Workplace, env: str, command: Sequence[str], *, prefix: Path | None) -> None:
    """Replace this process by a command in the environment."""
    folder = _folder(workplace, env, prefix)
    place = usable_prefix(workplace, folder, prefix)
    variables = activation_scripts.run_environment(
        place,
        workplace.settings.environment,
        workplace.processes,
        activating.variables(workplace, folder.name, place),
    )
    program = shutil.which(command[0], path=variables.get("PATH", ""))
    if program is None:
        raise ToolMissing(
            tool=command[0],
            needed_for=f"`envforge run {env}`",
            remedy=_nearest_program(command[0], place, env),
        )
    become(program, command, variables)


def activate(workplace: Workplace, env: str, *, shell: str | None, prefix: Path | None) -> str:
    """Shell code for `eval`."""
    folder = _folder(workplace, env, prefix)
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
    models = activating.variables(workplace, folder.name, place)
    return activation_scripts.activate(place, named, models)


def _folder(workplace: Workplace, env: str, prefix: Path | None) -> Path:
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

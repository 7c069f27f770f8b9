"""What activating an environment means, and how each shell quotes a value.

The variables are conda's (conda documentation, "Managing environments"), so prompts, editors and
other tools that look for them work as ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final, Literal

from envforge.errors import InvalidValue

Shell = Literal["bash", "zsh", "fish", "powershell"]
SHELLS: Final[tuple[Shell, ...]] = ("bash", "zsh", "fish", "powershell")
SCRIPT_SUFFIX: Final[Mapping[Shell, str]] = {
    "bash": ".sh",
    "zsh": ".sh",
    "fish": ".fish",
    "powershell": ".ps1",
}
"""Which of a package's `activate.d` scripts a shell understands."""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_IN_PROMPTS: Final = re.compile(r"[^A-Za-z0-9._/+-]")
_POWERSHELL_QUOTES: Final = re.compile("(['\u2018\u2019\u201a\u201b])")
"""PowerShell takes typographic quotes for the plain one (about_Quoting_Rules)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One environment, ready to be activated."""

    prefix: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """From packages and from `conda-meta/state`; see `checked_variables`."""
    scripts: tuple[str, ...] = ()
    """A shell's `etc/conda/activate.d` scripts, in order."""
    undo_scripts: tuple[str, ...] = ()
    """Its `deactivate.d` scripts, in the order they run."""

    @property
    def folder(self) -> str:
        """Where programs lie."""
        return str(PurePath(self.prefix) / "bin")

    @property
    def name(self) -> str:
        """As conda calls it: the last part where it lies in an `envs` folder, else the path."""
        path = PurePath(self.prefix)
        return path.name if path.parent.name == "envs" else self.prefix

    @property
    def label(self) -> str:
        """The name as it may stand in a prompt, where shells expand what they find."""
        return _NOT_IN_PROMPTS.sub("?", self.name)

    @property
    def all_variables(self) -> dict[str, str]:
        """Everything that is set, apart from PATH, in order."""
        return {
            "CONDA_PREFIX": self.prefix,
            "CONDA_DEFAULT_ENV": self.name,
            "CONDA_PROMPT_MODIFIER": f"({self.label}) ",
            "CONDA_SHLVL": "1",
            **self.variables,
        }


def checked_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables, sorted, if shells can have such.

    Raises:
        InvalidValue: a name that is none, or a value with a NUL.
    """
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidValue(
                what="activation variable",
                value=name,
                reason="is no name that a shell allows",
                remedy="see `variables:` in environment.yml, and `conda-meta/state` in the prefix",
            )
        if "\0" in value:
            raise InvalidValue(
                what="value of activation variable", value=name, reason="holds a NUL character"
            )
    return dict(sorted(variables.items()))


def quote_posix(text: str) -> str:
    """One word for bash, zsh and sh: nothing is special between single quotes but themselves."""
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def quote_fish(text: str) -> str:
    """One word for fish, where a backslash counts between single quotes, too."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_powershell(text: str) -> str:
    """One string for PowerShell: quotes are doubled."""
    escaped = _POWERSHELL_QUOTES.sub(r"\1\1", text)
    return f"'{escaped}'"


QUOTES: Final[Mapping[Shell, Callable[[str], str]]] = {
    "bash": quote_posix,
    "zsh": quote_posix,
    "fish": quote_fish,
    "powershell": quote_powershell,
}

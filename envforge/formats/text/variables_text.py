"""Variables as text for shells, containers and services."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from envforge.errors import InvalidValue
from envforge.formats.activation import quote_fish, quote_posix, quote_powershell
from envforge.formats.text.quoting import systemd
from envforge.model.views import VariableFormat

_PLAIN: Final = re.compile(r"[A-Za-z0-9/._@%+=:-]+")
"""What a shell leaves alone after `$(…)`, and docker's `--mount` does not split (it reads CSV)."""


def as_text(
    variables: Mapping[str, str], format_: VariableFormat, *, folders: Sequence[str] = ()
) -> str:
    """The variables as the format has them, a line each.

    Args:
        variables: names that shells allow, and values.
        format_: which.
        folders: what a container must see, at the same path.

    Raises:
        InvalidValue: a value that the format cannot carry.
    """
    writer = _WRITERS.get(format_)
    if writer is None:
        mounts = [_mount(folder) for folder in folders]
        lines = [*mounts, *(f"--env={name}={_plain(v)}" for name, v in variables.items())]
    else:
        head = ["[Service]"] if format_ == "systemd" else []
        lines = [*head, *(writer(name, value) for name, value in variables.items())]
    return "".join(f"{line}\n" for line in lines)


def _mount(folder: str) -> str:
    return f"--mount=type=bind,source={_plain(folder)},target={_plain(folder)}"


def _plain(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    raise InvalidValue(
        what="path",
        value=value,
        reason="holds characters that options for docker cannot carry",
        remedy="keep views elsewhere, `ENVFORGE_VIEWS`, or name a folder of the view",
    )


def _systemd(name: str, value: str) -> str:
    """See systemd.exec(5), `Environment=`, and systemd.syntax(7), "Quoting"."""
    if any(ord(char) < 32 for char in value):
        raise InvalidValue(
            what="path", value=value, reason="holds control characters, which no unit can carry"
        )
    return f"Environment={systemd(f'{name}={value}')}"


def _line(name: str, value: str) -> str:
    """Of `docker run --env-file` and `$GITHUB_ENV`: all that follows `=` is the value."""
    if "\n" in value or "\r" in value:
        raise InvalidValue(
            what="path", value=value, reason="holds a line break, which no env file can carry"
        )
    return f"{name}={value}"


_WRITERS: Final[Mapping[VariableFormat, Callable[[str, str], str]]] = {
    "sh": lambda name, value: f"export {name}={quote_posix(value)}",
    "fish": lambda name, value: f"set -gx {name} {quote_fish(value)}",
    "powershell": lambda name, value: f"$env:{name} = {quote_powershell(value)}",
    "systemd": _systemd,
    "env-file": _line,
}

"""One quoting function a language: a text as one value of it, or the reason why it has none.

Whatever a text holds (quotes, blanks, line breaks, `$()`, `{{ }}`, `%`, `;`), it stays a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from envforge.errors import InvalidValue
from envforge.formats.activation import quote_posix
from envforge.formats.text import yaml_text

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9._/:@+-]*")
_ENDS_BARE_IN_FLOW: Final = re.compile(r"[\[\]{},]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_LUA_ESCAPED: Final = re.compile(rb'[\x00-\x1f\x7f"\\]')


def shell(text: str) -> str:
    """One word for sh, bash and zsh.

    Raises:
        InvalidValue: a NUL, which no argument can hold.
    """
    return quote_posix(_without(text, "\0", "a shell"))


def yaml(text: str) -> str:
    """A scalar that readers of YAML 1.1 and 1.2 take for this string, on one line.

    It may stand in `[…]` and `{…}`, where brackets and commas end a bare one.
    """
    quote = yaml_text.quoted if _ENDS_BARE_IN_FLOW.search(text) else yaml_text.scalar
    return quote(_encodable(text))


def compose(text: str) -> str:
    """The same for a Compose file, which puts variables in (Compose specification, 12)."""
    return yaml(text.replace("$", "$$"))


def kubernetes(text: str) -> str:
    """The same for commands, arguments and variables of a container, where `$(NAME)` means one.

    `$$` is a `$` there, too (Kubernetes API reference, Container v1, `args`).
    """
    return compose(text)


def json_string(text: str) -> str:
    """A JSON string."""
    return json.dumps(_encodable(text), ensure_ascii=False)


def devcontainer(text: str) -> str:
    """A JSON string of devcontainer.json, where `${…}` means something and cannot be escaped.

    Raises:
        InvalidValue: it holds `${`.
    """
    return json_string(_without(text, "${", "devcontainer.json"))


def toml(text: str) -> str:
    """A basic string (TOML 1.0): JSON's, but that DEL has to be escaped, too."""
    return json_string(text).replace("\x7f", "\\u007f")


def dockerfile(text: str) -> str:
    """A word of ENV, LABEL and ARG (Dockerfile reference, "Environment replacement").

    Raises:
        InvalidValue: it holds control characters: an instruction ends with its line.
    """
    plain = _one_line(text, "an instruction of a Dockerfile")
    return '"' + re.sub(r'([\\"$])', r"\\\1", plain) + '"'


def docker_shell(text: str) -> str:
    """One word for the shell that runs a RUN instruction, which ends with its line.

    Raises:
        InvalidValue: it holds control characters.
    """
    return quote_posix(_one_line(text, "an instruction of a Dockerfile"))


def apptainer(text: str) -> str:
    """One word for the shell of a definition file's section.

    A line that begins with `%` starts another section, and `{{ name }}` is replaced anywhere
    (Apptainer user guide, "Definition files"); two braces are kept apart by the quotes.

    Raises:
        InvalidValue: it holds control characters.
    """
    quoted = quote_posix(_one_line(text, "a definition file"))
    while "{{" in quoted:
        quoted = quoted.replace("{{", "{''{")
    return quoted


def lua(text: str) -> str:
    """A string of Lua 5.1 and newer, its bytes in UTF-8."""
    raw = _encodable(text).encode()
    escaped = _LUA_ESCAPED.sub(lambda found: b"\\%03d" % found[0][0], raw)
    return '"' + escaped.decode() + '"'


def systemd(text: str) -> str:
    """A word of a unit's setting (systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers").

    Raises:
        InvalidValue: it holds control characters.
    """
    plain = _one_line(text, "a unit")
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def systemd_command(text: str) -> str:
    """A word of `ExecStart=` and its like, where `$` names a variable (systemd.service(5)).

    Raises:
        InvalidValue: it holds control characters.
    """
    return systemd(text).replace("$", "$$")


def systemd_line(text: str) -> str:
    """A setting that is all that follows on its line, `Description=` (systemd.unit(5)).

    Raises:
        InvalidValue: it holds control characters, or a backslash or blanks where they would go.
    """
    plain = _one_line(text, "a unit")
    if plain != plain.strip() or plain.endswith("\\"):
        raise _refused(text, "begins or ends with what a line of a unit loses")
    return plain.replace("%", "%%")


def comment(text: str) -> str:
    """For a comment to the end of the line: what could end it, or hide in it, is a `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


def plain(text: str) -> str:
    """A text that needs no quotes anywhere: names, numbers, versions, addresses of images.

    Raises:
        InvalidValue: it would need some.
    """
    if not _PLAIN.fullmatch(text):
        raise _refused(text, "is more than a plain word, and stands where there are no quotes")
    return text


FILTERS: Final[Mapping[str, Callable[[str], str]]] = {
    "shell": shell,
    "yaml": yaml,
    "compose": compose,
    "kubernetes": kubernetes,
    "json": json_string,
    "devcontainer": devcontainer,
    "toml": toml,
    "dockerfile": dockerfile,
    "docker_shell": docker_shell,
    "apptainer": apptainer,
    "lua": lua,
    "systemd": systemd,
    "systemd_command": systemd_command,
    "systemd_line": systemd_line,
    "comment": comment,
    "plain": plain,
}
"""By the names that templates use."""


def _encodable(text: str) -> str:
    if _SURROGATE.search(text):
        raise _refused(text, "is no text in UTF-8")
    return text


def _without(text: str, what: str, language: str) -> str:
    if what in text:
        raise _refused(text, f"holds {what!r}, which {language} cannot carry")
    return _encodable(text)


def _one_line(text: str, language: str) -> str:
    if _CONTROL.search(text):
        raise _refused(text, f"holds control characters, which {language} cannot carry")
    return _encodable(text)


def _refused(text: str, reason: str) -> InvalidValue:
    return InvalidValue(what="value", value=comment(text), reason=reason)

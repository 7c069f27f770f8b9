"""Shell commands that install packages: pip, uv, conda, mamba and micromamba."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from envforge.errors import InvalidFile, InvalidValue
from envforge.formats.conda import conda_spec
from envforge.formats.python import requirements_txt
from envforge.model.spec import Dependency

_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_CONDA: Final = frozenset({"conda", "mamba", "micromamba"})
_CONDA_VALUES: Final = frozenset(
    {
        *("-n", "--name", "-p", "--prefix", "-f", "--file", "-r", "--root-prefix"),
        *("--solver", "--platform", "--subdir"),
    }
)
_PIP_VALUES: Final = frozenset(
    {
        *("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-r", "--requirement"),
        *("-c", "--constraint", "-t", "--target", "--prefix", "--root", "--platform"),
        *("--python-version", "--implementation", "--abi", "--trusted-host", "--timeout"),
        *("--default-timeout", "--retries", "--cache-dir", "--proxy", "--cert", "--python", "-p"),
        *("--progress-bar", "--no-binary", "--only-binary", "--upgrade-strategy", "-e"),
        *("--editable", "--torch-backend", "--index", "--default-index", "--index-strategy"),
        *("--link-mode", "--group", "--extra", "--config-settings", "--src", "--log"),
    }
)
_KEPT_OPTIONS: Final = {
    "--index": "--extra-index-url",
    "--default-index": "--index-url",
    **{
        name: name
        for name in (
            *("-i", "--index-url", "--extra-index-url", "-f", "--find-links"),
            *("-r", "--requirement", "-e", "--editable"),
        )
    },
}
"""Options of pip and uv that a requirements file has as well, by how it spells them."""
_OPERATORS: Final = frozenset({"&&", "||", ";", "|", "&", "\n", ";;"})
_WRAPPERS: Final = frozenset({"sudo", "env", "exec", "then", "do", "time"})
_DEEPEST: Final = 5
"""Shells in shells."""
_LAST: Final = 100
"""Characters of a command that a note repeats."""


@dataclass(slots=True)
class Installs:
    """What commands install, gathered one after the other."""

    dependencies: dict[tuple[str, str], Dependency] = field(default_factory=dict)
    """By manager and name; the last command counts."""
    channels: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    local: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What cannot be told from the text, with its line."""
    mistakes: list[str] = field(default_factory=list)


def read_script(text: str, line: int, into: Installs) -> None:
    """Add what the commands of a script install.

    Args:
        text: one or more shell lines; variables that are known are put in already.
        line: where it stands, for notes and mistakes.
        into: is added to.
    """
    for words in _commands(text):
        read_command(words, line, into)


def read_command(words: Sequence[str], line: int, into: Installs) -> None:
    """The same of one command that is split into words."""
    _command(words, line, into, depth=0)


def _commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell line, as words; what cannot be split is skipped."""
    for line in text.split("\n"):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
        lexer.whitespace_split = True
        lexer.commenters = ""
        words: list[str] = []
        try:
            for word in lexer:
                if word in _OPERATORS or set(word) <= set(";&|()"):
                    yield words
                    words = []
                else:
                    words.append(word)
        except ValueError:
            continue
        yield words


def _command(words: Sequence[str], line: int, into: Installs, depth: int) -> None:
    words = _without_wrappers(words)
    if not words or depth > _DEEPEST:
        return
    program = words[0].rpartition("/")[2]
    if program in ("bash", "sh") and (script := _script(words)) is not None:
        for inner in _commands(script):
            _command(inner, line, into, depth + 1)
    elif (arguments := _pip_arguments(program, words)) is not None:
        _pip(arguments, line, into)
    elif program in _CONDA:
        _conda(words[1:], line, into, depth)
    elif program in ("poetry", "pixi", "pipenv", "conda-lock") or words[:2] == ["uv", "sync"]:
        into.notes.append(f"`{' '.join(words)[:_LAST]}` (line {line}): read its own file instead")


def _without_wrappers(words: Sequence[str]) -> list[str]:
    """The command behind `NAME=value`, `sudo` and the like."""
    left = list(words)
    while left and (_ASSIGNMENT.fullmatch(left[0]) or left[0] in _WRAPPERS):
        left.pop(0)
    return left


def _pip_arguments(program: str, words: Sequence[str]) -> list[str] | None:
    """What pip is told, however it is called; None: this is not pip."""
    if re.fullmatch(r"pip[\d.]*", program):
        return list(words[1:])
    if re.fullmatch(r"python[\d.]*", program) and list(words[1:3]) == ["-m", "pip"]:
        return list(words[3:])
    if program == "uv" and list(words[1:2]) == ["pip"]:
        return list(words[2:])
    if program == "uv" and list(words[1:2]) == ["add"]:
        return ["install", *words[2:]]
    return None


def _script(words: Sequence[str]) -> str | None:
    """What stands behind `-c`, `-lc` and the like."""
    for at, word in enumerate(words[1:], start=1):
        if re.fullmatch(r"-\w*c", word) and at + 1 < len(words):
            return words[at + 1]
    return None


def _pip(words: Sequence[str], line: int, into: Installs) -> None:
    if not words or words[0] != "install":
        return
    for text in _pip_lines(words[1:]):
        _requirement(text, line, into)


def _pip_lines(words: Sequence[str]) -> Iterator[str]:
    """The arguments as lines of a requirements file; other options say nothing here."""
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            yield word
            continue
        if name in _PIP_VALUES and not equals:
            value = left.pop(0) if left else ""
        if name == "--torch-backend" and value != "auto":
            yield f"--extra-index-url https://download.pytorch.org/whl/{value}"
        elif name in _KEPT_OPTIONS and value:
            yield f"{_KEPT_OPTIONS[name]} {value}"


def _requirement(text: str, line: int, into: Installs) -> None:
    if _is_unknown(text, line, into):
        return
    if re.fullmatch(r"[^\s=<>]+\.(?:tar\.gz|zip)|\S*\*\S*", text) and "==" not in text:
        into.local.append(text)
        return
    try:
        found = requirements_txt.read_source(text, "")[0]
    except InvalidFile as error:
        into.mistakes.append(re.sub(r"^line 1: ", f"line {line}: ", error.mistakes[0]))
        return
    for item in found.dependencies:
        if item.name in ("pip", "setuptools", "wheel", "uv") and not item.version:
            continue
        into.dependencies["pip", item.name] = item
    into.indexes += found.indexes
    into.local += found.local
    into.notes += [
        note.replace("(line 1)", f"(line {line})")
        for note in found.notes
        if not note.startswith("platform ")
    ]


def _is_unknown(text: str, line: int, into: Installs) -> bool:
    """Whether a word is made when the image is built, which is noted."""
    if "$" not in text and "`" not in text:
        return False
    shown = "$(…)" if text == "$" else text[:_LAST]
    into.notes.append(f"`{shown}` (line {line}): its value is not known here")
    return True


def _conda(words: Sequence[str], line: int, into: Installs, depth: int) -> None:
    left = list(words)
    while left and left[0].startswith("-"):  # `micromamba -y install`
        left.pop(0)
    if left[:1] == ["run"]:
        _command(_without_options(left[1:]), line, into, depth + 1)
        return
    if left[:1] == ["env"] and left[1:2] in (["create"], ["update"]):
        into.notes.append(f"`{' '.join(words)[:_LAST]}` (line {line}): read its own file instead")
        return
    if left[:1] == ["config"]:
        _conda_config(left[1:], into)
        return
    if left[:1] in (["install"], ["create"], ["update"]):
        _conda_install(left[1:], line, into)


def _conda_install(words: Sequence[str], line: int, into: Installs) -> None:
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in ("-c", "--channel"):
            into.channels.append(value if equals else left.pop(0) if left else "")
        elif name in ("-f", "--file"):
            value = value if equals else left.pop(0) if left else ""
            into.notes.append(f"`--file {value}` (line {line}) was not followed")
        elif name in _CONDA_VALUES and not equals:
            left[:1] = []
        elif not word.startswith("-"):
            _conda_package(word, line, into)


def _without_options(words: Sequence[str]) -> list[str]:
    """What `conda run -n NAME` starts."""
    left = list(words)
    while left and left[0].startswith("-"):
        if left.pop(0) in _CONDA_VALUES:
            left[:1] = []
    return left


def _conda_config(words: Sequence[str], into: Installs) -> None:
    for option, key, value in zip(words, words[1:], words[2:], strict=False):
        if key == "channels" and option in ("--add", "--prepend"):
            into.channels.insert(0, value)
        elif key == "channels" and option == "--append":
            into.channels.append(value)


def _conda_package(text: str, line: int, into: Installs) -> None:
    if _is_unknown(text, line, into):
        return
    if re.search(r"\.(?:conda|tar\.bz2)$", text):
        into.notes.append(f"the file `{text[:_LAST]}` (line {line})")
        return
    try:
        found = conda_spec.parse(text)
    except InvalidValue as error:
        into.mistakes.append(f"line {line}: {error}")
        return
    into.dependencies["conda", found.name] = found

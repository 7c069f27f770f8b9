"""Dockerfiles: what `pip`, `uv`, `conda`, `mamba` and `micromamba` install in the last stage.

A Dockerfile is a program, so this reads what its lines say, with the values of ARG and ENV put
in; what depends on the machine that builds it (`$(…)`, files that are copied in) is told in a
note with its line.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from envforge.errors import InvalidFile
from envforge.formats.images.install_commands import Installs, read_command, read_script
from envforge.model.imported import ImportedEnvironment
from envforge.model.spec import Dependency

_LARGEST: Final = 1 << 18
"""Characters: of a file, and of what variables put into one instruction; they may double it."""
_INSTRUCTION: Final = re.compile(r"(?P<name>[A-Za-z]+)\s+(?P<rest>.*)", re.DOTALL)
_HEREDOC: Final = re.compile(r"<<-?\s*[\"']?(?P<mark>[A-Za-z_]\w*)[\"']?")
_FROM: Final = re.compile(
    r"(?:--\S+\s+)*(?P<image>\S+)(?:\s+as\s+(?P<stage>\S+))?\s*", re.IGNORECASE
)
_VARIABLE: Final = re.compile(
    r"\$(?:\{(?P<braced>\w+)(?:(?P<how>:?[-+])(?P<default>[^}]*))?\}|(?P<bare>[A-Za-z_]\w*))"
)
_TORCH_IMAGE: Final = re.compile(
    r"(?:.*/)?pytorch/pytorch:(?P<torch>\d+\.\d+(?:\.\d+)?)(?:-cuda(?P<cuda>\d+\.\d+))?"
    r"(?:-cudnn(?P<cudnn>\d+))?.*"
)
_CUDA_IMAGE: Final = re.compile(r"(?:.*/)?nvidia/cuda:(?P<cuda>\d+\.\d+)\S*")


@dataclass(frozen=True, slots=True)
class _Instruction:
    line: int
    name: str
    rest: str


@dataclass(slots=True)
class _Stage:
    """What one `FROM` begins."""

    image: str
    name: str
    line: int
    installs: Installs = field(default_factory=Installs)
    variables: dict[str, str] = field(default_factory=dict)


def read_source(text: str, path: str) -> tuple[ImportedEnvironment, ...]:
    """Read what the last stage, and those that it is built on, install.

    Raises:
        InvalidFile: it has no `FROM`, or a package that cannot be read, with its line; or it is
            larger than anybody writes one.
    """
    if len(text) > _LARGEST:
        why = f"it holds more than {_LARGEST} characters, which no Dockerfile does"
        raise InvalidFile(path=path, mistakes=(why,))
    stages = _stages(list(_instructions(text)))
    mistakes = [item for stage in stages for item in stage.installs.mistakes]
    if not stages:
        mistakes.append("it has no `FROM`")
    if mistakes:
        raise InvalidFile(path=path, mistakes=tuple(mistakes))
    return (_environment(stages),)


# --- instructions -----------------------------------------------------------------------------


def _instructions(text: str) -> Iterator[_Instruction]:
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        start, joined = at, ""
        while at < len(lines):
            line = lines[at]
            at += 1
            if line.lstrip().startswith("#"):
                continue
            stripped = line.rstrip()
            if not stripped.endswith("\\"):
                joined += stripped
                break
            joined += stripped[:-1] + " "
        found = _INSTRUCTION.fullmatch(joined.strip())
        if not found:
            continue
        rest = found["rest"]
        for heredoc in _HEREDOC.finditer(rest) if found["name"].upper() in ("RUN", "COPY") else ():
            body: list[str] = []
            while at < len(lines) and lines[at].strip() != heredoc["mark"]:
                body.append(lines[at])
                at += 1
            at += 1
            rest = "\n".join(body) if rest.strip() == heredoc[0] else rest.replace(heredoc[0], "")
        yield _Instruction(start + 1, found["name"].upper(), rest)


def _stages(instructions: Sequence[_Instruction]) -> list[_Stage]:
    stages: list[_Stage] = []
    given: dict[str, str] = {}  # by ARG before the first FROM
    for item in instructions:
        values = stages[-1].variables if stages else given
        if item.name in {"ARG", "ENV"}:
            _assign(item, values, given)
        elif item.name == "FROM":
            _begin_stage(item, stages, given)
        elif item.name == "RUN" and stages:
            _run(item, stages[-1])
    return stages


def _begin_stage(item: _Instruction, stages: list[_Stage], given: dict[str, str]) -> None:
    found = _FROM.fullmatch(_filled(item.rest, given))
    if not found:
        return
    parent = next((one for one in stages if one.name == found["image"].lower()), None)
    stages.append(
        _Stage(
            image=found["image"],
            name=(found["stage"] or "").lower(),
            line=item.line,
            variables=dict(parent.variables) if parent else {},
        )
    )


def _assign(item: _Instruction, values: dict[str, str], given: dict[str, str]) -> None:
    try:
        words = shlex.split(item.rest)
    except ValueError:
        return
    if item.name == "ENV" and words and "=" not in words[0]:  # the old form, `ENV NAME value`
        words = [f"{words[0]}={' '.join(words[1:])}"]
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            values[name] = _filled(value, {**given, **values})
        elif name in given:
            values[name] = given[name]


def _filled(text: str, values: dict[str, str]) -> str:
    """The text with variables put in; those that are not known, or too long, stay."""
    room = _LARGEST

    def value(found: re.Match[str]) -> str:
        nonlocal room
        name = found["braced"] or found["bare"]
        known = values.get(name)
        if found["how"] and found["how"].endswith("-") and not known:
            return found["default"] or ""
        if known is None or len(known) > room:
            return found[0]
        room -= len(known)
        return known

    return _VARIABLE.sub(value, text)


def _run(item: _Instruction, stage: _Stage) -> None:
    rest = re.sub(r"^(?:\s*--\w[\w-]*(?:=\S+)?)+\s", "", f"{item.rest} ")
    try:
        exec_form = json.loads(rest)
    except ValueError:
        exec_form = None
    if isinstance(exec_form, list) and all(isinstance(word, str) for word in exec_form):
        read_command(exec_form, item.line, stage.installs)
    else:
        read_script(_filled(rest, stage.variables), item.line, stage.installs)


# --- the last stage -------------------------------------------------------------------------------


def _environment(stages: Sequence[_Stage]) -> ImportedEnvironment:
    line = [stages[-1]]
    while parent := _parent(line[0], stages):
        line.insert(0, parent)
    dependencies: dict[tuple[str, str], Dependency] = {}
    notes: list[str] = []
    for stage in line:
        dependencies |= stage.installs.dependencies
        notes += stage.installs.notes
    skipped = [stage for stage in stages if stage not in line and stage.installs.dependencies]
    notes += [
        f"stage `{stage.name or stage.image}` (line {stage.line}), which the last is not built on"
        for stage in skipped
    ]
    base, said = _of_image(line[0].image)
    for item in base:
        if not {("pip", "torch"), ("conda", "pytorch")} & dependencies.keys():
            dependencies["pip", item.name] = item
    return ImportedEnvironment(
        name="",
        dependencies=tuple(dependencies.values()),
        channels=tuple(
            dict.fromkeys(item for stage in line for item in stage.installs.channels if item)
        ),
        platforms=(),
        indexes=tuple(dict.fromkeys(item for stage in line for item in stage.installs.indexes)),
        local=tuple(dict.fromkeys(item for stage in line for item in stage.installs.local)),
        notes=(*notes, *said),
    )


def _parent(stage: _Stage, stages: Sequence[_Stage]) -> _Stage | None:
    before = stages[: list(stages).index(stage)]
    return next((one for one in before if one.name and one.name == stage.image.lower()), None)


def _of_image(image: str) -> tuple[tuple[Dependency, ...], tuple[str, ...]]:
    """What the name of a base image promises (Docker Hub, `pytorch/pytorch` and `nvidia/cuda`)."""
    if found := _TORCH_IMAGE.fullmatch(image):
        local = f"+cu{found['cuda'].replace('.', '')}" if found["cuda"] else ""
        torch = Dependency(name="torch", version=f"=={found['torch']}{local}", manager="pip")
        return (torch,), (f"the base image `{image}`, but for its torch",)
    if found := _CUDA_IMAGE.fullmatch(image):
        return (), (f"the base image `{image}` (CUDA {found['cuda']})",)
    return (), (f"the base image `{image}`",)
